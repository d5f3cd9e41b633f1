//! Pairs of a better and a worse answer to the same task, picked out of sampled answers, and the file that holds them.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;

use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::claims::Claim;
use super::network::{Choice, Rollout};
use super::task::{Task, Tasks, generator};
use crate::error::{Error, Result};
use crate::files;
use crate::grammar::{Allowed, Mask};
use crate::tokenizer::TokenId;
use crate::verdict::Answer;

/// A sampled answer and what it earned.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Graded {
    /// All its tokens, those too that the grammar forced.
    pub tokens: Vec<TokenId>,
    /// Which window of the judged message the answer is about, and which categories of the policy, by their places.
    pub window: usize,
    pub about: Vec<usize>,
    /// What scores were drawn to say: a category's place in the policy, and whether it applies.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub claims: Vec<(usize, bool)>,
    /// Where the grammar left more than one token: the place in `tokens`, and the index in `sets` of what it left.
    pub choices: Vec<(usize, usize)>,
    /// The sets that tokens were chosen from, each once.
    pub sets: Vec<Set>,
    pub reward: f32,
    /// The answer calls something safe that is not: for a guard the unsafe answer, SafeDPO's h = 1.
    pub miss: bool,
}

/// A set of tokens as a file holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Set {
    /// These, rising.
    Of(Vec<TokenId>),
    /// All ids below `size` but these, which rise: free text leaves out little.
    But { size: usize, but: Vec<TokenId> },
}

impl Graded {
    pub fn new(rollout: &Rollout, reward: f32, miss: bool) -> Self {
        let mut sets: Vec<(&Allowed, Set)> = Vec::new();
        let mut choices = Vec::new();
        for choice in &rollout.choices {
            let known = sets.iter().position(|(allowed, _)| *allowed == &choice.allowed);
            choices.push((choice.at, known.unwrap_or(sets.len())));
            if known.is_none() {
                sets.push((&choice.allowed, Set::from(&choice.allowed)));
            }
        }
        let sets = sets.into_iter().map(|(_, set)| set).collect();
        let claims = rollout.claims.iter().map(|claim| (claim.category, claim.applies)).collect();
        let (tokens, about) = (rollout.tokens.clone(), rollout.about.clone());
        Self { tokens, window: rollout.window, about, claims, choices, sets, reward, miss }
    }

    /// The answer as far as its probability depends on it.
    ///
    /// # Errors
    /// [`Error::BadInput`] if a choice is no token of the answer or not one of its set.
    pub fn rollout(&self) -> Result<Rollout> {
        if self.choices.is_empty() && self.claims.is_empty() {
            return Err(Error::BadInput("an answer without a claim or a choice has no probability to be moved".into()));
        }
        let sets: Vec<Allowed> = self.sets.iter().map(Allowed::from).collect();
        let choice = |&(at, set): &(usize, usize)| {
            let allowed = sets.get(set).filter(|set| self.tokens.get(at).is_some_and(|&token| set.contains(token)));
            match allowed {
                Some(allowed) => Ok(Choice { at, allowed: allowed.clone(), log_prob: 0.0 }),
                None => Err(Error::BadInput(format!(
                    "an answer's choice [{at}, {set}] names no token of its {} that is in one of its {} sets",
                    self.tokens.len(),
                    sets.len()
                ))),
            }
        };
        let claim = |&(category, applies): &(usize, bool)| Claim { category, applies, log_prob: 0.0 };
        Ok(Rollout {
            claims: self.claims.iter().map(claim).collect(),
            tokens: self.tokens.clone(),
            choices: self.choices.iter().map(choice).collect::<Result<_>>()?,
            answer: Answer::default(),
            well_formed: true,
            p_unsafe: None,
            scores: None,
            flags: None,
            window: self.window,
            about: self.about.clone(),
            prompt_tokens: 0,
        })
    }
}

impl From<&Allowed> for Set {
    fn from(allowed: &Allowed) -> Self {
        match allowed {
            Allowed::Few(ids) => Set::Of(ids.clone()),
            Allowed::Mask(mask) => {
                let but = (0..mask.size() as TokenId).filter(|&id| !mask.contains(id)).collect();
                Set::But { size: mask.size(), but }
            }
        }
    }
}

impl From<&Set> for Allowed {
    fn from(set: &Set) -> Self {
        match set {
            Set::Of(ids) => Allowed::Few(ids.clone()),
            Set::But { size, but } => {
                let mut mask = Mask::new(*size);
                (0..*size as TokenId).filter(|id| but.binary_search(id).is_err()).for_each(|id| mask.insert(id));
                Allowed::Mask(Arc::new(mask))
            }
        }
    }
}

/// Two answers to one task. A file of them has one as JSON in each line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Pair {
    pub task: Task,
    pub chosen: Graded,
    pub rejected: Graded,
}

impl Pair {
    /// SafeDPO's h_rejected - h_chosen: 1 where the rejected answer alone is unsafe. [`pick`] never chooses an unsafe one.
    pub fn safety(&self) -> f32 {
        f32::from(u8::from(self.rejected.miss)) - f32::from(u8::from(self.chosen.miss))
    }
}

/// The indices of the best and the worst of a task's answers; `None` if they differ by less than `gap` in reward.
///
/// As SafeDPO reorders its pairs (Kim et al., 2025, arXiv 2505.20065, section 4), an unsafe answer is worse than every
/// safe one whatever both earned, and is never the best: where all are unsafe there is no pair. Among equals the first
/// counts.
pub fn pick(answers: &[Graded], gap: f32) -> Option<[usize; 2]> {
    let better = |a: usize, b: usize| {
        let (a, b) = (&answers[a], &answers[b]);
        if a.miss == b.miss { a.reward > b.reward } else { b.miss }
    };
    let best = (0..answers.len()).reduce(|best, next| if better(next, best) { next } else { best })?;
    let worst = (0..answers.len()).reduce(|worst, next| if better(worst, next) { next } else { worst })?;
    let apart = answers[worst].miss || answers[best].reward - answers[worst].reward >= gap;
    (best != worst && !answers[best].miss && apart).then_some([best, worst])
}

/// The tasks of pairs, every pair's once in an epoch.
pub struct PairTasks<'p> {
    pairs: &'p [Pair],
    seed: u64,
}

impl<'p> PairTasks<'p> {
    pub fn new(pairs: &'p [Pair], seed: u64) -> Self {
        Self { pairs, seed }
    }
}

impl Tasks for PairTasks<'_> {
    fn task(&self, place: usize) -> Result<Task> {
        let (epoch, place) = (place / self.pairs.len().max(1), place % self.pairs.len().max(1));
        let mut order: Vec<&Pair> = self.pairs.iter().collect();
        order.shuffle(&mut generator(self.seed, "pairs' tasks", epoch as u64));
        match order.get(place) {
            Some(pair) => Ok(pair.task.clone()),
            None => Err(Error::BadInput("there is no pair to train on".into())),
        }
    }

    /// None: every pair is learnt from.
    fn watched(&self, _: usize) -> Result<Vec<Task>> {
        Ok(Vec::new())
    }
}

/// Writes a pair as a line.
///
/// # Errors
/// [`Error::Io`] with `path`, the name of what is written to.
pub fn write(pair: &Pair, to: &mut impl Write, path: &Path) -> Result<()> {
    let line = serde_json::to_string(pair).map_err(|e| Error::BadInput(e.to_string()))?;
    writeln!(to, "{line}").map_err(Error::io(path))
}

/// Reads a file of pairs.
///
/// # Errors
/// [`Error::Io`] if it cannot be read, [`Error::BadInput`] with the number of a line that is not a pair, or if there is
/// none.
pub fn read(path: &Path) -> Result<Vec<Pair>> {
    let file = BufReader::new(files::open(path, files::Kind::Named)?);
    let mut pairs = Vec::new();
    for (index, line) in file.lines().enumerate() {
        let line = line.map_err(Error::io(path))?;
        if line.trim().is_empty() {
            continue;
        }
        pairs.push(serde_json::from_str(&line).map_err(|e| {
            let line = index + 1;
            Error::BadInput(format!("{}, line {line}: expected a pair of `rsafe train pairs`: {e}", path.display()))
        })?);
    }
    match pairs.is_empty() {
        true => Err(Error::BadInput(format!(
            "{}: no pair; sample more answers of a task, or ask for a smaller gap between their rewards",
            path.display()
        ))),
        false => Ok(pairs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(rewards: &[(f32, bool)]) -> Vec<Graded> {
        rewards.iter().map(|&(reward, miss)| Graded { reward, miss, ..graded() }).collect()
    }

    #[test]
    fn free_text_and_short_lists_read_back_as_they_were() {
        let mut mask = Mask::new(130);
        (0..130).filter(|id| id % 40 != 7).for_each(|id| mask.insert(id));
        let free = Allowed::Mask(Arc::new(mask));
        let choice = |at, allowed: &Allowed| Choice { at, allowed: allowed.clone(), log_prob: -1.0 };
        let rollout = Rollout {
            choices: vec![choice(0, &free), choice(2, &Allowed::Few(vec![3, 5])), choice(3, &free)],
            ..Graded { tokens: vec![1, 9, 5, 129], choices: vec![(0, 0)], sets: vec![Set::Of(vec![1])], ..graded() }
                .rollout()
                .unwrap()
        };
        let graded = Graded::new(&rollout, 0.5, false);
        assert_eq!(graded.sets, [Set::But { size: 130, but: vec![7, 47, 87, 127] }, Set::Of(vec![3, 5])]);
        let read: Graded = serde_json::from_str(&serde_json::to_string(&graded).unwrap()).unwrap();
        let allowed = |rollout: &Rollout| -> Vec<(usize, Allowed)> {
            rollout.choices.iter().map(|choice| (choice.at, choice.allowed.clone())).collect()
        };
        assert_eq!(allowed(&read.rollout().unwrap()), allowed(&rollout));
    }

    fn graded() -> Graded {
        let (tokens, claims, choices, sets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Graded { tokens, window: 0, about: Vec::new(), claims, choices, sets, reward: 0.0, miss: false }
    }

    #[test]
    fn a_choice_that_is_none_of_its_answer_is_refused() {
        let answer = Graded { tokens: vec![4, 8], sets: vec![Set::Of(vec![8, 9])], ..graded() };
        for choices in [vec![], vec![(0, 0)], vec![(2, 0)], vec![(1, 1)]] {
            assert_eq!(Graded { choices, ..answer.clone() }.rollout().unwrap_err().code(), "bad_input");
        }
        assert!(Graded { choices: vec![(1, 0)], ..answer }.rollout().is_ok());
    }

    #[test]
    fn a_line_that_is_no_pair_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs.jsonl");
        std::fs::write(&path, "\n{}\n").unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
        std::fs::write(&path, "\n").unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("no pair"));
    }

    #[test]
    fn the_best_answer_is_paired_with_the_worst() {
        assert_eq!(pick(&answers(&[(0.1, false), (1.0, false), (0.0, false), (1.0, false)]), 0.5), Some([1, 2]));
    }

    #[test]
    fn answers_too_close_to_tell_apart_give_no_pair() {
        assert_eq!(pick(&answers(&[(0.5, false), (0.9, false)]), 0.5), None);
        assert_eq!(pick(&answers(&[(0.5, false), (0.5, false)]), 0.0), None);
        assert_eq!(pick(&answers(&[(0.5, false)]), 0.0), None);
        assert_eq!(pick(&[], 0.0), None);
    }

    #[test]
    fn an_unsafe_answer_is_never_chosen_and_is_worse_than_any_safe_one() {
        assert_eq!(pick(&answers(&[(1.0, true), (0.2, false)]), 0.5), Some([1, 0]), "the order is turned around");
        assert_eq!(pick(&answers(&[(0.0, false), (0.4, true), (0.9, false)]), 0.5), Some([2, 1]));
        assert_eq!(pick(&answers(&[(1.0, true), (0.0, true)]), 0.5), None, "two unsafe answers teach nothing");
    }
}

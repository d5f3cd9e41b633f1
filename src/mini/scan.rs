//! A judged message on its way through rsafe-mini, in steps.
//!
//! A message that is longer than a window is read in overlapping windows, and so are its other readings where it is
//! disguised; a category's score is the highest over them, and the answer is written about the window that scored highest.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::answer::Finding;
use super::engine::SlotEngine;
use super::layout::{ANSWER, Marker};
use super::occlusion::{Applies, Occlusion};
use super::policy::{PolicyReading, ReadPolicy};
use super::prompt::{Plan, PlannedStep, SlotPrompt, highest};
use super::window::Window;
use crate::engine::{Answering, Readout, Steps, Writer};
use crate::grammar::{QuoteSource, Think};
use crate::sampling::Sampling;
use crate::tokenizer::Tokenizer;
use crate::verdict::{Answer, Scoring};
use crate::{Error, Policy, Result};

pub struct Scan<'e> {
    engine: &'e SlotEngine,
    prompt: SlotPrompt,
    scoring: Scoring,
    answering: Answering,
    policy: Stage,
    /// The windows that were not begun yet.
    left: Range<usize>,
    /// The one that is being read.
    window: Option<Window>,
    scores: Vec<f32>,
    /// The window with the highest score.
    best: Option<Best>,
    /// Where each category that a reasoned answer speaks about stands, the highest first, as far as that is known.
    findings: Vec<PlannedStep>,
    looking: Option<Looking>,
    prompt_tokens: usize,
    cached_tokens: usize,
}

struct Best {
    score: f32,
    window: Window,
    /// Of each category.
    highest: Vec<Highest>,
}

/// What a category scores in the reading of a window that gives it most.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Highest {
    score: f32,
    logit: f32,
    reading: usize,
}

/// What is being found out of a category that applies.
enum Looking {
    /// Which words carry its score,
    For(Box<Occlusion>, Applies),
    /// and what is left of it without them.
    Without(Box<Window>, Range<usize>, Applies),
}

enum Stage {
    Reading(Box<PolicyReading>),
    Read(Arc<ReadPolicy>),
}

impl<'e> Scan<'e> {
    pub fn new(engine: &'e SlotEngine, prompt: SlotPrompt, scoring: Scoring, answering: Answering) -> Self {
        let kept = engine.kept_policy(&prompt.blocks);
        let words = prompt.blocks.iter().map(Vec::len).sum();
        Self {
            left: prompt.windows(),
            window: None,
            scores: vec![0.0; prompt.blocks.len()],
            best: None,
            findings: Vec::new(),
            looking: None,
            prompt_tokens: words,
            cached_tokens: if kept.is_some() { words } else { 0 },
            policy: kept.map_or_else(
                || Stage::Reading(Box::new(PolicyReading::new(prompt.blocks.clone(), &engine.model, &engine.device))),
                Stage::Read,
            ),
            engine,
            prompt,
            scoring,
            answering,
        }
    }

    /// How many tokens are read to score every category, of which caches may spare some.
    pub fn work(&self) -> usize {
        self.prompt.work()
    }

    /// Reads on by one step; whether there is more to read.
    pub async fn step(&mut self, policy: &Policy) -> Result<bool> {
        if !self.left.is_empty() || self.window.is_some() || self.best.is_none() {
            self.read().await?;
            return Ok(true);
        }
        self.explain(policy).await
    }

    /// Reads the policy, and then the windows.
    async fn read(&mut self) -> Result<()> {
        let engine = self.engine;
        let policy = match &mut self.policy {
            Stage::Read(policy) => policy.clone(),
            Stage::Reading(reading) => {
                if let Some(read) = reading.step(&engine.model, &engine.device) {
                    self.policy = Stage::Read(engine.keep_policy(read));
                }
                return Ok(());
            }
        };
        let mut window = match self.window.take() {
            Some(window) => window,
            None => {
                let Some(at) = self.left.next() else { return Ok(()) };
                Window::open(engine, at, self.prompt.conversation(engine.prompts.frame, at))?
            }
        };
        if window.step(engine, &policy)? {
            self.window = Some(window);
            return Ok(());
        }
        let highest = highest_of(&window.logits(engine, &policy).await?, self.scoring);
        self.prompt_tokens += window.tokens(&policy);
        self.cached_tokens += window.cached;
        self.scores.iter_mut().zip(&highest).for_each(|(most, here)| *most = most.max(here.score));
        let score = highest.iter().map(|here| here.score).fold(0.0, f32::max);
        if self.best.as_ref().is_none_or(|best| score > best.score) {
            self.best = Some(Best { score, window, highest });
        }
        Ok(())
    }

    /// Finds out by which words the categories apply that a reasoned answer speaks about; whether there is more to find.
    async fn explain(&mut self, policy: &Policy) -> Result<bool> {
        let (Some(best), Stage::Read(read)) = (&self.best, &self.policy) else { return Ok(false) };
        if self.answering.steps == Steps::Written || !self.answering.reasons(best.score) {
            return Ok(false);
        }
        let engine = self.engine;
        self.looking = match self.looking.take() {
            None => {
                let Some(&category) = highest(&self.scores).get(self.findings.len()) else { return Ok(false) };
                let (score, threshold) =
                    (self.scores[category], self.answering.thresholds.of(&policy.categories[category]));
                let here = best.highest[category];
                let applies = Applies { category, score, threshold, logit: here.logit, reading: here.reading };
                // Where another window scored higher, the words of this one do not carry it.
                let look = score >= threshold && here.score >= score;
                let words = if look { self.prompt.words(best.window.at) } else { Vec::new() };
                match Occlusion::begin(engine, read, &best.window, words, applies)? {
                    Some(occlusion) => Some(Looking::For(Box::new(occlusion), applies)),
                    None => {
                        self.found(applies, None);
                        None
                    }
                }
            }
            Some(Looking::For(occlusion, applies)) => match occlusion.step(engine, self.scoring.scaling).await? {
                ControlFlow::Continue(occlusion) => Some(Looking::For(Box::new(occlusion), applies)),
                ControlFlow::Break(None) => {
                    self.found(applies, None);
                    None
                }
                ControlFlow::Break(Some(tokens)) => {
                    let at = best.window.at;
                    let without = self.prompt.without(engine.prompts.frame, at, &tokens);
                    Some(Looking::Without(Box::new(Window::apart(engine, at, without)), tokens, applies))
                }
            },
            Some(Looking::Without(mut window, tokens, applies)) => {
                if window.step(engine, read)? {
                    Some(Looking::Without(window, tokens, applies))
                } else {
                    let left = highest_of(&window.logits(engine, read).await?, self.scoring)[applies.category].score;
                    let quote = (self.prompt.quotable(window.at, tokens), left);
                    self.found(applies, Some(quote).filter(|_| left < applies.score));
                    None
                }
            }
        };
        Ok(true)
    }

    fn found(&mut self, applies: Applies, quote: Option<(QuoteSource, f32)>) {
        let Applies { category, score, threshold, .. } = applies;
        let finding = Some(Finding { score, threshold, quote });
        self.findings.push(PlannedStep { category, applies: Some(score >= threshold), finding });
    }

    /// What the windows gave, once all are read.
    pub async fn finish(mut self, tokenizer: &Tokenizer, policy: &Policy) -> Result<Readout<'e>> {
        let unread = || Error::BadInput("the conversation was not read to its end".into());
        let Stage::Read(read) = &self.policy else { return Err(unread()) };
        // There is a window even for an empty message.
        let done = self.left.is_empty() && self.window.is_none();
        let Best { score, window, .. } = self.best.take().filter(|_| done).ok_or_else(unread)?;
        let engine = self.engine;
        let (mut answer_score, mut reason) = (None, None);
        let left = |step: &PlannedStep| {
            let (_, left) = step.finding.as_ref()?.quote.as_ref()?;
            Some((policy.categories[step.category].id.clone(), *left))
        };
        let effects = self.findings.iter().filter_map(left).collect();
        if self.answering.writes(score) {
            let who = self.answering.steps;
            let written = |category| PlannedStep { category, applies: None, finding: None };
            let steps: Vec<_> = match who {
                Steps::Scored => std::mem::take(&mut self.findings),
                Steps::Written => highest(&self.scores).into_iter().map(written).collect(),
            };
            let grammar = |think| {
                let plan = Plan { think, steps: &steps, verdict: None };
                engine.prompts.grammar(tokenizer, policy, &self.prompt, window.at, plan)
            };
            let (mut reader, _) =
                window.reader(engine, read, &steps.iter().map(|step| step.category).collect::<Vec<_>>())?;
            reader.extend(&[vec![Marker::Answer.id(engine.model.vocab_size())]])?;
            if who == Steps::Written {
                let mut writer = Writer::new(reader.clone(), grammar(Think::Skip)?, Sampling::greedy());
                writer.finish().await?;
                answer_score = writer.p_unsafe();
            }
            if self.answering.reasons(score) {
                reason = Some((reader, grammar(Think::First { max_tokens: ANSWER })?));
            }
        }
        Ok(Readout {
            score,
            categories: policy.categories.iter().map(|c| c.id.clone()).zip(self.scores).collect(),
            effects,
            answer_score,
            answer: Answer::default(),
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            answer_tokens: 0,
            unreadable: self.prompt.unreadable,
            reason,
        })
    }
}

/// The highest score of each category over a window's readings, whose logits these are.
fn highest_of(readings: &[Vec<f32>], scoring: Scoring) -> Vec<Highest> {
    let mut highest: Vec<Highest> = Vec::new();
    for (reading, logits) in readings.iter().enumerate() {
        let here = scoring.scores(logits).into_iter().zip(logits);
        let here = here.map(|(score, &logit)| Highest { score, logit, reading });
        if highest.is_empty() {
            highest.extend(here);
        } else {
            let better = highest.iter_mut().zip(here).filter(|(most, here)| here.score > most.score);
            better.for_each(|(most, here)| *most = here);
        }
    }
    highest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_reading_of_each_category_counts_backed_by_its_own() {
        let found = |readings: &[Vec<f32>], scoring| -> Vec<(f32, usize)> {
            highest_of(readings, scoring).into_iter().map(|highest| (highest.logit, highest.reading)).collect()
        };
        let readings = [vec![1.0, -2.0], vec![0.5, 3.0], vec![0.7, 2.0]];
        assert_eq!(found(&readings, Scoring::default()), [(1.0, 0), (3.0, 1)]);
        // Where the last category stands for any harm, the first applies most where that does, too.
        let backed = Scoring { catch_all: Some(1), ..Scoring::default() };
        assert_eq!(found(&readings, backed), [(0.7, 2), (3.0, 1)]);
        for at in 0..3 {
            let mut broken = readings.clone();
            broken[at][0] = f32::NAN;
            let highest = highest_of(&broken, Scoring::default())[0];
            assert!(highest.score == 1.0 && highest.reading == at, "a number that is none is not hidden: {highest:?}");
        }
    }
}

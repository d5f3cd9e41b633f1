//! Which words carry a category's score: the shortest run without which it would not apply (occlusion; Zeiler and Fergus,
//! 2014, arXiv 1311.2901).
//!
//! What is tried is a slot of the category that does not see the words: the states of the conversation stay, so one try
//! costs one token. What is told of the words that were found is measured anew, on the message without them.

use std::ops::{ControlFlow, Range};

use super::engine::SlotEngine;
use super::layout::QUOTE_WORDS;
use super::network::{Pass, Seen, Unseen};
use super::policy::ReadPolicy;
use super::readings::Highest;
use super::window::Window;
use crate::engine::{layers_of_a_step, read_numbers};
use crate::error::Result;
use crate::model::KvCache;
use crate::verdict::Scaling;

/// Words of the runs that are tried first, and how far apart they begin.
const COARSE: usize = 6;
const STRIDE: usize = 3;
/// Words on either side of the best of them within which shorter runs are tried.
const MARGIN: usize = 2;
/// A run that takes less than this share of the score says too little to be quoted.
const LEAST: f32 = 0.1;

/// A category that applies, as far as its score is to be explained.
#[derive(Debug, Clone, Copy)]
pub struct Applies {
    /// Its place in the policy.
    pub category: usize,
    pub threshold: f32,
    /// Over the readings of the window.
    pub highest: Highest,
}

/// A search on its way.
pub struct Occlusion {
    applies: Applies,
    /// The words that may carry the score, as ranges of tokens,
    words: Vec<Range<usize>>,
    /// and where these begin in what the slot sees: the conversation, then the category's words.
    start: usize,
    /// What was not read.
    unseen: Vec<Range<usize>>,
    /// The conversation and the words of the category's block.
    seen: KvCache,
    /// What is being tried: runs of words.
    runs: Vec<Range<usize>>,
    fine: bool,
    pass: Pass,
}

impl Occlusion {
    /// Over some words of what the category's slot sees of a window that was read: where they begin, and ranges of tokens
    /// from there on. `None` where it sees none of them.
    ///
    /// # Errors
    /// Whatever the window has wrong.
    pub fn begin(
        engine: &SlotEngine,
        policy: &ReadPolicy,
        window: &Window,
        (start, words): (usize, Vec<Range<usize>>),
        applies: Applies,
    ) -> Result<Option<Self>> {
        let unseen = window.unseen(applies.highest.reading);
        let is_read = |word: &Range<usize>| {
            unseen.iter().all(|range| start + word.end <= range.start || range.end <= start + word.start)
        };
        let words: Vec<Range<usize>> = words.into_iter().filter(is_read).collect();
        if words.is_empty() {
            return Ok(None);
        }
        let seen = window.seen(policy, applies.category)?;
        let runs = coarse(&words);
        let pass = tries(engine, &seen, &words, (start, &unseen), &runs);
        Ok(Some(Self { applies, words, start, unseen, seen, runs, fine: false, pass }))
    }

    /// Tries on by one step: the tokens of the run that was found, if any was, or the rest while there is more to try.
    ///
    /// # Errors
    /// Whatever the device has wrong.
    pub async fn step(
        mut self,
        engine: &SlotEngine,
        scaling: Scaling,
    ) -> Result<ControlFlow<Option<Range<usize>>, Self>> {
        let layers = layers_of_a_step(engine.model.layers(), self.pass.tokens());
        let seen = Seen { shared: &self.seen, words: None };
        if !engine.model.advance_slots(&mut self.pass, seen, None, layers) {
            return Ok(ControlFlow::Continue(self));
        }
        let logits = read_numbers(engine.model.slot_logits(self.pass.states.clone())).await?;
        let left: Vec<f32> = logits.into_iter().map(|logit| self.left(logit, scaling)).collect();
        if self.fine {
            return Ok(ControlFlow::Break(carrier(self.applies, &self.words, &self.runs, &left)));
        }
        let Some(lowest) = lowest(&left) else { return Ok(ControlFlow::Break(None)) };
        self.runs = fine(&self.words, &self.runs[lowest]);
        self.fine = true;
        self.pass = tries(engine, &self.seen, &self.words, (self.start, &self.unseen), &self.runs);
        Ok(ControlFlow::Continue(self))
    }

    /// The score that a logit leaves of the category's, in [0, 1].
    fn left(&self, logit: f32, scaling: Scaling) -> f32 {
        let Highest { backed, logit: whole, .. } = self.applies.highest;
        // The score may be held back by those of others: only the difference counts.
        scaling.probability(backed - (whole - logit))
    }
}

/// Of runs of words, each with the score that is left without it, the tokens of the shortest one that takes the score below
/// its threshold or halves it; without any the one that takes most. None where that takes too little, or is a word too long to
/// be quoted.
fn carrier(applies: Applies, words: &[Range<usize>], runs: &[Range<usize>], left: &[f32]) -> Option<Range<usize>> {
    let Applies { threshold, highest: Highest { score, .. }, .. } = applies;
    let carries = |&at: &usize| left[at] < threshold || left[at] <= score / 2.0;
    let shortest = (0..left.len())
        .filter(carries)
        .min_by(|&a, &b| runs[a].len().cmp(&runs[b].len()).then(left[a].total_cmp(&left[b])));
    let found = shortest.or_else(|| lowest(left))?;
    let quote = tokens(words, &runs[found]);
    (left[found] <= score * (1.0 - LEAST) && quote.len() <= QUOTE_WORDS).then_some(quote)
}

/// The place of the lowest score.
fn lowest(left: &[f32]) -> Option<usize> {
    (0..left.len()).min_by(|&a, &b| left[a].total_cmp(&left[b]))
}

/// A slot for each run of words that does not see it.
fn tries(
    engine: &SlotEngine,
    seen: &KvCache,
    words: &[Range<usize>],
    (start, unseen): (usize, &[Range<usize>]),
    runs: &[Range<usize>],
) -> Pass {
    let hidden = |run| {
        let tokens = tokens(words, run);
        unseen.iter().cloned().chain(std::iter::once(start + tokens.start..start + tokens.end)).collect()
    };
    let hidden: Vec<Vec<Range<usize>>> = runs.iter().map(hidden).collect();
    engine.model.begin_slots([1, runs.len()], &Unseen::BySlot(&hidden), seen.len(), &engine.device)
}

fn tokens(words: &[Range<usize>], run: &Range<usize>) -> Range<usize> {
    words[run.start].start..words[run.end - 1].end
}

/// Runs over all words that overlap, each short enough for a quote.
fn coarse(words: &[Range<usize>]) -> Vec<Range<usize>> {
    let starts = (0..words.len()).step_by(STRIDE);
    starts.map(|start| longest(words, start, (start + COARSE).min(words.len()))).collect()
}

/// All runs in and around one that are short enough for a quote.
fn fine(words: &[Range<usize>], around: &Range<usize>) -> Vec<Range<usize>> {
    let end = (around.end + MARGIN).min(words.len());
    let starts = around.start.saturating_sub(MARGIN)..end;
    starts.flat_map(|start| (start + 1..=longest(words, start, end).end).map(move |end| start..end)).collect()
}

/// The longest run from `start` that goes no further than `end` and has tokens enough for one quote; at least one word.
fn longest(words: &[Range<usize>], start: usize, end: usize) -> Range<usize> {
    let fits = |&to: &usize| words[to - 1].end - words[start].start <= QUOTE_WORDS;
    start..(start + 1..=end).take_while(fits).last().unwrap_or(start + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applies(threshold: f32, reading: usize) -> Applies {
        Applies { category: 0, threshold, highest: Highest { score: 0.8, logit: 0.0, backed: 0.0, reading } }
    }

    #[test]
    fn the_shortest_words_that_carry_a_score_are_quoted_and_else_those_that_take_most_of_it() {
        let words: Vec<Range<usize>> = (0..4).map(|at| at..at + 1).collect();
        let runs = [0..3, 1..3, 2..3, 3..4];
        let found = |threshold, left: [f32; 4]| carrier(applies(threshold, 0), &words, &runs, &left);
        assert_eq!(found(0.5, [0.1, 0.45, 0.6, 0.7]), Some(1..3), "below the threshold");
        assert_eq!(found(0.1, [0.2, 0.3, 0.4, 0.5]), Some(2..3), "or half of it");
        assert_eq!(found(0.5, [0.1, 0.2, 0.4, 0.3]), Some(3..4), "of those as short the one that takes more");
        assert_eq!(found(0.1, [0.6, 0.55, 0.7, 0.75]), Some(1..3));
        assert_eq!(found(0.1, [0.73, 0.75, 0.79, 0.8]), None, "which says too little");
        // A word of so many tokens, and one of one.
        let long = [0..QUOTE_WORDS + 1, QUOTE_WORDS + 1..QUOTE_WORDS + 2];
        assert_eq!(carrier(applies(0.5, 0), &long, &[0..1, 1..2], &[0.0, 0.7]), None, "too long to quote");
    }

    #[cfg(all(feature = "embedded", feature = "native"))]
    #[test]
    fn no_word_is_tried_that_a_reading_does_not_see() {
        use crate::mini::prompt::SlotPrompts;

        pollster::block_on(async {
            let bundle = crate::bundle::Bundle::embedded().unwrap();
            let tokenizer = crate::tokenizer::Tokenizer::from_bytes(&bundle.tokenizer().await.unwrap()).unwrap();
            let device = burn::tensor::Device::flex();
            let engine = SlotEngine::load(bundle.manifest(), &tokenizer, bundle.weights(&device)).await.unwrap();
            let blocks = SlotPrompts::blocks(&tokenizer, &bundle.policy().await.unwrap()).unwrap();
            let conversation = crate::conversation::Conversation::prompt("Who walks the dog? ".repeat(40));
            let prompt = engine.prompts.read(&tokenizer, blocks, &conversation).unwrap();
            let policy = std::sync::Arc::new(engine.read_policy(&prompt.blocks));
            let layout = prompt.conversation(engine.prompts.frame, 0);
            let (start, passages) = (layout.judged().start, layout.passages());
            let mut window = Window::apart(&engine, 0, layout);
            while window.step(&engine, &policy).unwrap() {}
            assert!(passages.len() > 3, "{passages:?}");
            for (at, passage) in passages.iter().enumerate() {
                let words = (start, prompt.words(0));
                let occlusion =
                    Occlusion::begin(&engine, &policy, &window, words, applies(0.5, at + 1)).unwrap().unwrap();
                let is_seen =
                    |word: &Range<usize>| passage.start <= start + word.start && start + word.end <= passage.end;
                assert!(occlusion.words.iter().all(is_seen), "{passage:?}: {:?}", occlusion.words);
                assert!(occlusion.words.len() > passage.len() / 2, "{passage:?}: {:?}", occlusion.words);
            }
        });
    }

    #[test]
    fn every_word_is_tried_and_no_run_is_too_long_to_quote() {
        // Words of one, two and three tokens.
        let mut at = 0;
        let words: Vec<Range<usize>> = (0..20)
            .map(|word| {
                at += word % 3 + 1;
                at - word % 3 - 1..at
            })
            .collect();
        let runs = coarse(&words);
        assert!((0..20).all(|word| runs.iter().any(|run| run.contains(&word))));
        for run in &runs {
            let finer = fine(&words, run);
            assert!(run.clone().all(|word| finer.contains(&(word..word + 1))), "{run:?}: {finer:?}");
            assert!(finer.iter().chain([run]).all(|run| tokens(&words, run).len() <= QUOTE_WORDS && !run.is_empty()));
        }
        let endless: Vec<Range<usize>> = std::iter::once(0..40).collect();
        assert_eq!(
            coarse(&endless).as_slice(),
            std::slice::from_ref(&(0..1)),
            "a word that is too long is tried as it is"
        );
    }
}

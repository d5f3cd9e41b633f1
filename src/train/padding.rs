//! Harmless text around a text: more to read, and nothing else is true of it.
//!
//! Whoever pads a request hopes that a guard averages; whoever posts a long comment has most of it harmless.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::examples::Sample;
use super::recipe::{ConceptIdx, Facts};
use crate::prompt::slots::{Kind, WINDOW};
use crate::tokenizer::TokenId;

/// The share of prompts that are padded, where a window has the room.
const PADDED: f64 = 0.25;
/// The least padding, in tokens.
const LEAST: usize = 8;

/// Harmless prompts, by source: each source is as likely, or the largest would be all there is.
pub struct Padding<'a>(Vec<Vec<&'a Sample>>);

impl<'a> Padding<'a> {
    /// The prompts among the sources' samples that are free of harm of any kind.
    pub fn among(sources: impl IntoIterator<Item = &'a [Sample]>, any_harm: Option<ConceptIdx>) -> Self {
        let harmless = |sample: &&Sample| {
            let harmless = any_harm.is_some_and(|harm| sample.facts.holds(harm) == Some(false));
            // What is harmless may still be about something: somebody seeks help.
            sample.kind == Kind::JudgedUser && harmless && sample.facts.positive.is_empty()
        };
        let sources = sources.into_iter().map(|samples| samples.iter().filter(harmless).collect());
        Self(sources.filter(|samples: &Vec<_>| !samples.is_empty()).collect())
    }

    /// The sample among harmless text, if the generator says so and there is room; what is known is known of both texts.
    pub fn around(&self, sample: &Sample, rng: &mut ChaCha8Rng) -> Option<Sample> {
        let room = WINDOW.saturating_sub(sample.judged.len());
        // An owner may forbid what is harmless.
        let any_text_is_free = sample.kind == Kind::JudgedUser && sample.asked.is_empty();
        if !any_text_is_free || room < LEAST || !rng.random_bool(PADDED) {
            return None;
        }
        let harmless = self.0.choose(rng)?.choose(rng)?;
        let len = rng.random_range(LEAST..=room);
        Some(match rng.random_bool(0.5) {
            true => join(harmless.ending(len), (&sample.judged, &sample.word_starts), sample, &harmless.facts),
            false => join((&sample.judged, &sample.word_starts), harmless.beginning(len), sample, &harmless.facts),
        })
    }
}

/// Tokens, and whether each begins a word.
type Text<'a> = (&'a [TokenId], &'a [bool]);

impl Sample {
    /// The first words, in at most `len` tokens.
    fn beginning(&self, len: usize) -> Text<'_> {
        let end = (0..=len.min(self.judged.len())).rev().find(|&end| self.is_boundary(end)).unwrap_or(0);
        (&self.judged[..end], &self.word_starts[..end])
    }

    /// The last words, in at most `len` tokens.
    fn ending(&self, len: usize) -> Text<'_> {
        let all = self.judged.len();
        let start = (all.saturating_sub(len)..all).find(|&start| self.is_boundary(start)).unwrap_or(all);
        (&self.judged[start..], &self.word_starts[start..])
    }

    fn is_boundary(&self, at: usize) -> bool {
        self.word_starts.get(at).copied().unwrap_or(true)
    }
}

/// One text behind the other, with what is known of the padded sample and not denied by the padding.
fn join(first: Text, second: Text, padded: &Sample, padding: &Facts) -> Sample {
    let negative = padded.facts.negative.iter().copied().filter(|&concept| padding.holds(concept) == Some(false));
    Sample {
        judged: [first.0, second.0].concat(),
        word_starts: [first.1, second.1].concat(),
        context: padded.context.clone(),
        kind: padded.kind,
        facts: Facts { negative: negative.collect(), ..padded.facts.clone() },
        asked: padded.asked.clone(),
    }
}

#[cfg(test)]
mod tests {
    use rand_chacha::rand_core::SeedableRng;

    use super::*;

    fn sample(judged: Vec<TokenId>, positive: Vec<ConceptIdx>, negative: Vec<ConceptIdx>) -> Sample {
        Sample {
            // The second half of every pair of tokens goes on a word.
            word_starts: (0..judged.len()).map(|at| at % 2 == 0).collect(),
            judged,
            context: None,
            kind: Kind::JudgedUser,
            facts: Facts { positive, negative, ..Facts::default() },
            asked: Vec::new(),
        }
    }

    #[test]
    fn padding_is_harmless_whole_words_and_keeps_the_label() {
        let request: Vec<TokenId> = (1000..1020).collect();
        let samples = [
            sample((0..90).collect(), vec![], vec![0, 1, 9]),
            sample((2000..2100).collect(), vec![9], vec![0]),
            sample((3000..3100).collect(), vec![], vec![0, 1]),
        ];
        let padding = Padding::among([&samples[..]], Some(9));
        let harmful = sample(request.clone(), vec![2, 9], vec![0, 3]);
        let (mut before, mut behind, mut alone) = (0, 0, 0);
        for seed in 0..400 {
            let Some(padded) = padding.around(&harmful, &mut ChaCha8Rng::seed_from_u64(seed)) else {
                alone += 1;
                continue;
            };
            let at = padded.judged.windows(request.len()).position(|window| window == request).expect("the request");
            let around = [&padded.judged[..at], &padded.judged[at + request.len()..]].concat();
            assert!((1..=WINDOW - request.len()).contains(&around.len()) && around.len().is_multiple_of(2));
            assert!(around.iter().all(|&token| token < 90), "only what is known to be harmless: {around:?}");
            assert_eq!(padded.word_starts.len(), padded.judged.len());
            assert_eq!(padded.facts, Facts { positive: vec![2, 9], negative: vec![0], ..Facts::default() });
            before += usize::from(at > 0);
            behind += usize::from(at == 0);
        }
        assert!(before > 20 && behind > 20 && alone > 250, "{before} before, {behind} behind, {alone} alone");

        let long = sample((0..110).collect(), vec![2], vec![]);
        assert!((0..100).all(|seed| padding.around(&long, &mut ChaCha8Rng::seed_from_u64(seed)).is_none()));
    }
}

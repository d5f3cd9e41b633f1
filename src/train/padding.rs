//! Harmless text around a text: more to read, and nothing else is true of it.
//!
//! Whoever pads a request hopes that a guard averages; whoever posts a long comment has most of it harmless.

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;

use super::sample::Sample;
use crate::data::recipe::{ConceptIdx, Facts};
use crate::mini::layout::{CONTEXT_WORDS, Kind, NEAREST_WORDS, WINDOW};
use crate::mini::prompt::Context;
use crate::tokenizer::TokenId;

/// The share of texts that are padded, where a window has the room.
const PADDED: f64 = 0.3;
/// The share of lone prompts that get an earlier exchange.
const CONTINUED: f64 = 0.15;
/// The least padding, in tokens.
const LEAST: usize = 8;

/// Harmless texts, by source: each source is as likely, or the largest would be all there is.
pub struct Padding<'a> {
    prompts: Vec<Vec<&'a Sample>>,
    /// With the prompt that each answers.
    replies: Vec<Vec<&'a Sample>>,
}

impl<'a> Padding<'a> {
    /// The texts among the sources' samples that are free of harm of any kind.
    pub fn among(sources: impl IntoIterator<Item = &'a [Sample]> + Clone, any_harm: Option<ConceptIdx>) -> Self {
        let harmless = |sample: &&Sample| {
            let harmless = any_harm.is_some_and(|harm| sample.facts.holds(harm) == Some(false));
            // What is harmless may still be about something: somebody seeks help.
            harmless && sample.facts.positive.is_empty()
        };
        let of = |kind: Kind| {
            let of_kind = |sample: &&Sample| sample.kind == kind && harmless(sample);
            let sources = sources.clone().into_iter().map(|samples| samples.iter().filter(of_kind).collect());
            sources.filter(|samples: &Vec<_>| !samples.is_empty()).collect()
        };
        Self { prompts: of(Kind::JudgedUser), replies: of(Kind::JudgedAgent) }
    }

    /// The sample, which is no owner's, among harmless texts of its kind, if the generator says so and there is room; what is
    /// known is known of all of them.
    pub fn around(&self, sample: &Sample, rng: &mut ChaCha8Rng) -> Option<Sample> {
        let room = WINDOW.saturating_sub(sample.judged.len());
        if room < LEAST || !rng.random_bool(PADDED) {
            return None;
        }
        let len = rng.random_range(LEAST..=room);
        let before = match rng.random_range(0..3) {
            0 => 0,
            1 => len,
            _ => rng.random_range(0..=len),
        };
        let (mut first, last) = (self.fill(sample.kind, before, rng)?, self.fill(sample.kind, len - before, rng)?);
        // Where the texts before it do not fit, the first of them lacks its beginning.
        first.reverse();
        let harmless: Vec<&Facts> = first.iter().chain(&last).map(|(text, _)| &text.facts).collect();
        let first = first.iter().map(|&(text, len)| text.ending(len));
        let last = last.iter().map(|&(text, len)| text.beginning(len));
        let first: Vec<Text> = first.collect();
        let before = first.iter().map(|(words, _)| words.len()).sum::<usize>();
        let core = Some(before..before + sample.judged.len());
        let texts: Vec<Text> =
            first.into_iter().chain([(&sample.judged[..], &sample.word_starts[..])]).chain(last).collect();
        Some(Sample { core, ..join(&texts, sample, &harmless) })
    }

    /// Harmless texts that fill `len` tokens, each with how many of them it may take.
    fn fill(&self, kind: Kind, len: usize, rng: &mut ChaCha8Rng) -> Option<Vec<(&'a Sample, usize)>> {
        let sources = if kind == Kind::JudgedUser { &self.prompts } else { &self.replies };
        let mut texts = Vec::new();
        let mut left = len;
        while left > 0 {
            let &text = sources.choose(rng)?.choose(rng)?;
            texts.push((text, left));
            left = left.saturating_sub(text.judged.len());
        }
        Some(texts)
    }

    /// The sample behind a harmless exchange about something else, if the generator says so and it is a lone prompt: what
    /// went before it does not change what it asks.
    pub fn behind(&self, sample: &Sample, rng: &mut ChaCha8Rng) -> Option<Sample> {
        if sample.kind != Kind::JudgedUser || !sample.context.is_empty() || !rng.random_bool(CONTINUED) {
            return None;
        }
        let reply = self.replies.choose(rng)?.choose(rng)?;
        let said = reply.ending(NEAREST_WORDS).0.to_vec();
        let left = CONTEXT_WORDS - said.len();
        let asked = reply
            .context
            .last()
            .map(|asked| Context { ids: asked.ids[asked.ids.len().saturating_sub(left)..].to_vec(), ..asked.clone() });
        let context = asked.into_iter().chain([Context { kind: Kind::ContextAgent, ids: said }]).collect();
        Some(Sample { context, ..sample.clone() })
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

/// Texts one behind the other, with what is known of the padded sample and not denied by the padding.
fn join(texts: &[Text], padded: &Sample, padding: &[&Facts]) -> Sample {
    let free = |concept: &ConceptIdx| padding.iter().all(|facts| facts.holds(*concept) == Some(false));
    Sample {
        judged: texts.iter().flat_map(|(words, _)| *words).copied().collect(),
        word_starts: texts.iter().flat_map(|(_, starts)| *starts).copied().collect(),
        facts: Facts { negative: padded.facts.negative.iter().copied().filter(free).collect(), ..padded.facts.clone() },
        ..padded.clone()
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
            core: None,
            context: Vec::new(),
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
        let mut longest = 0;
        let harmful = sample(request.clone(), vec![2, 9], vec![0, 3]);
        let (mut before, mut behind, mut between, mut alone) = (0, 0, 0, 0);
        for seed in 0..400 {
            let Some(padded) = padding.around(&harmful, &mut ChaCha8Rng::seed_from_u64(seed)) else {
                alone += 1;
                continue;
            };
            let at = padded.judged.windows(request.len()).position(|window| window == request).expect("the request");
            let (first, last) = (&padded.judged[..at], &padded.judged[at + request.len()..]);
            assert_eq!(padded.core, Some(at..at + request.len()));
            let around = [first, last].concat();
            assert!((1..=WINDOW - request.len()).contains(&around.len()));
            longest = longest.max(around.len());
            assert!(first.len().is_multiple_of(2) && last.len().is_multiple_of(2));
            assert!(around.iter().all(|&token| token < 90), "only what is known to be harmless: {around:?}");
            assert_eq!(padded.word_starts.len(), padded.judged.len());
            assert_eq!(padded.facts, Facts { positive: vec![2, 9], negative: vec![0], ..Facts::default() });
            match (first.is_empty(), last.is_empty()) {
                (true, _) => behind += 1,
                (_, true) => before += 1,
                _ => between += 1,
            }
        }
        assert!(
            [before, behind, between].iter().all(|&count| count > 20) && alone > 250,
            "{before} before, {behind} behind, {between} between, {alone} alone"
        );
        assert!(longest > 200, "several texts fill a window: {longest}");

        let long = sample((0..WINDOW as TokenId - 2).collect(), vec![2], vec![]);
        assert!((0..100).all(|seed| padding.around(&long, &mut ChaCha8Rng::seed_from_u64(seed)).is_none()));
    }
}

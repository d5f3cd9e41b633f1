//! Weak evidence for rows that have none: the stretch of a text whose words speak most for a concept.
//!
//! The weight of a word for a concept is the smoothed log ratio of its frequency in rows where the concept applies
//! to its frequency in all rows. The quote is the run of whole words with the highest sum of weights.

use std::ops::Range;

use crate::mini::layout::QUOTE_WORDS;
use crate::tokenizer::TokenId;

/// What a word must weigh to be worth quoting: longer quotes are not better quotes.
const WORD_COST: f32 = 0.3;
const SMOOTHING: f32 = 2.0;

/// Weights of words for concepts.
pub struct Lexicon {
    vocab_size: usize,
    /// `[concepts + 1, vocab_size]`; the last row is harm in general.
    weights: Vec<f32>,
}

impl Lexicon {
    /// Counts the words of `rows`: a text's tokens, the concepts that apply to it, and whether it is unsafe at all.
    pub fn count<'a>(
        vocab_size: usize,
        concepts: usize,
        rows: impl Iterator<Item = (&'a [TokenId], &'a [usize], bool)>,
    ) -> Self {
        let mut counts = vec![0f32; (concepts + 1) * vocab_size];
        let mut totals = vec![0f32; concepts + 1];
        let mut background = vec![0f32; vocab_size];
        let mut background_total = 0f32;
        for (tokens, positive, harmful) in rows {
            for &token in tokens {
                background[token as usize] += 1.0;
                background_total += 1.0;
                let general = harmful.then_some(concepts);
                for concept in positive.iter().copied().chain(general) {
                    counts[concept * vocab_size + token as usize] += 1.0;
                    totals[concept] += 1.0;
                }
            }
        }
        for (concept, total) in totals.iter().enumerate() {
            for (token, all) in background.iter().enumerate() {
                let prior = (all + 1.0) / (background_total + vocab_size as f32);
                let count = &mut counts[concept * vocab_size + token];
                *count = ((*count + SMOOTHING * prior * 1e3) / (total + SMOOTHING * 1e3) / prior).ln();
            }
        }
        Self { vocab_size, weights: counts }
    }

    /// The best quote for a concept (`None`: harm in general) among whole words; `starts[i]` says that token `i`
    /// begins a word. `None` if the text is empty.
    pub fn quote(&self, tokens: &[TokenId], starts: &[bool], concept: Option<usize>) -> Option<Range<usize>> {
        let concept = concept.unwrap_or(self.weights.len() / self.vocab_size - 1);
        let weight = |i: usize| self.weights[concept * self.vocab_size + tokens[i] as usize] - WORD_COST;
        let mut best = None;
        for from in (0..tokens.len()).filter(|&i| starts[i]) {
            let mut sum = 0.0;
            for to in from + 1..=tokens.len().min(from + QUOTE_WORDS) {
                sum += weight(to - 1);
                let whole = starts.get(to).is_none_or(|&start| start);
                if whole && best.as_ref().is_none_or(|&(most, _)| sum > most) {
                    best = Some((sum, from..to));
                }
            }
        }
        best.map(|(_, range)| range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quote_is_the_run_of_words_that_speaks_for_the_concept() {
        let about: [&[TokenId]; 2] = [&[1, 7, 8, 2], &[3, 7, 8, 4]];
        let other: [&[TokenId]; 2] = [&[1, 5, 2, 3], &[4, 6, 2, 1]];
        let rows = (0..2000).flat_map(|_| {
            about.iter().map(|&t| (t, [0].as_slice(), true)).chain(other.iter().map(|&t| (t, [].as_slice(), false)))
        });
        let lexicon = Lexicon::count(10, 1, rows);
        let starts = [true; 5];
        assert_eq!(lexicon.quote(&[1, 2, 7, 8, 3], &starts, Some(0)), Some(2..4));
        let no_break_inside_a_word = [true, true, true, false, true];
        assert_eq!(lexicon.quote(&[1, 2, 8, 7, 3], &no_break_inside_a_word, None), Some(2..4));
    }
}

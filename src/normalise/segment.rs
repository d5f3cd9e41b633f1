//! Words that run together, parted again.

use super::lexicon::{LONGEST, Lexicon, knows};
use super::traced::{Traced, small, words};

/// Shorter runs of letters are words that the lexicon lacks.
const RUN: usize = 12;
/// A run has so many words at least.
const WORDS: usize = 3;
/// Runs together have so many letters at least: where names in a program run together, its text has more letters beside.
const LETTERS: usize = 14;
/// And at least this share of the text's letters.
const SHARE: f32 = 0.2;
/// Nats that a letter may cost on average; English in words of this lexicon costs about 2, other languages and noise 4.
const COST: f32 = 3.1;
/// What a word costs beside its rank, and what a letter that belongs to none does.
const WORD: f32 = 2.0;
const LOST: f32 = 9.0;

/// The text with spaces in its runs of words; `None` if it has none, or few.
pub fn part(text: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<Traced>> {
    let words = words(text);
    let letters: usize = words.iter().map(|word| word.len()).sum();
    let mut parted = Vec::with_capacity(text.len());
    let (mut at, mut found) = (0, 0);
    for word in words.into_iter().filter(|word| word.len() >= RUN) {
        let run = &text[word.clone()];
        let Some(cuts) = cuts(run, lexicon) else { continue };
        found += run.len();
        parted.extend_from_slice(&text[at..word.start]);
        for (place, &one) in run.iter().enumerate() {
            if place > 0 && cuts.binary_search(&place).is_ok() {
                parted.push(Traced { character: ' ', end: one.start, ..one });
            }
            parted.push(one);
        }
        at = word.end;
    }
    parted.extend_from_slice(&text[at..]);
    (found >= LETTERS && found as f32 >= SHARE * letters as f32).then_some(parted)
}

/// Where words begin in a run of letters, if it is one of words.
pub fn cuts(run: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<usize>> {
    if knows(lexicon, run) {
        return None;
    }
    let spelt = small(run);
    // The least cost of the letters up to each place, and where its last word begins; `None` for a lost letter.
    let mut best: Vec<(f32, usize)> = vec![(0.0, 0)];
    for end in 1..=run.len() {
        let words = (end.saturating_sub(LONGEST)..end).filter_map(|start| {
            let rank = lexicon.rank(&spelt[start..end])?;
            Some((best[start].0 + WORD + (rank as f32 + 10.0).ln(), start))
        });
        let lost = (best[end - 1].0 + LOST, end - 1);
        let least = words.min_by(|a, b| a.0.total_cmp(&b.0)).filter(|word| word.0 <= lost.0).unwrap_or(lost);
        // Noise is seen early: what follows need not be looked up.
        if end >= 64 && least.0 > 1.5 * COST * end as f32 {
            return None;
        }
        best.push(least);
    }
    if best[run.len()].0 > COST * run.len() as f32 {
        return None;
    }
    let mut cuts = Vec::new();
    let mut end = run.len();
    while end > 0 {
        end = best[end].1;
        cuts.push(end);
    }
    cuts.reverse();
    (cuts.len() >= WORDS).then_some(cuts)
}

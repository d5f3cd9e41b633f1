//! Whether the quotes of a verdict carry it: how far a category's score falls without the words that are quoted for it, and
//! how far without as many others ("comprehensiveness" of rationales); and how much of what is quoted a reader quoted, too
//! ("agreement with human rationales"; both DeYoung et al., 2020, arXiv 1911.03429).

use std::ops::Range;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use serde::Serialize;

use super::{Asking, EvalOptions, Judgement};
use crate::conversation::Conversation;
use crate::data::rows::Row;
use crate::error::{Error, Result};
use crate::guard::{Guard, Reasoning, Request};
use crate::verdict::{CategoryScore, Evidence, Verdict};

/// The quotes of a guard on one set. Shares and means are over quotes, and none without one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvidenceReport {
    pub name: String,
    pub rows: usize,
    pub flagged: usize,
    /// Quotes that stand for a category which applies, in messages that have other words as well.
    pub quotes: usize,
    /// Their length in words, on average.
    pub words: Option<f64>,
    pub without_quote: Option<Fall>,
    pub without_others: Option<Fall>,
    /// Of the flagged rows that a reader quoted from.
    pub overlap: Option<Overlap>,
}

/// How much of what is quoted a reader quoted, too: the F1 of the quoted words, in [0, 1], on average over messages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Overlap {
    pub rows: usize,
    /// Of all quotes of a message; 0 for one without any.
    pub quotes: f64,
    /// Of as many runs of the same lengths, drawn at random.
    pub others: f64,
}

/// What becomes of a category's score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Fall {
    /// The mean difference of the score in [0, 1].
    pub mean: f64,
    /// The share of scores that fall below their threshold.
    pub below: f64,
}

/// Judges rows with reasoning, and messages without their quotes or other words of the same number, which `seed` draws;
/// hands each row's judgement to `on_row`.
///
/// # Errors
/// As [`evaluate`](super::evaluate).
pub async fn evaluate_evidence(
    guard: &Guard,
    name: &str,
    rows: &[Row],
    seed: u64,
    options: EvalOptions<'_>,
    mut on_row: impl FnMut(&Judgement) -> Result<()>,
) -> Result<EvidenceReport> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut asking = Asking::default();
    let (mut quoted, mut others, mut words, mut flagged) = (Vec::new(), Vec::new(), 0, 0);
    let mut overlaps = Vec::new();
    let request = |conversation: Conversation, reasoning| {
        let mut request = Request::new(conversation).reasoning(reasoning);
        request.policy = options.policy;
        request
    };
    for row in rows {
        let conversation = row.conversation();
        let verdict = guard.check(&request(conversation.clone(), Reasoning::Always)).await;
        let judged = verdict.as_ref().ok().filter(|verdict| verdict.flagged).cloned();
        let outcome = asking.take(verdict, &options)?;
        on_row(&Judgement::of(name, row, None, outcome))?;
        let Some(verdict) = judged else { continue };
        flagged += 1;
        overlaps.extend(overlap(row, &conversation, &verdict.evidence, &mut rng)?);
        for evidence in &verdict.evidence {
            let Some(category) = scored(&verdict, evidence).filter(|category| category.flagged) else { continue };
            let content = &conversation.messages[evidence.message].content;
            let count = evidence.quote.split_whitespace().count();
            let Some(drawn) = run(content, count, &mut rng) else { continue };
            let without = async |taken: Range<usize>| -> Result<Option<f32>> {
                let mut cut = conversation.clone();
                cut.messages[evidence.message].content.replace_range(taken, "");
                let verdict = guard.check(&request(cut, Reasoning::Never)).await?;
                Ok(scored(&verdict, evidence).map(|category| category.score))
            };
            let left = [without(evidence.start..evidence.end).await?, without(drawn).await?];
            if let [Some(quote), Some(other)] = left {
                quoted.push((category.score, category.threshold, quote));
                others.push((category.score, category.threshold, other));
                words += count;
            }
        }
    }
    asking.end()?;
    Ok(EvidenceReport {
        name: name.to_owned(),
        rows: rows.len(),
        flagged,
        quotes: quoted.len(),
        words: (!quoted.is_empty()).then(|| words as f64 / quoted.len() as f64),
        without_quote: fall(&quoted),
        without_others: fall(&others),
        overlap: mean(&overlaps),
    })
}

/// How much of what is quoted of a row's judged text its reader quoted, and of as many random words; `None` without a reader.
///
/// # Errors
/// [`Error::BadInput`] for a reader's quote that does not stand in the text.
fn overlap(
    row: &Row,
    conversation: &Conversation,
    evidence: &[Evidence],
    rng: &mut ChaCha8Rng,
) -> Result<Option<(f64, f64)>> {
    if row.quotes.is_empty() {
        return Ok(None);
    }
    let judged = conversation.target_index()?;
    let content = &conversation.messages[judged].content;
    let read = row.quotes.iter().map(|quote| {
        let found = content.find(quote.as_str()).map(|start| start..start + quote.len());
        found.ok_or_else(|| Error::BadInput(format!("row {:?}: expected quotes of its text, found {quote:?}", row.id)))
    });
    let read: Vec<Range<usize>> = read.collect::<Result<_>>()?;
    let quoted: Vec<Range<usize>> =
        evidence.iter().filter(|it| it.message == judged).map(|it| it.start..it.end).collect();
    let count = |range: &Range<usize>| content[range.clone()].split_whitespace().count();
    let drawn: Vec<Range<usize>> = quoted.iter().filter_map(|range| run(content, count(range), rng)).collect();
    Ok(Some((f1(content, &quoted, &read), f1(content, &drawn, &read))))
}

/// The F1 of the words of a text in which two lists of ranges meet.
fn f1(text: &str, found: &[Range<usize>], right: &[Range<usize>]) -> f64 {
    let within = |word: &Range<usize>, ranges: &[Range<usize>]| {
        ranges.iter().any(|range| range.start < word.end && word.start < range.end)
    };
    let words = words(text);
    let count = |of: &dyn Fn(&Range<usize>) -> bool| words.iter().filter(|word| of(word)).count() as f64;
    let both = count(&|word| within(word, found) && within(word, right));
    let each = count(&|word| within(word, found)) + count(&|word| within(word, right));
    if each == 0.0 { 0.0 } else { 2.0 * both / each }
}

fn mean(overlaps: &[(f64, f64)]) -> Option<Overlap> {
    let mean = |of: fn(&(f64, f64)) -> f64| overlaps.iter().map(of).sum::<f64>() / overlaps.len() as f64;
    let rows = overlaps.len();
    (rows > 0).then(|| Overlap { rows, quotes: mean(|it| it.0), others: mean(|it| it.1) })
}

/// The category that a quote stands for.
fn scored<'v>(verdict: &'v Verdict, evidence: &Evidence) -> Option<&'v CategoryScore> {
    verdict.categories.iter().find(|category| Some(&category.id) == evidence.category.as_ref())
}

/// Where the words of a text stand.
fn words(text: &str) -> Vec<Range<usize>> {
    let start = |word: &str| word.as_ptr() as usize - text.as_ptr() as usize;
    text.split_whitespace().map(|word| start(word)..start(word) + word.len()).collect()
}

/// A random run of so many words, of a text that has more.
fn run(text: &str, count: usize, rng: &mut ChaCha8Rng) -> Option<Range<usize>> {
    let words = words(text);
    let last = words.len().checked_sub(count).filter(|&last| last > 0 && count > 0)?;
    let at = rng.random_range(0..=last);
    Some(words[at].start..words[at + count - 1].end)
}

/// Of scores, their thresholds, and what is left of them.
fn fall(scores: &[(f32, f32, f32)]) -> Option<Fall> {
    let count = scores.len() as f64;
    let falls = scores.iter().map(|&(score, _, left)| f64::from(score - left));
    let below = scores.iter().filter(|&&(_, threshold, left)| left < threshold).count();
    (!scores.is_empty()).then(|| Fall { mean: falls.sum::<f64>() / count, below: below as f64 / count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_words_are_as_many_and_whole() {
        let text = "one  two three\nfour five";
        for seed in 0..50 {
            let drawn = run(text, 2, &mut ChaCha8Rng::seed_from_u64(seed)).unwrap();
            assert_eq!(text[drawn.clone()].split_whitespace().count(), 2, "{}", &text[drawn]);
        }
        assert_eq!(run(text, 5, &mut ChaCha8Rng::seed_from_u64(1)), None, "nothing else is left to take");
    }

    #[test]
    fn words_that_both_quote_count_and_parts_of_words_for_whole() {
        let text = "take the money from her purse";
        let at = |quote: &str| text.find(quote).map(|start| start..start + quote.len()).unwrap();
        assert_eq!(f1(text, &[at("money from")], &[at("money from")]), 1.0);
        assert_eq!(f1(text, &[at("money from")], &[at("from her purse")]), 0.4);
        assert_eq!(f1(text, &[at("mon"), at("rom")], &[at("money from")]), 1.0);
        assert_eq!(f1(text, &[at("money from"), at("from")], &[at("her"), at("money")]), 0.5);
        assert_eq!(f1(text, &[], &[at("money")]), 0.0);
    }

    #[test]
    fn a_fall_is_a_mean_and_a_share() {
        assert_eq!(fall(&[]), None);
        let fall = fall(&[(0.75, 0.5, 0.25), (0.75, 0.5, 0.625)]).unwrap();
        assert_eq!(fall, Fall { mean: 0.3125, below: 0.5 });
    }
}

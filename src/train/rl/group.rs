//! Answers to one prompt, sampled side by side: one batch of the model, a grammar and a sampler for each.

use crate::engine::draft::Draft;
use crate::engine::reader::Reader;
use crate::error::Result;
use crate::grammar::{Allowed, Grammar};
use crate::sampling::Sampling;
use crate::tokenizer::TokenId;
use crate::verdict::Answer;

/// A place in an answer where the grammar left more than one token.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// Index of the chosen token in the answer.
    pub at: usize,
    /// The tokens that it was chosen from.
    pub allowed: Allowed,
    /// Its natural log-probability under softmax(logits / temperature) over those tokens, before top-p and repetition
    /// penalty.
    pub log_prob: f32,
}

/// An answer and how it came about.
#[derive(Debug, Clone)]
pub struct Written {
    /// All tokens, forced ones too.
    pub tokens: Vec<TokenId>,
    /// In order.
    pub choices: Vec<Choice>,
    pub answer: Answer,
    /// Whether the answer came to its end.
    pub ended: bool,
    /// Whether its reasoning had to be ended because its budget was spent.
    pub cut: bool,
    /// P(unsafe) at the verdict.
    pub p_unsafe: Option<f32>,
}

/// Writes an answer for each grammar and seed behind what `prompt` has read. A greedy `sampling` counts log-probabilities
/// at temperature 1.
///
/// All answers advance by the same number of tokens in each pass of the model, an answer that has ended by some that
/// nobody reads.
///
/// # Errors
/// Whatever the model or the device has wrong.
pub async fn write_group(
    prompt: &Reader<'_>,
    answers: Vec<(Grammar, u64)>,
    sampling: Sampling,
    padding: TokenId,
) -> Result<Vec<Written>> {
    let longest = answers.iter().map(|(grammar, _)| grammar.max_len()).max().unwrap_or(0);
    let mut reader = prompt.repeat(answers.len(), longest)?;
    let temperature = if sampling.temperature > 0.0 { sampling.temperature } else { 1.0 };
    let mut rows: Vec<(Draft, Vec<TokenId>, Vec<Choice>)> = answers
        .into_iter()
        .map(|(grammar, seed)| (Draft::new(grammar, Sampling { seed, ..sampling }), Vec::new(), Vec::new()))
        .collect();
    loop {
        for (draft, tokens, _) in &mut rows {
            while let Some(id) = draft.forced() {
                draft.take(id)?;
                tokens.push(id);
            }
        }
        let unread = rows.iter().filter(|row| !row.0.is_done()).map(|row| row.0.pending.len());
        let Some(time) = unread.min() else { break };
        let next: Vec<Vec<TokenId>> = rows
            .iter_mut()
            .map(|(draft, ..)| match draft.is_done() {
                true => vec![padding; time],
                false => draft.pending.drain(..time).collect(),
            })
            .collect();
        reader.extend(&next)?;

        let waiting = |draft: &Draft| !draft.is_done() && draft.pending.is_empty();
        let wanted: Vec<(usize, Allowed)> = rows
            .iter()
            .enumerate()
            .filter(|(_, row)| waiting(&row.0))
            .map(|(row, (draft, ..))| (row, draft.allowed()))
            .collect();
        let logits = reader.logits(&wanted).await?;
        for ((row, allowed), logits) in wanted.into_iter().zip(logits) {
            let (draft, tokens, choices) = &mut rows[row];
            let Some((id, _)) = draft.choose(&logits)? else { continue };
            choices.push(Choice { at: tokens.len(), allowed, log_prob: log_prob(&logits, id, temperature) });
            tokens.push(id);
        }
    }
    let written = |(draft, tokens, choices): (Draft, _, _)| Written {
        tokens,
        choices,
        answer: draft.answer().clone(),
        ended: draft.is_done(),
        cut: draft.was_cut(),
        p_unsafe: draft.p_unsafe(),
    };
    Ok(rows.into_iter().map(written).collect())
}

/// The log-probability of `id` under softmax(logits / temperature).
fn log_prob(logits: &[(TokenId, f32)], id: TokenId, temperature: f32) -> f32 {
    let scaled = |logit: f32| f64::from(logit) / f64::from(temperature);
    let most = logits.iter().map(|&(_, logit)| scaled(logit)).fold(f64::NEG_INFINITY, f64::max);
    let total: f64 = logits.iter().map(|&(_, logit)| (scaled(logit) - most).exp()).sum();
    let own = logits.iter().find(|(known, _)| *known == id).map_or(f64::NEG_INFINITY, |&(_, logit)| scaled(logit));
    (own - most - total.ln()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_probability_is_that_of_the_tempered_softmax() {
        let logits = [(7, 1.0), (3, 0.0)];
        let expected = -(1.0f32 + (-2.0f32).exp()).ln();
        assert!((log_prob(&logits, 7, 0.5) - expected).abs() < 1e-6);
        assert!((log_prob(&logits, 3, 0.5) - (expected - 2.0)).abs() < 1e-6);
    }
}

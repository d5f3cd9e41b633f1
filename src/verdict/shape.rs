//! A verdict as JavaScript and callers over HTTP see it: camelCase, places in UTF-16 units, decimals as they are printed.

use serde::Serialize;

use super::{CategoryScore, Decision, Note, Tier};

/// The guard's answer to one request.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Verdict<'v> {
    decision: Decision,
    /// How much it asks of who reads it.
    tier: Tier,
    /// Whether the decision is anything but `allow`.
    flagged: bool,
    /// P(unsafe) under the policy, 0 to 1.
    score: f64,
    categories: Vec<Category<'v>>,
    evidence: Vec<Evidence<'v>>,
    reasoning: Option<&'v str>,
    /// The share of the text, 0 to 1, that nobody can read.
    unreadable: f64,
    notes: &'v [Note],
    /// The id of the policy's rule that decided.
    rule: Option<&'v str>,
    /// Only where the text could not be judged: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'v str>,
    usage: Usage,
}

/// How far one category applies.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Category<'v> {
    id: &'v str,
    name: &'v str,
    score: f64,
    /// The score from which it counts as applying.
    threshold: f64,
    flagged: bool,
}

impl<'v> Category<'v> {
    pub fn of(category: &'v CategoryScore) -> Self {
        let CategoryScore { id, name, score, threshold, flagged } = category;
        Self { id, name, score: decimal(*score), threshold: decimal(*threshold), flagged: *flagged }
    }
}

/// A verbatim quote of the input.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Evidence<'v> {
    /// Index of the message quoted.
    message: usize,
    /// Place in that message, in UTF-16 units.
    start: usize,
    end: usize,
    quote: &'v str,
    /// The category that it speaks for.
    category: Option<&'v str>,
    /// The category's score without these words, where it was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<f64>,
}

/// What a verdict cost.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    prompt_tokens: usize,
    cached_tokens: usize,
    answer_tokens: usize,
    first_token_ms: f64,
    verdict_ms: f64,
}

/// The number that JavaScript prints as Rust does: 0.7 and not 0.699999988079071.
pub fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

impl<'v> Verdict<'v> {
    /// `texts` are the contents of the messages that evidence may quote.
    pub fn of(verdict: &'v super::Verdict, texts: &[&str]) -> Self {
        let evidence = verdict.evidence.iter().map(|evidence| {
            let units = |bytes: usize| {
                let before = texts.get(evidence.message).and_then(|text| text.get(..bytes)).unwrap_or_default();
                before.encode_utf16().count()
            };
            Evidence {
                message: evidence.message,
                start: units(evidence.start),
                end: units(evidence.end),
                quote: &evidence.quote,
                category: evidence.category.as_deref(),
                effect: evidence.effect.map(decimal),
            }
        });
        let super::Usage { prompt_tokens, cached_tokens, answer_tokens, first_token_ms, verdict_ms } = verdict.usage;
        Self {
            decision: verdict.decision,
            tier: verdict.tier,
            flagged: verdict.flagged,
            score: decimal(verdict.score),
            categories: verdict.categories.iter().map(Category::of).collect(),
            evidence: evidence.collect(),
            reasoning: verdict.reasoning.as_deref(),
            unreadable: decimal(verdict.unreadable),
            notes: &verdict.notes,
            rule: verdict.rule.as_deref(),
            failure: verdict.failure.as_deref(),
            usage: Usage { prompt_tokens, cached_tokens, answer_tokens, first_token_ms, verdict_ms },
        }
    }
}

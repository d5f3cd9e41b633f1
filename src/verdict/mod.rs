//! What the guard decided and why: decision, scores, evidence, reasoning.

mod answer;
pub(crate) mod calibration;
pub(crate) mod claims;
mod decide;
mod decision;
mod dial;
mod note;
mod parse;
mod quotes;
#[doc(hidden)]
pub mod render;
#[doc(hidden)]
pub mod shape;
mod thresholds;
mod tier;

pub use answer::{Answer, Label, QuoteSpan, Step};
pub use calibration::{Calibration, Scaling, Scoring};
pub use claims::categories_in;
pub use decide::{OnError, VerdictBuilder};
pub use decision::Decision;
pub use dial::{BALANCED, Dial, Operating, OperatingCurve, OperatingPoint, check_strictness};
pub use note::{Note, NoteCode};
pub use parse::{is_rsafe_answer, parse_llama_guard, parse_qwen3guard, parse_rsafe};
pub use quotes::quotes_in;
pub use thresholds::Thresholds;
pub use tier::Tier;

use serde::Serialize;

/// How far one category applies.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct CategoryScore {
    pub id: String,
    pub name: String,
    /// Probability in [0, 1] that the category applies.
    pub score: f32,
    /// The score from which it counts as applying.
    pub threshold: f32,
    /// Whether the score reaches the threshold and the policy does more about it than allow it.
    pub flagged: bool,
}

/// A verbatim quote of the input.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Evidence {
    /// Index of the message quoted.
    pub message: usize,
    /// Byte range in that message's content.
    pub start: usize,
    pub end: usize,
    pub quote: String,
    /// The category it speaks for, if the answer says so.
    pub category: Option<String>,
    /// The category's score, in [0, 1], were the message without these words; `None` where nobody measured it, as with
    /// decoders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<f32>,
}

/// What a verdict cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Usage {
    /// Tokens of the prompt, cached ones included.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that came from a cache.
    pub cached_tokens: usize,
    /// Tokens of the answer, forced ones included.
    pub answer_tokens: usize,
    /// Milliseconds from the request to the first streamed token (0 without reasoning).
    pub first_token_ms: f64,
    /// Milliseconds from the request to the verdict.
    pub verdict_ms: f64,
}

/// The guard's answer to one request.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[must_use = "a verdict that nobody looks at lets everything pass"]
#[non_exhaustive]
pub struct Verdict {
    pub decision: Decision,
    /// What that comes to where near misses and what was not read count, too.
    pub tier: Tier,
    /// Whether the decision is anything but [`Decision::Allow`].
    pub flagged: bool,
    /// P(unsafe) in [0, 1] under the active policy.
    pub score: f32,
    /// P(unsafe) at the verdict token behind the reasoning, in [0, 1]; `None` without reasoning, and where that came to no
    /// end. Where categories have scores, those decide and not this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoned_score: Option<f32>,
    /// P(unsafe) at a verdict token without reasoning before it; `None` where the model wrote none, as the slot model does
    /// only if it writes its steps itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer_score: Option<f32>,
    /// Every category of the policy that has a score, or those the answer named.
    pub categories: Vec<CategoryScore>,
    pub evidence: Vec<Evidence>,
    /// The step-by-step reasoning, if there was any.
    pub reasoning: Option<String>,
    /// The share of the judged text, in [0, 1], that is unreadable: ciphers, codes that could not be decoded, tokens at
    /// random. What stands there was not judged; the policy says from which share on that matters
    /// ([`Unreadable`](crate::policy::Unreadable)). 0 where a rule decided.
    pub unreadable: f32,
    /// What else should be known of the text; none where a rule decided.
    pub notes: Vec<Note>,
    /// The id of the policy's rule that decided, if one did.
    pub rule: Option<String>,
    /// Why the text could not be judged; a verdict with a failure is no statement about the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    pub usage: Usage,
}

//! What a model's answer says, before a policy turns it into a decision.

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The word an answer decides with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    Safe,
    Unsafe,
    /// Qwen3Guard's middle: unsafe under a strict reading, safe under a loose one.
    Controversial,
}

impl Label {
    /// The label as RSafe and Llama Guard write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Label::Safe => "safe",
            Label::Unsafe => "unsafe",
            Label::Controversial => "controversial",
        }
    }

    /// Reads a label without regard to case or surrounding whitespace.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        [Label::Safe, Label::Unsafe, Label::Controversial].into_iter().find(|l| text.eq_ignore_ascii_case(l.as_str()))
    }
}

/// A verbatim piece of a judged message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuoteSpan {
    /// Index of the message in the conversation.
    pub message: usize,
    /// Byte range in its content, on character boundaries.
    pub bytes: Range<usize>,
}

/// What an answer says about one category.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The category's id.
    pub category: String,
    pub applies: bool,
    pub quote: Option<QuoteSpan>,
}

/// A parsed answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Answer {
    /// `None`: the answer does not decide, which is a failure to judge and never a "safe".
    pub verdict: Option<Label>,
    /// Ids of the categories named as applying, in the order of the answer, each once.
    pub categories: Vec<String>,
    /// The reasoning category by category, where the template has such steps.
    pub steps: Vec<Step>,
    /// All quotes, in the order of the answer.
    pub quotes: Vec<QuoteSpan>,
    /// How many different pieces free reasoning puts between quotation marks, as [`quotes`](Self::quotes) are, that nobody
    /// wrote: neither the conversation nor, whatever the case and punctuation, a category of the policy. 0 in templates
    /// whose grammar can only quote, and until the answer is read [with its claims](Self::with_claims).
    pub invented_quotes: usize,
    /// The reasoning as shown to people.
    pub reasoning: String,
    /// Whether the judged response refuses, where the template says so.
    pub refusal: Option<bool>,
}

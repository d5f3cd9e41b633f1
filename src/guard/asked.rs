//! What a guard is asked: how it is loaded, and what it is to judge.

use burn::tensor::Device;
use serde::{Deserialize, Serialize};

use crate::conversation::Conversation;
use crate::engine::Steps;
use crate::policy::Policy;
use crate::sampling::Sampling;
use crate::verdict::{BALANCED, OnError};

/// When to write reasoning before the verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Reasoning {
    /// Score only.
    Never,
    /// Score first; reason inside the bundle's uncertain band or under another policy than the bundle's own.
    #[default]
    Auto,
    /// Reason whatever the score.
    Always,
}

/// How a guard is loaded and how it answers.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct LoadOptions {
    /// Where the model runs.
    pub device: Device,
    /// What an answer that cannot be read counts as.
    pub on_error: OnError,
    /// How the tokens of the reasoning are drawn.
    pub sampling: Sampling,
    /// The longest reasoning, in tokens: beyond, it is given up, and the score without reasoning decides.
    pub reasoning_tokens: usize,
    /// Who decides what a reasoning step of the slot model says.
    pub steps: Steps,
    /// How readily texts are flagged, from 0 (least) to 1 (most), of requests that do not say; 0.5 takes the bundle's
    /// thresholds as they are. [`Dial`](crate::verdict::Dial) says how far the others move; a threshold that the policy sets stays.
    pub strictness: f32,
    /// The most work that one check may take to score, in tokens that the model reads: for the slot model the policy once,
    /// and each window of the judged text with the words that frame it and a token a category and reading; for a decoder the
    /// prompt. A check that needs more is refused with [`Error::Work`](crate::Error::Work) before anything is read. Caches
    /// spare work but do not count, nor does what comes behind the scores: the tokens of an answer, and for each category
    /// that rsafe-mini explains at most some hundred tries of a token and one more reading of a window.
    ///
    /// The default, [`MAX_WORK`], is beyond what any text that fits the model needs. rsafe-mini reads 1,000 tokens in
    /// about a second as WebAssembly on one core.
    pub max_work: usize,
    /// Whether a bundle is loaded that has no self-test, or one that says too little to count: nothing then tells a broken
    /// model from a whole one. A self-test that counts must be passed all the same.
    pub allow_untested: bool,
}

/// The default of [`LoadOptions::max_work`]: 2²³ tokens.
pub const MAX_WORK: usize = 1 << 23;

impl LoadOptions {
    /// That device, failing to block, greedy, RSafe's longest reasoning (512 tokens), steps by their scores,
    /// strictness 0.5, work of 2²³ tokens, no bundle without a self-test.
    pub fn on(device: Device) -> Self {
        Self {
            device,
            on_error: OnError::default(),
            sampling: Sampling::greedy(),
            reasoning_tokens: 512,
            steps: Steps::default(),
            strictness: BALANCED,
            max_work: MAX_WORK,
            allow_untested: false,
        }
    }

    pub fn on_error(mut self, on_error: OnError) -> Self {
        self.on_error = on_error;
        self
    }

    pub fn sampling(mut self, sampling: Sampling) -> Self {
        self.sampling = sampling;
        self
    }

    /// The longest reasoning, in tokens.
    pub fn reasoning_tokens(mut self, tokens: usize) -> Self {
        self.reasoning_tokens = tokens;
        self
    }

    pub fn steps(mut self, steps: Steps) -> Self {
        self.steps = steps;
        self
    }

    /// The most work that a check may be, in tokens.
    pub fn max_work(mut self, tokens: usize) -> Self {
        self.max_work = tokens;
        self
    }

    /// From 0 (flags least) to 1 (flags most).
    pub fn strictness(mut self, strictness: f32) -> Self {
        self.strictness = strictness;
        self
    }

    /// Whether a bundle without a self-test that counts is loaded, see the field.
    pub fn allow_untested(mut self, allow: bool) -> Self {
        self.allow_untested = allow;
        self
    }
}

#[cfg(feature = "cpu")]
impl Default for LoadOptions {
    /// [`LoadOptions::on`] the CPU.
    fn default() -> Self {
        Self::on(Device::flex())
    }
}

/// One conversation to judge.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Request<'a> {
    pub conversation: Conversation,
    /// `None`: the bundle's default policy.
    pub policy: Option<&'a Policy>,
    pub reasoning: Reasoning,
    /// In [0, 1]; `None`: the guard's, see [`LoadOptions::strictness`](field@LoadOptions::strictness).
    pub strictness: Option<f32>,
}

impl<'a> Request<'a> {
    pub fn new(conversation: Conversation) -> Self {
        Self { conversation, policy: None, reasoning: Reasoning::default(), strictness: None }
    }

    /// A lone user prompt.
    pub fn prompt(text: impl Into<String>) -> Self {
        Self::new(Conversation::prompt(text))
    }

    /// A user prompt and the assistant's answer, which is on trial.
    pub fn response(prompt: impl Into<String>, response: impl Into<String>) -> Self {
        Self::new(Conversation::response(prompt, response))
    }

    pub fn policy(mut self, policy: &'a Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    pub fn reasoning(mut self, reasoning: Reasoning) -> Self {
        self.reasoning = reasoning;
        self
    }

    /// From 0 (flags least) to 1 (flags most).
    pub fn strictness(mut self, strictness: f32) -> Self {
        self.strictness = Some(strictness);
        self
    }
}

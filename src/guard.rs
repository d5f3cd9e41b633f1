//! The guard: a loaded model behind a policy; `check` for a verdict, `start` for a stream of reasoning and a verdict.

use crate::bundle::Bundle;
use crate::verdict::Verdict;
use crate::{Conversation, Policy, Result};

/// When to write reasoning before the verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Reasoning {
    /// Score only.
    Never,
    /// Score first; reason inside the uncertain band or under a custom policy.
    #[default]
    Auto,
    Always,
}

/// How a guard is loaded.
#[derive(Debug, Clone, Default)]
pub struct LoadOptions {}

/// One conversation to judge.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    pub conversation: Conversation,
    /// `None`: the bundle's default policy.
    pub policy: Option<&'a Policy>,
    pub reasoning: Reasoning,
}

impl<'a> Request<'a> {
    pub fn new(conversation: Conversation) -> Self {
        Self { conversation, policy: None, reasoning: Reasoning::default() }
    }

    pub fn prompt(text: impl Into<String>) -> Self {
        Self::new(Conversation::prompt(text))
    }

    pub fn policy(mut self, policy: &'a Policy) -> Self {
        self.policy = Some(policy);
        self
    }

    pub fn reasoning(mut self, reasoning: Reasoning) -> Self {
        self.reasoning = reasoning;
        self
    }
}

/// What a [`Session`] yields.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The next piece of reasoning, whole characters only.
    Reasoning(String),
    /// The last event.
    Verdict(Box<Verdict>),
}

/// A model ready to judge.
pub struct Guard {}

impl Guard {
    /// Loads the model and runs its self-test.
    pub async fn load(_bundle: Bundle, _options: LoadOptions) -> Result<Self> {
        todo!()
    }

    pub async fn check(&self, _request: &Request<'_>) -> Result<Verdict> {
        todo!()
    }

    /// Starts a pull stream; dropping it frees its cache.
    pub fn start(&self, _request: &Request<'_>) -> Result<Session<'_>> {
        todo!()
    }
}

/// A check in progress.
pub struct Session<'g> {
    _guard: &'g Guard,
}

impl Session<'_> {
    /// The next event; `None` after the verdict.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        todo!()
    }
}

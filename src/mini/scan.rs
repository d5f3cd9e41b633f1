//! A judged message on its way through rsafe-mini, in steps: the policy, then one window after the other.
//!
//! A message that is longer than a window is read in overlapping windows, and so are its other readings where it is
//! disguised; a category's score is the highest over them. Training is rewarded for what is read here, too.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::engine::SlotEngine;
use super::policy::{PolicyReading, ReadPolicy};
use super::prompt::SlotPrompt;
use super::readings::{Highest, highest_of, raise};
use super::window::Window;
use crate::error::{Error, Result};
use crate::verdict::Scoring;

/// A message that is being read.
pub struct Scan<'e> {
    engine: &'e SlotEngine,
    prompt: SlotPrompt,
    scoring: Scoring,
    policy: Stage,
    /// The windows that were not begun yet.
    left: Range<usize>,
    /// The one that is being read.
    window: Option<Window>,
    highest: Vec<Highest>,
    best: Option<Best>,
    prompt_tokens: usize,
    cached_tokens: usize,
}

/// A message that was read.
pub struct Scanned<'e> {
    pub engine: &'e SlotEngine,
    pub prompt: SlotPrompt,
    pub scoring: Scoring,
    pub policy: Arc<ReadPolicy>,
    /// Of each category over all windows.
    pub highest: Vec<Highest>,
    /// The window with the highest score: the one that an answer is written about.
    pub best: Best,
    pub prompt_tokens: usize,
    pub cached_tokens: usize,
}

/// A window, its highest score, and that of each category in it.
pub struct Best {
    pub score: f32,
    pub window: Window,
    pub highest: Vec<Highest>,
}

enum Stage {
    Reading(Box<PolicyReading>),
    Read(Arc<ReadPolicy>),
}

impl<'e> Scan<'e> {
    pub fn new(engine: &'e SlotEngine, prompt: SlotPrompt, scoring: Scoring) -> Self {
        let kept = engine.kept_policy(&prompt.blocks);
        let words = prompt.blocks.iter().map(Vec::len).sum();
        Self {
            left: prompt.windows(),
            window: None,
            highest: Vec::new(),
            best: None,
            prompt_tokens: words,
            cached_tokens: if kept.is_some() { words } else { 0 },
            policy: kept.map_or_else(
                || Stage::Reading(Box::new(PolicyReading::new(prompt.blocks.clone(), &engine.model, &engine.device))),
                Stage::Read,
            ),
            engine,
            prompt,
            scoring,
        }
    }

    /// How many tokens are read to score every category, of which caches may spare some.
    pub fn work(&self) -> usize {
        self.prompt.work()
    }

    /// Reads on by one step: what was read, or the rest while there is more to read.
    ///
    /// # Errors
    /// Whatever the device has wrong.
    pub async fn step(mut self) -> Result<ControlFlow<Scanned<'e>, Self>> {
        let engine = self.engine;
        let policy = match &mut self.policy {
            Stage::Read(policy) => policy.clone(),
            Stage::Reading(reading) => {
                if let Some(read) = reading.step(&engine.model, &engine.device) {
                    self.policy = Stage::Read(engine.keep_policy(read));
                }
                return Ok(ControlFlow::Continue(self));
            }
        };
        let mut window = match self.window.take() {
            Some(window) => window,
            None => {
                // There is a window even for an empty message.
                let next = self.left.next().ok_or_else(|| Error::BadInput("expected a window to read".into()))?;
                Window::open(engine, next, self.prompt.conversation(engine.prompts.frame, next))?
            }
        };
        if window.step(engine, &policy)? {
            self.window = Some(window);
            return Ok(ControlFlow::Continue(self));
        }
        let highest = highest_of(&window.logits(engine, &policy).await?, self.scoring);
        self.prompt_tokens += window.tokens(&policy);
        self.cached_tokens += window.cached;
        raise(&mut self.highest, highest.iter().copied());
        let score = highest.iter().map(|here| here.score).fold(0.0, f32::max);
        let best = match self.best.take() {
            Some(best) if best.score >= score => best,
            _ => Best { score, window, highest },
        };
        if !self.left.is_empty() {
            return Ok(ControlFlow::Continue(Self { best: Some(best), ..self }));
        }
        let Self { prompt, scoring, highest, prompt_tokens, cached_tokens, .. } = self;
        let read = Scanned { engine, prompt, scoring, policy, highest, best, prompt_tokens, cached_tokens };
        Ok(ControlFlow::Break(read))
    }
}

impl Scanned<'_> {
    /// The score of each category, in [0, 1].
    pub fn scores(&self) -> Vec<f32> {
        self.highest.iter().map(|highest| highest.score).collect()
    }
}

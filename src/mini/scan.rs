//! A judged message on its way through rsafe-mini, in steps.
//!
//! A message that is longer than a window is read in overlapping windows, and so are its other readings where it is
//! disguised; a category's score is the highest over them, and the answer is written about the window that scored highest.

use std::sync::Arc;

use super::engine::SlotEngine;
use super::layout::{ANSWER, Marker};
use super::policy::{PolicyReading, ReadPolicy};
use super::prompt::{Plan, SlotPrompt, highest};
use super::window::Window;
use crate::engine::{Answering, Reading, Steps, Writer};
use crate::grammar::Think;
use crate::sampling::Sampling;
use crate::tokenizer::Tokenizer;
use crate::verdict::{Answer, Scoring};
use crate::{Error, Policy, Result};

pub struct Scan<'e> {
    engine: &'e SlotEngine,
    prompt: SlotPrompt,
    scoring: Scoring,
    answering: Answering,
    policy: Blocks,
    /// The windows that were not begun yet.
    left: std::ops::Range<usize>,
    /// The one that is being read.
    window: Option<Window>,
    scores: Vec<f32>,
    /// The window with the highest score, and that.
    best: Option<(f32, Window)>,
    prompt_tokens: usize,
    cached_tokens: usize,
}

enum Blocks {
    Reading(PolicyReading),
    Read(Arc<ReadPolicy>),
}

impl<'e> Scan<'e> {
    pub fn new(engine: &'e SlotEngine, prompt: SlotPrompt, scoring: Scoring, answering: Answering) -> Self {
        let kept = engine.kept_policy(&prompt.blocks);
        let words = prompt.blocks.iter().map(Vec::len).sum();
        Self {
            left: prompt.windows(),
            window: None,
            scores: vec![0.0; prompt.blocks.len()],
            best: None,
            prompt_tokens: words,
            cached_tokens: if kept.is_some() { words } else { 0 },
            policy: kept.map_or_else(|| Blocks::Reading(PolicyReading::new(prompt.blocks.clone())), Blocks::Read),
            engine,
            prompt,
            scoring,
            answering,
        }
    }

    /// How many tokens are read to score every category, of which caches may spare some.
    pub fn work(&self) -> usize {
        self.prompt.work()
    }

    /// Reads on by one step; whether there is more to read.
    pub async fn step(&mut self) -> Result<bool> {
        let engine = self.engine;
        let policy = match &mut self.policy {
            Blocks::Read(policy) => policy.clone(),
            Blocks::Reading(reading) => {
                if let Some(read) = reading.step(&engine.model, &engine.device) {
                    self.policy = Blocks::Read(engine.keep_policy(read));
                }
                return Ok(true);
            }
        };
        let mut window = match self.window.take() {
            Some(window) => window,
            None => {
                let Some(at) = self.left.next() else { return Ok(false) };
                Window::open(engine, at, self.prompt.conversation(engine.prompts.frame, at))?
            }
        };
        if window.step(engine, &policy)? {
            self.window = Some(window);
            return Ok(true);
        }
        let scores = self.scoring.scores(&window.logits(engine).await?);
        self.prompt_tokens += window.tokens(&policy);
        self.cached_tokens += window.cached;
        self.scores.iter_mut().zip(&scores).for_each(|(most, score)| *most = most.max(*score));
        let top = scores.iter().copied().fold(0.0, f32::max);
        if self.best.as_ref().is_none_or(|(most, _)| top > *most) {
            self.best = Some((top, window));
        }
        Ok(!self.left.is_empty())
    }

    /// What the windows gave, once all are read.
    pub async fn finish(mut self, tokenizer: &Tokenizer, policy: &Policy) -> Result<Reading<'e>> {
        let unread = || Error::BadInput("the conversation was not read to its end".into());
        let Blocks::Read(read) = &self.policy else { return Err(unread()) };
        // There is a window even for an empty message.
        let done = self.left.is_empty() && self.window.is_none();
        let (score, window) = self.best.take().filter(|_| done).ok_or_else(unread)?;
        let engine = self.engine;
        let (mut answer_score, mut reason) = (None, None);
        if self.answering.writes(score) {
            let Answering { steps: who, thresholds, .. } = &self.answering;
            let says = |at: usize| match who {
                Steps::Scored => Some(self.scores[at] >= thresholds.of(&policy.categories[at])),
                Steps::Written => None,
            };
            let steps: Vec<_> = highest(&self.scores).into_iter().map(|at| (at, says(at))).collect();
            let grammar = |think| {
                let plan = Plan { think, steps: &steps, verdict: None };
                engine.prompts.grammar(tokenizer, policy, &self.prompt, window.at, plan)
            };
            let (mut reader, _) = window.reader(engine, read)?;
            reader.extend(&[vec![Marker::Answer.id(engine.model.vocab_size())]])?;
            if *who == Steps::Written {
                let mut writer = Writer::new(reader.clone(), grammar(Think::Skip)?, Sampling::greedy());
                writer.finish().await?;
                answer_score = writer.p_unsafe();
            }
            if self.answering.reasons(score) {
                reason = Some((reader, grammar(Think::First { max_tokens: ANSWER })?));
            }
        }
        Ok(Reading {
            score,
            categories: policy.categories.iter().map(|c| c.id.clone()).zip(self.scores).collect(),
            answer_score,
            answer: Answer::default(),
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            answer_tokens: 0,
            unreadable: self.prompt.unreadable,
            reason,
        })
    }
}

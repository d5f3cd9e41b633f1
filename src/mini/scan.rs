//! A judged message on its way through rsafe-mini, in steps.
//!
//! A message that is longer than a window is read in overlapping windows, and so are its other readings where it is
//! disguised; a category's score is the highest over them, and the answer is written about the window that scored highest.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::answer::{Finding, Why};
use super::engine::SlotEngine;
use super::explain::{Case, Explanation};
use super::layout::{ANSWER, Marker, STEPS};
use super::occlusion::Applies;
use super::policy::{PolicyReading, ReadPolicy};
use super::prompt::{Plan, PlannedStep, SlotPrompt, highest, told};
use super::readings::{Highest, highest_of};
use super::window::Window;
use crate::engine::{Answering, Readout, Steps, Writer};
use crate::error::{Error, Result};
use crate::grammar::Think;
use crate::policy::Policy;
use crate::sampling::Sampling;
use crate::tokenizer::Tokenizer;
use crate::verdict::{Answer, Scoring};

pub struct Scan<'e> {
    engine: &'e SlotEngine,
    prompt: SlotPrompt,
    scoring: Scoring,
    answering: Answering,
    policy: Stage,
    /// The windows that were not begun yet.
    left: Range<usize>,
    /// The one that is being read.
    window: Option<Window>,
    scores: Vec<f32>,
    /// The window with the highest score.
    best: Option<Best>,
    /// Where each category that a reasoned answer speaks about stands, the highest first, as far as that is known.
    findings: Vec<PlannedStep>,
    explaining: Option<Explanation>,
    prompt_tokens: usize,
    cached_tokens: usize,
}

struct Best {
    score: f32,
    window: Window,
    /// Of each category.
    highest: Vec<Highest>,
}

enum Stage {
    Reading(Box<PolicyReading>),
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
            findings: Vec::new(),
            explaining: None,
            prompt_tokens: words,
            cached_tokens: if kept.is_some() { words } else { 0 },
            policy: kept.map_or_else(
                || Stage::Reading(Box::new(PolicyReading::new(prompt.blocks.clone(), &engine.model, &engine.device))),
                Stage::Read,
            ),
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
    pub async fn step(&mut self, tokenizer: &Tokenizer, policy: &Policy) -> Result<bool> {
        if !self.left.is_empty() || self.window.is_some() || self.best.is_none() {
            self.read().await?;
            return Ok(true);
        }
        self.explain(tokenizer, policy).await
    }

    /// Reads the policy, and then the windows.
    async fn read(&mut self) -> Result<()> {
        let engine = self.engine;
        let policy = match &mut self.policy {
            Stage::Read(policy) => policy.clone(),
            Stage::Reading(reading) => {
                if let Some(read) = reading.step(&engine.model, &engine.device) {
                    self.policy = Stage::Read(engine.keep_policy(read));
                }
                return Ok(());
            }
        };
        let mut window = match self.window.take() {
            Some(window) => window,
            None => {
                let Some(at) = self.left.next() else { return Ok(()) };
                Window::open(engine, at, self.prompt.conversation(engine.prompts.frame, at))?
            }
        };
        if window.step(engine, &policy)? {
            self.window = Some(window);
            return Ok(());
        }
        let highest = highest_of(&window.logits(engine, &policy).await?, self.scoring);
        self.prompt_tokens += window.tokens(&policy);
        self.cached_tokens += window.cached;
        self.scores.iter_mut().zip(&highest).for_each(|(most, here)| *most = most.max(here.score));
        let score = highest.iter().map(|here| here.score).fold(0.0, f32::max);
        if self.best.as_ref().is_none_or(|best| score > best.score) {
            self.best = Some(Best { score, window, highest });
        }
        Ok(())
    }

    /// Finds out by which words the categories apply that a reasoned answer speaks about; whether there is more to find.
    async fn explain(&mut self, tokenizer: &Tokenizer, policy: &Policy) -> Result<bool> {
        let (Some(best), Stage::Read(read)) = (&self.best, &self.policy) else { return Ok(false) };
        if self.answering.steps == Steps::Written || !self.answering.reasons(best.score) {
            return Ok(false);
        }
        let threshold = |category: usize| self.answering.thresholds.of(&policy.categories[category]);
        let applies = |category: usize| self.scores[category] >= threshold(category);
        let told = told(&self.scores, applies);
        let Some(&category) = told.get(self.findings.len()) else { return Ok(false) };
        let (score, threshold, here) = (self.scores[category], threshold(category), best.highest[category]);
        let case = Case {
            engine: self.engine,
            tokenizer,
            prompt: &self.prompt,
            policy: read,
            category: &policy.categories[category],
            window: &best.window,
            scoring: self.scoring,
            // A message's words take three passes and a definition's two: at most twelve in all.
            defined: self.findings.is_empty() || told.iter().filter(|&&category| applies(category)).count() < STEPS,
            applies: Applies { category, score, threshold, logit: here.logit, reading: here.reading },
        };
        let explained = match self.explaining.take() {
            // Where another window scored higher, the words of this one do not carry it.
            None if score < threshold || here.score < score => ControlFlow::Break(Why::default()),
            None => Explanation::begin(&case)?,
            Some(explanation) => explanation.step(&case).await?,
        };
        match explained {
            ControlFlow::Continue(explanation) => self.explaining = Some(explanation),
            ControlFlow::Break(why) => {
                let finding = Some(Finding { score, threshold, why });
                self.findings.push(PlannedStep { category, applies: Some(score >= threshold), finding });
            }
        }
        Ok(true)
    }

    /// What the windows gave, once all are read.
    pub async fn finish(mut self, tokenizer: &Tokenizer, policy: &Policy) -> Result<Readout<'e>> {
        let unread = || Error::BadInput("the conversation was not read to its end".into());
        let Stage::Read(read) = &self.policy else { return Err(unread()) };
        // There is a window even for an empty message.
        let done = self.left.is_empty() && self.window.is_none();
        let Best { score, window, .. } = self.best.take().filter(|_| done).ok_or_else(unread)?;
        let engine = self.engine;
        let (mut answer_score, mut reason) = (None, None);
        let left = |step: &PlannedStep| {
            let (_, left) = step.finding.as_ref()?.why.quote.as_ref()?;
            Some((policy.categories[step.category].id.clone(), *left))
        };
        let effects = self.findings.iter().filter_map(left).collect();
        if self.answering.writes(score) {
            let who = self.answering.steps;
            let written = |category| PlannedStep { category, applies: None, finding: None };
            let steps: Vec<_> = match who {
                Steps::Scored => std::mem::take(&mut self.findings),
                Steps::Written => highest(&self.scores).into_iter().map(written).collect(),
            };
            let grammar = |think| {
                let plan = Plan { think, steps: &steps, verdict: None };
                engine.prompts.grammar(tokenizer, policy, &self.prompt, window.at, plan)
            };
            let (mut reader, _) =
                window.reader(engine, read, &steps.iter().map(|step| step.category).collect::<Vec<_>>())?;
            reader.extend(&[vec![Marker::Answer.id(engine.model.vocab_size())]])?;
            if who == Steps::Written {
                let mut writer = Writer::new(reader.clone(), grammar(Think::Skip)?, Sampling::greedy());
                writer.finish().await?;
                answer_score = writer.p_unsafe();
            }
            if self.answering.reasons(score) {
                reason = Some((reader, grammar(Think::First { max_tokens: ANSWER })?));
            }
        }
        Ok(Readout {
            score,
            categories: policy.categories.iter().map(|c| c.id.clone()).zip(self.scores).collect(),
            effects,
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

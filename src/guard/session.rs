//! One check in progress, as a stream: the rules, the reading, the reasoning, the verdict.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use web_time::Instant;

use super::asked::{Reasoning, Request};
use super::engine::{Prepared, Scan};
use super::loaded::Loaded;
use super::notes;
use crate::conversation::Conversation;
use crate::engine::{Answering, Writer};
use crate::error::{Error, Result};
use crate::policy::RuleAction;
use crate::verdict::{Answer, Decision, Note, Thresholds, Usage, Verdict, check_strictness};

/// What a [`Session`] yields. A `match` in your code needs an arm for events to come; it may do nothing.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// More of the conversation or the policy was read: with rsafe-mini as much work as 40 tokens take, with a decoder as
    /// 128. Nothing to show; a chance to do other work, or to drop the session.
    Reading,
    /// The next piece of reasoning, whole characters only.
    Reasoning(String),
    /// The last event.
    Verdict(Box<Verdict>),
}

/// A check in progress.
#[must_use = "dropping a session ends its check without a verdict"]
pub struct Session<'g> {
    guard: &'g Loaded,
    conversation: Conversation,
    prepared: Arc<Prepared>,
    thresholds: Thresholds,
    reasoning: Reasoning,
    notes: Vec<Note>,
    started: Instant,
    usage: Usage,
    events: VecDeque<Event>,
    stage: Stage<'g>,
}

enum Stage<'g> {
    Start,
    Reading(Scan<'g>),
    Reasoning(Box<(Scores, Writer<'g>)>),
    Done,
}

/// What is known before the reasoning.
struct Scores {
    score: f32,
    categories: Vec<(String, f32)>,
    effects: Vec<(String, f32)>,
    answer_score: Option<f32>,
    answer: Answer,
    unreadable: f32,
}

impl<'g> Session<'g> {
    /// # Errors
    /// As [`Guard::start`](crate::Guard::start).
    pub(super) fn start(guard: &'g Loaded, request: &Request<'_>) -> Result<Self> {
        request.conversation.validate()?;
        request.strictness.map_or(Ok(()), check_strictness)?;
        let prepared = guard.prepared(request)?;
        Ok(Self {
            guard,
            conversation: request.conversation.clone(),
            thresholds: guard.thresholds(&prepared, request),
            prepared,
            reasoning: request.reasoning,
            notes: Vec::new(),
            started: Instant::now(),
            usage: Usage::default(),
            events: VecDeque::new(),
            stage: Stage::Start,
        })
    }

    /// The next event; `None` after the verdict.
    ///
    /// # Errors
    /// As [`Guard::check`](crate::Guard::check); the session is then over.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        while self.events.is_empty() {
            // Whatever goes wrong from here, the session does not go on from a half-made step.
            match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Start => self.open()?,
                Stage::Reading(scan) => self.read(scan).await?,
                Stage::Reasoning(stage) => self.reason(stage).await?,
                Stage::Done => return Ok(None),
            }
        }
        Ok(self.events.pop_front())
    }

    /// The rules; where none decides, the model is asked.
    fn open(&mut self) -> Result<()> {
        let message = &self.conversation.messages[self.conversation.target_index()?];
        let judged = &message.content;
        if let Some(hit) = self.prepared.policy.rules.evaluate(judged, self.conversation.target)? {
            let decision = match hit.action {
                RuleAction::Block => Decision::Block,
                RuleAction::Allow => Decision::Allow,
            };
            self.end(Verdict::by_rule(hit.rule, decision));
            return Ok(());
        }
        if message.is_empty() {
            self.end(Verdict::on_nothing());
            return Ok(());
        }
        let guard = self.guard;
        let answering = Answering {
            reasoning_tokens: if self.reasoning == Reasoning::Never { 0 } else { guard.options.reasoning_tokens },
            uncertain: (self.reasoning == Reasoning::Auto && self.prepared.own).then_some(self.thresholds.uncertain),
            steps: guard.options.steps,
            thresholds: self.thresholds.clone(),
        };
        let scan = guard.engine.scan(&self.prepared, &self.conversation, answering)?;
        let (needed, budget) = (scan.work(), guard.options.max_work);
        if needed > budget {
            return Err(Error::Work { needed, budget });
        }
        self.notes = notes::language(judged, &guard.languages, guard.engine.tokenizer());
        self.stage = Stage::Reading(scan);
        Ok(())
    }

    /// One more step of reading; after the last, the model's scores.
    async fn read(&mut self, scan: Scan<'g>) -> Result<()> {
        let guard = self.guard;
        let reading = match scan.step(&self.prepared.policy).await? {
            ControlFlow::Break(reading) => reading,
            ControlFlow::Continue(scan) => {
                self.events.push_back(Event::Reading);
                self.stage = Stage::Reading(scan);
                return Ok(());
            }
        };
        self.usage.prompt_tokens = reading.prompt_tokens;
        self.usage.cached_tokens = reading.cached_tokens;
        self.usage.answer_tokens = reading.answer_tokens;
        let (score, answer_score, unreadable) = (reading.score, reading.answer_score, reading.unreadable);
        let (categories, effects, answer) = (reading.categories, reading.effects, reading.answer);
        let scores = Scores { score, categories, effects, answer_score, answer, unreadable };
        match reading.reason {
            Some((reader, grammar)) => {
                let writer = Writer::new(reader, grammar, guard.options.sampling);
                self.stage = Stage::Reasoning(Box::new((scores, writer)));
            }
            None => {
                let verdict = self.verdict(&scores, &scores.answer);
                self.end(verdict);
            }
        }
        Ok(())
    }

    /// The next piece of reasoning; at its end the verdict.
    async fn reason(&mut self, mut stage: Box<(Scores, Writer<'g>)>) -> Result<()> {
        let (scores, writer) = &mut *stage;
        if let Some(text) = writer.next().await? {
            if self.usage.first_token_ms == 0.0 {
                self.usage.first_token_ms = self.elapsed_ms();
            }
            self.events.push_back(Event::Reasoning(text));
            self.stage = Stage::Reasoning(stage);
            return Ok(());
        }
        self.usage.answer_tokens += writer.tokens();
        let finished = writer.stopped().is_none();
        if let Some(stopped) = writer.stopped() {
            self.notes.push(notes::unfinished(stopped, writer.tokens()));
            // It is shown, but what decides is what was answered without it.
            scores.answer.reasoning = writer.answer().reasoning.clone();
        }
        if scores.categories.is_empty() && (finished || !writer.is_sound()) {
            scores.score = writer.p_unsafe().unwrap_or(1.0);
        }
        let verdict = self.verdict(scores, if finished { writer.answer() } else { &scores.answer });
        self.end(Verdict { reasoned_score: writer.p_unsafe(), ..verdict });
        Ok(())
    }

    fn verdict(&self, scores: &Scores, answer: &Answer) -> Verdict {
        let guard = self.guard;
        let policy = &self.prepared.policy;
        let builder = Verdict::builder(policy).thresholds(self.thresholds.clone()).on_error(guard.options.on_error);
        let scored = builder.score(scores.score).unreadable(scores.unreadable, policy.unreadable);
        let scored = scored.notes(self.notes.clone());
        let scored = scores.categories.iter().fold(scored, |builder, (id, score)| builder.category(id, *score));
        let scored = scores.effects.iter().fold(scored, |builder, (id, score)| builder.effect(id, *score));
        let verdict = scored.answer(answer, &self.conversation).build();
        Verdict { answer_score: scores.answer_score, ..verdict }
    }

    fn end(&mut self, mut verdict: Verdict) {
        self.usage.verdict_ms = self.elapsed_ms();
        verdict.usage = self.usage;
        self.events.push_back(Event::Verdict(Box::new(verdict)));
    }

    fn elapsed_ms(&self) -> f64 {
        self.started.elapsed().as_secs_f64() * 1e3
    }
}

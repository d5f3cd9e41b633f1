//! The guard: a loaded model behind a policy; `check` for a verdict, `start` for a stream of reasoning and a verdict.

#[doc(hidden)]
pub mod engine;
mod lint;
mod notes;
mod policies;
mod self_test;
#[cfg(feature = "native")]
mod shift;
mod tested;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use web_time::Instant;

use crate::bundle::{Bundle, Weights};
use crate::conversation::Conversation;
pub use crate::engine::Steps;
use crate::engine::{Answering, Writer};
use crate::error::{Error, Result};
use crate::policy::{Policy, RuleAction};
pub use crate::sampling::Sampling;
use crate::verdict::{Answer, BALANCED, Decision, Dial, Note, OnError, Thresholds, Usage, Verdict, check_strictness};
use engine::{Engine, Prepared, Scan};
use policies::Policies;
#[cfg(feature = "native")]
pub use self_test::renew_self_test;
#[cfg(feature = "native")]
pub use shift::{NOTABLE_SHIFT, Shift, largest_shift};
pub use tested::Tested;

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
    /// thresholds as they are. [`Dial`] says how far the others move; a threshold that the policy sets stays.
    pub strictness: f32,
    /// The most work that one check may take to score, in tokens that the model reads: for the slot model the policy once, and
    /// each window of the judged text with the words that frame it and a token a category and reading; for a decoder the prompt. A check
    /// that needs more is refused with [`Error::Work`] before anything is read. Caches spare work but do not count, nor does
    /// what comes behind the scores: the tokens of an answer, and for each category that rsafe-mini explains at most some
    /// hundred tries of a token and one more reading of a window.
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

/// What a long call awaits between its steps: a chance for other work, or an error that ends the call.
pub trait Pause: AsyncFnMut() -> Result<()> {}

impl<F: AsyncFnMut() -> Result<()>> Pause for F {}

/// A model ready to judge. Checks share its caches but nothing that one request said reaches another's verdict.
pub struct Guard {
    engine: Engine,
    policies: Policies,
    /// Its name, as the manifest has it.
    model: String,
    /// That the model reads, as the manifest has them.
    languages: Vec<String>,
    dial: Dial,
    options: LoadOptions,
    tested: Option<Tested>,
}

impl Guard {
    /// Loads the model and runs its self-test.
    ///
    /// # Errors
    /// What the bundle's files have wrong, [`Error::BadInput`] for a strictness out of bounds, [`Error::BadModel`] if the
    /// bundle has no self-test that counts and [`LoadOptions::allow_untested`](field@LoadOptions::allow_untested) is not
    /// set, and [`Error::SelfTest`] if the model does not give the answers that it gave when the bundle was made.
    pub async fn load(bundle: Bundle, options: LoadOptions) -> Result<Self> {
        check_strictness(options.strictness)?;
        let test = match bundle.manifest().self_test() {
            Ok(test) => Some(test),
            Err(_) if options.allow_untested => None,
            Err(error) => return Err(error),
        };
        let device = options.device.clone();
        let mut guard = Self::untested(&bundle, bundle.weights(&device), options).await?;
        if let Some(test) = test {
            guard.tested = Some(guard.pass(test).await?);
        }
        Ok(guard)
    }

    async fn untested(
        bundle: &Bundle,
        weights: impl Future<Output = Result<Weights>>,
        options: LoadOptions,
    ) -> Result<Self> {
        let engine = Engine::load(bundle, weights).await?;
        let policies = Policies::new(&bundle.policy().await?, &engine)?;
        let manifest = bundle.manifest();
        let dial = Dial::new(manifest.thresholds.clone(), manifest.operating.clone().unwrap_or_default());
        let (model, languages) = (manifest.name.clone(), manifest.languages.clone());
        Ok(Self { engine, policies, model, languages, dial, options, tested: None })
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The policy of requests that bring none.
    pub fn policy(&self) -> &Policy {
        &self.policies.own.policy
    }

    /// Judges a conversation.
    ///
    /// # Errors
    /// What the request, the model or the device has wrong. An error is no verdict: treat it as [`Decision::Block`],
    /// or make one with [`Verdict::fail_closed`].
    pub async fn check(&self, request: &Request<'_>) -> Result<Verdict> {
        self.check_pausing(request, &mut async || Ok(())).await
    }

    /// [`check`](Self::check) that awaits `pause` between its steps; an error of it ends the check.
    pub(crate) async fn check_pausing(&self, request: &Request<'_>, pause: &mut impl Pause) -> Result<Verdict> {
        let mut session = self.start(request)?;
        while let Some(event) = session.next().await? {
            if let Event::Verdict(verdict) = event {
                return Ok(*verdict);
            }
            pause().await?;
        }
        // A session's last event is a verdict; should that ever fail to hold, the text is not let through.
        Ok(Verdict::fail_closed("the check ended without a verdict", self.options.on_error))
    }

    /// The thresholds by which a request is judged.
    ///
    /// # Errors
    /// [`Error::BadPolicy`] for a policy that cannot be used.
    pub(crate) fn thresholds(&self, request: &Request<'_>) -> Result<Thresholds> {
        let prepared = self.policies.of(request.policy, &self.engine)?;
        Ok(self.thresholds_under(&prepared, request))
    }

    fn thresholds_under(&self, prepared: &Prepared, request: &Request<'_>) -> Thresholds {
        self.dial.at(request.strictness.unwrap_or(self.options.strictness), prepared.own)
    }

    /// Starts a pull stream; dropping it frees its cache.
    ///
    /// # Errors
    /// [`Error::BadInput`] if the conversation has nothing to judge or the strictness is out of bounds;
    /// [`Error::BadPolicy`] for a policy made in code that could not be one read from a file, such as one without
    /// categories.
    pub fn start(&self, request: &Request<'_>) -> Result<Session<'_>> {
        request.conversation.validate()?;
        request.strictness.map_or(Ok(()), check_strictness)?;
        let prepared = self.policies.of(request.policy, &self.engine)?;
        Ok(Session {
            guard: self,
            conversation: request.conversation.clone(),
            thresholds: self.thresholds_under(&prepared, request),
            prepared,
            reasoning: request.reasoning,
            notes: Vec::new(),
            started: Instant::now(),
            usage: Usage::default(),
            events: VecDeque::new(),
            stage: Stage::Start,
        })
    }
}

/// A check in progress.
#[must_use = "dropping a session ends its check without a verdict"]
pub struct Session<'g> {
    guard: &'g Guard,
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
    /// The next event; `None` after the verdict.
    ///
    /// # Errors
    /// As [`Guard::check`]; the session is then over.
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

//! The monitor: judges a response while it grows, and says which of its text may be shown.
//!
//! ```
//! # #[cfg(all(feature = "embedded", feature = "native"))]
//! # pollster::block_on(async {
//! use rsafe::{Bundle, Guard, LoadOptions, Message, Monitor, MonitorOptions, Role};
//!
//! let guard = Guard::load(Bundle::embedded()?, LoadOptions::default()).await?;
//! let asked = vec![Message::new(Role::User, "How do I make tea?")];
//! let mut monitor = Monitor::new(&guard, asked, None, MonitorOptions::default())?;
//! for piece in ["First warm ", "the pot, ", "then let the leaves stand."] {
//!     let released = monitor.push(piece).await?;
//!     print!("{}", released.text);
//!     if released.blocked {
//!         break;
//!     }
//! }
//! let end = monitor.finish().await?;
//! println!("{}", end.text);
//! # Ok::<(), rsafe::Error>(())
//! # }).unwrap();
//! ```
//!
//! # What a check reads
//!
//! The policy's rules see the response from its beginning at each check, as it stands: `$` matches where it ends so
//! far. A rule that allows counts once its match ends before that, where nothing that follows can undo it; until then
//! the model is asked. The model reads the characters that are new and some of those before them
//! ([`context`](field@MonitorOptions::context)), never less than all that is still held back, so that a check costs the same
//! however long the response is. What these checks cannot see is harm that needs more context than that to be told;
//! and they write no reasoning. The check at the end judges the whole response as [`Guard::check`] does, and its
//! verdict is the one to keep.
//!
//! # What is shown
//!
//! Whole sentences: one is released when a check that read it whole, with what came before it, has passed, and so many
//! characters behind it too as [`hold_back`](field@MonitorOptions::hold_back) and [`pace`](field@MonitorOptions::pace) say.
//! The more the risk curve rises the more stays back, so that the beginning of what is condemned once it is complete was
//! not shown either. How near a check came to the limit is told by its highest category, of the last checks the
//! highest counts.
//!
//! Where checks fall and what is shown depends on the text alone, and not on the pieces in which it arrives, unless
//! [`check_now`](Monitor::check_now) is called.

mod options;
mod progress;
mod risk;
mod sentences;

use std::ops::Deref;

pub use options::{MonitorOptions, Pace};
use progress::{Progress, Stretch};
use risk::nearness;

use crate::conversation::{Conversation, Message, Role, Target};
use crate::error::{Error, Result};
use crate::guard::{Guard, Pause, Reasoning, Request};
use crate::policy::{Policy, RuleAction, Rules};
use crate::verdict::{Decision, Verdict};

/// What a monitor says to more of a response.
#[derive(Debug, Clone, Default, PartialEq)]
#[must_use = "it holds the text that may be shown, and whether the response is blocked"]
#[non_exhaustive]
pub struct Released {
    /// The text that may be shown now, behind all that was released before; often empty.
    pub text: String,
    /// The severest verdict of the checks that were made now, the latest of those; `None` if none was due. Once blocked,
    /// the verdict that blocked.
    pub verdict: Option<Verdict>,
    /// Whether the response is blocked: nothing is released with this or after it.
    pub blocked: bool,
}

/// Judges one response while it grows. `G` is a way to hold a guard, such as `&Guard` or `Rc<Guard>`.
///
/// No character is released before a check that covers it has passed. After a verdict that blocks nothing more is
/// released, and nothing judged. After an error, and after a call whose future was dropped half way, the monitor is
/// closed: it only gives errors.
pub struct Monitor<G> {
    guard: G,
    /// What the response answers.
    messages: Vec<Message>,
    policy: Option<Policy>,
    /// The active policy without its rules. They are matched against the whole response: in a stretch of it, a rule for
    /// the beginning of a text would match in the middle.
    model_policy: Policy,
    options: MonitorOptions,
    progress: Progress,
    curve: Vec<(usize, f32)>,
    state: State,
}

enum State {
    Open,
    Blocked(Box<Verdict>),
    Finished,
    Closed,
}

impl<G: Deref<Target = Guard>> Monitor<G> {
    /// A monitor of the assistant's answer to `messages`, which may be empty. Without a policy, the guard's holds.
    ///
    /// # Errors
    /// [`Error::BadInput`] for a size or strictness that is out of bounds, and [`Error::BadPolicy`] for a policy that cannot
    /// be judged by.
    pub fn new(guard: G, messages: Vec<Message>, policy: Option<Policy>, options: MonitorOptions) -> Result<Self> {
        options.validate()?;
        policy.as_ref().map_or(Ok(()), Policy::validate)?;
        let model_policy = policy.as_ref().unwrap_or(guard.policy()).clone().rules(Rules::default());
        let progress = Progress::new(&options);
        Ok(Self { guard, messages, policy, model_policy, options, progress, curve: Vec::new(), state: State::Open })
    }

    /// More of the response: what may be shown now.
    ///
    /// # Errors
    /// As [`Guard::check`], [`Error::BadInput`] if the response has become longer than 262,144 characters, or if it was
    /// finished or the monitor closed before.
    pub async fn push(&mut self, text: &str) -> Result<Released> {
        self.push_pausing(text, async || Ok(())).await
    }

    /// [`push`](Self::push) that awaits `pause` where a session has [`Event::Reading`](crate::Event::Reading), so that other
    /// work may be done meanwhile; an error of it ends the call and closes the monitor.
    ///
    /// # Errors
    /// As [`push`](Self::push), and what `pause` gives.
    pub async fn push_pausing(&mut self, text: &str, mut pause: impl Pause) -> Result<Released> {
        if let Some(blocked) = self.enter()? {
            return Ok(blocked);
        }
        self.progress.push(text)?;
        let mut released = Released::default();
        while let Some(stretch) = self.progress.due() {
            if !self.step(stretch, &mut released, &mut pause).await? {
                return Ok(released);
            }
        }
        self.state = State::Open;
        Ok(released)
    }

    /// Checks what is new without waiting for the end of a sentence, where an upstream is slow: what may be shown now. Where
    /// checks fall then depends on when this is called.
    ///
    /// # Errors
    /// As [`Guard::check`], and [`Error::BadInput`] if the response was finished or the monitor closed before.
    pub async fn check_now(&mut self) -> Result<Released> {
        self.check_now_pausing(async || Ok(())).await
    }

    /// [`check_now`](Self::check_now) that pauses as [`push_pausing`](Self::push_pausing) does.
    ///
    /// # Errors
    /// As [`check_now`](Self::check_now), and what `pause` gives.
    pub async fn check_now_pausing(&mut self, mut pause: impl Pause) -> Result<Released> {
        if let Some(blocked) = self.enter()? {
            return Ok(blocked);
        }
        let mut released = Released::default();
        if let Some(stretch) = self.progress.early()
            && !self.step(stretch, &mut released, &mut pause).await?
        {
            return Ok(released);
        }
        self.state = State::Open;
        Ok(released)
    }

    /// The end of the response: the verdict on all of it and, if it passes, the rest of the text.
    ///
    /// # Errors
    /// As [`push`](Self::push), and [`Error::ContextLength`] where the whole is longer than the model can judge.
    pub async fn finish(&mut self) -> Result<Released> {
        self.finish_pausing(async || Ok(())).await
    }

    /// [`finish`](Self::finish) that pauses as [`push_pausing`](Self::push_pausing) does.
    ///
    /// # Errors
    /// As [`finish`](Self::finish), and what `pause` gives.
    pub async fn finish_pausing(&mut self, mut pause: impl Pause) -> Result<Released> {
        if let Some(blocked) = self.enter()? {
            return Ok(blocked);
        }
        let request = Request {
            conversation: self.conversation(self.progress.text()),
            policy: self.policy.as_ref(),
            reasoning: self.options.reasoning,
            strictness: self.options.strictness,
        };
        let verdict = self.guard.check_pausing(&request, &mut pause).await?;
        self.curve.push((self.progress.chars(), verdict.score));
        if !self.options.passes(&verdict) {
            return Ok(self.block(verdict));
        }
        self.state = State::Finished;
        Ok(Released { text: self.progress.rest().to_owned(), verdict: Some(verdict), blocked: false })
    }

    /// What verdicts quote: the messages answered, then the response so far.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().map(|message| message.content.as_str()).chain([self.progress.text()])
    }

    /// The risk curve: for each check so far, how many characters of the response it knew, and its score in [0, 1].
    pub fn curve(&self) -> &[(usize, f32)] {
        &self.curve
    }

    /// Goes in to judge, or says that the response is blocked. The monitor counts as closed until it comes out again:
    /// whatever goes wrong in between, it does not go on from a half-made step.
    fn enter(&mut self) -> Result<Option<Released>> {
        let why = match std::mem::replace(&mut self.state, State::Closed) {
            State::Open => return Ok(None),
            State::Blocked(verdict) => return Ok(Some(self.block(*verdict))),
            State::Finished => {
                self.state = State::Finished;
                "the response was finished; make a new monitor for another one"
            }
            State::Closed => {
                "closed, because a check failed or was given up half way; show nothing more of this response"
            }
        };
        Err(Error::BadInput(format!("monitor: {why}")))
    }

    fn block(&mut self, verdict: Verdict) -> Released {
        self.state = State::Blocked(Box::new(verdict.clone()));
        Released { text: String::new(), verdict: Some(verdict), blocked: true }
    }

    /// Checks a stretch and adds to what is released; whether the response goes on.
    async fn step(&mut self, stretch: Stretch, released: &mut Released, pause: &mut impl Pause) -> Result<bool> {
        let (verdict, nearness) = self.check(&stretch, pause).await?;
        self.curve.push((stretch.seen(), verdict.score));
        if !self.options.passes(&verdict) {
            *released = self.block(verdict);
            return Ok(false);
        }
        released.text.push_str(self.progress.pass(stretch, nearness));
        let severest = released.verdict.as_ref().map(|verdict| verdict.decision);
        if severest.is_none_or(|severest| verdict.decision >= severest) {
            released.verdict = Some(verdict);
        }
        Ok(true)
    }

    /// Judges the response up to the end of `stretch`, the rules all of it, the model the stretch; and how near that came to
    /// stopping the response, in [0, 1].
    async fn check(&self, stretch: &Stretch, pause: &mut impl Pause) -> Result<(Verdict, f32)> {
        let bytes = stretch.bytes();
        let known = &self.progress.text()[..bytes.end];
        let rules = &self.policy.as_ref().unwrap_or(self.guard.policy()).rules;
        match rules.evaluate(known, Target::Response)? {
            Some(hit) if hit.action == RuleAction::Block => Ok((Verdict::by_rule(hit.rule, Decision::Block), 1.0)),
            // A match that reaches the end may be none any more when the response goes on.
            Some(hit) if hit.range.end < known.len() => Ok((Verdict::by_rule(hit.rule, Decision::Allow), 0.0)),
            _ => {
                let request = Request {
                    conversation: self.conversation(&known[bytes.start..]),
                    policy: Some(&self.model_policy),
                    reasoning: Reasoning::Never,
                    strictness: self.options.strictness,
                };
                let verdict = self.guard.check_pausing(&request, pause).await?;
                let global = self.guard.thresholds(&request)?.global;
                let nearness = nearness(&verdict, &self.model_policy, &self.options, global);
                Ok((verdict, nearness))
            }
        }
    }

    /// The conversation whose last message is `response`.
    fn conversation(&self, response: &str) -> Conversation {
        let mut messages = self.messages.clone();
        messages.push(Message::new(Role::Assistant, response));
        Conversation { messages, target: Target::Response }
    }
}

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
//! Where the checks fall depends on the text alone. The same response gets the same verdicts in whatever pieces it
//! arrives.

mod progress;

use std::ops::{Deref, Range};

use progress::Progress;

use crate::guard::Pause;
use crate::policy::{RuleAction, Rules};
use crate::verdict::check_strictness;
use crate::{Conversation, Decision, Error, Guard, Message, Policy, Reasoning, Request, Result, Role, Target, Verdict};

/// The largest of [`MonitorOptions`]' sizes.
const MAX_SIZE: usize = 1 << 16;

/// How a growing response is checked and released. Sizes are in characters (Unicode scalar values), at most 65,536.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MonitorOptions {
    /// The response is checked again after so many new characters at most; at least 1.
    pub check_every: usize,
    /// So many of the last checked characters stay back until a later check has passed, or the end: what only becomes
    /// harmful as it completes is not shown by half. Phrases that must not be shown in part are best not longer.
    pub hold_back: usize,
    /// The model reads at least so many of the characters before the new ones, and at most `check_every` more. A larger
    /// context is slower and sees harm that is spread wider. By default a check is one window of rsafe-mini, which
    /// reads about 450 characters of English at a time; a decoder makes sense of many more.
    pub context: usize,
    /// Whether text is shown on [`Decision::Review`], which asks for a look at it and not that it be kept back; the
    /// verdict is reported either way. `false` stops the response as a block does.
    pub release_on_review: bool,
    /// When the check at the end writes reasoning. Those before it never do.
    pub reasoning: Reasoning,
    /// How readily text is flagged, in [0, 1]; `None`: the guard's.
    pub strictness: Option<f32>,
}

impl Default for MonitorOptions {
    /// A check each 160 characters with 120 before them, 24 held back, review released, reasoning as it matters, the
    /// guard's strictness.
    fn default() -> Self {
        Self {
            check_every: 160,
            hold_back: 24,
            context: 120,
            release_on_review: true,
            reasoning: Reasoning::Auto,
            strictness: None,
        }
    }
}

/// What differs from the defaults; [`Monitor::new`] says which values are out of bounds.
impl MonitorOptions {
    /// See [the field](field@Self::check_every).
    pub fn check_every(mut self, characters: usize) -> Self {
        self.check_every = characters;
        self
    }

    /// See [the field](field@Self::hold_back).
    pub fn hold_back(mut self, characters: usize) -> Self {
        self.hold_back = characters;
        self
    }

    /// See [the field](field@Self::context).
    pub fn context(mut self, characters: usize) -> Self {
        self.context = characters;
        self
    }

    /// See [the field](field@Self::release_on_review).
    pub fn release_on_review(mut self, release: bool) -> Self {
        self.release_on_review = release;
        self
    }

    /// When the check at the end writes reasoning.
    pub fn reasoning(mut self, reasoning: Reasoning) -> Self {
        self.reasoning = reasoning;
        self
    }

    /// From 0 (flags least) to 1 (flags most).
    pub fn strictness(mut self, strictness: f32) -> Self {
        self.strictness = Some(strictness);
        self
    }

    fn validate(&self) -> Result<()> {
        self.strictness.map_or(Ok(()), check_strictness)?;
        let sizes =
            [("check_every", self.check_every, 1), ("hold_back", self.hold_back, 0), ("context", self.context, 0)];
        match sizes.into_iter().find(|(_, size, least)| !(*least..=MAX_SIZE).contains(size)) {
            Some((name, size, least)) => Err(Error::BadInput(format!(
                "monitor: `{name}`: expected {least} to {MAX_SIZE} characters, got {size}"
            ))),
            None => Ok(()),
        }
    }

    /// Whether text that got this verdict may be shown. A check that failed covers nothing, whatever failing counts as.
    fn passes(&self, verdict: &Verdict) -> bool {
        verdict.failure.is_none()
            && match verdict.decision {
                Decision::Allow => true,
                Decision::Review => self.release_on_review,
                Decision::Block => false,
            }
    }
}

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
    /// [`Error::BadInput`] for a size or strictness that is out of bounds, and [`Error::BadPolicy`] for a policy that cannot be judged by.
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
            let verdict = self.check(stretch.clone(), &mut pause).await?;
            if !self.options.passes(&verdict) {
                return Ok(self.block(verdict));
            }
            released.text.push_str(self.progress.pass(stretch));
            let severest = released.verdict.as_ref().map(|verdict| verdict.decision);
            if severest.is_none_or(|severest| verdict.decision >= severest) {
                released.verdict = Some(verdict);
            }
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

    /// Judges the response up to the end of `stretch`: the rules all of it, the model the stretch.
    async fn check(&mut self, stretch: Range<usize>, pause: &mut impl Pause) -> Result<Verdict> {
        let known = &self.progress.text()[..stretch.end];
        let rules = &self.policy.as_ref().unwrap_or(self.guard.policy()).rules;
        let verdict = match rules.evaluate(known, Target::Response)? {
            Some(hit) if hit.action == RuleAction::Block => Verdict::by_rule(hit.rule, Decision::Block),
            // A match that reaches the end may be none any more when the response goes on.
            Some(hit) if hit.range.end < known.len() => Verdict::by_rule(hit.rule, Decision::Allow),
            _ => {
                let request = Request {
                    conversation: self.conversation(&known[stretch.start..]),
                    policy: Some(&self.model_policy),
                    reasoning: Reasoning::Never,
                    strictness: self.options.strictness,
                };
                self.guard.check_pausing(&request, pause).await?
            }
        };
        let seen = self.progress.seen_by(&stretch);
        self.curve.push((seen, verdict.score));
        Ok(verdict)
    }

    /// The conversation whose last message is `response`.
    fn conversation(&self, response: &str) -> Conversation {
        let mut messages = self.messages.clone();
        messages.push(Message::new(Role::Assistant, response));
        Conversation { messages, target: Target::Response }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::OnError;

    #[test]
    fn a_check_that_failed_lets_nothing_pass() {
        let options = MonitorOptions { release_on_review: true, ..Default::default() };
        for on_error in [OnError::Block, OnError::Review] {
            assert!(!options.passes(&Verdict::fail_closed("no verdict", on_error)));
        }
    }

    #[test]
    fn review_passes_if_the_options_say_so_and_a_block_never() {
        let options = |release_on_review| MonitorOptions { release_on_review, ..Default::default() };
        let rule = |decision| Verdict::by_rule("rule", decision);
        for release_on_review in [true, false] {
            assert!(options(release_on_review).passes(&rule(Decision::Allow)));
            assert_eq!(options(release_on_review).passes(&rule(Decision::Review)), release_on_review);
            assert!(!options(release_on_review).passes(&rule(Decision::Block)));
        }
    }
}

//! Judges the texts of one chat, and remembers those that passed.

use std::sync::Arc;

use rsafe::{Conversation, Decision, Message, Role, Target, Verdict};
use serde_json::{Value, json};

use super::errors::Problem;
use super::growing::{Growing, Watch};
use super::passed::{Passed, key_of};
use super::pool::{Ask, Pool, Under};
use super::walk::{as_read, is_wordless};
use rsafe::verdict::shape;

/// Why something goes no further.
pub enum Stop {
    /// The guard found something.
    Withheld(Box<Verdict>),
    /// It could not tell, or the other side failed.
    Failed(Problem),
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        Self::Failed(problem)
    }
}

impl Stop {
    pub fn decision(&self) -> Option<Decision> {
        match self {
            Self::Withheld(verdict) => Some(verdict.decision),
            Self::Failed(_) => None,
        }
    }

    /// What a withheld choice carries as `rsafe`. It quotes nothing of the text: reasoning and evidence would hand out the
    /// very words that are held back.
    pub fn note(self, target: Target, choice: usize) -> Value {
        let mut note = json!({"target": target, "choice": choice});
        match self {
            Self::Failed(problem) => note["error"] = json!(problem.told()),
            Self::Withheld(verdict) => {
                let shown = json!(shape::Verdict::of(&verdict, &[]));
                for field in ["decision", "tier", "flagged", "score", "categories", "rule", "failure", "usage"] {
                    if let Some(value) = shown.get(field) {
                        note[field] = value.clone();
                    }
                }
            }
        }
        note
    }
}

/// The built-in policy about attacks on assistants. Most of what tools give is data, which looks odd to a small model, so that
/// only what is plain counts.
const ATTACKS: Under = Under::Builtin("agents");
const PLAIN: f32 = 0.2;

pub struct Judge {
    pool: Pool,
    passed: Arc<Passed>,
    /// Which way the texts go. Those that come down wait behind a full queue too.
    target: Target,
}

impl Judge {
    pub fn new(pool: Pool, passed: Arc<Passed>, target: Target) -> Self {
        Self { pool, passed, target }
    }

    /// Judges what a caller says, whose pieces stand side by side.
    ///
    /// # Errors
    /// For what does not pass.
    pub async fn asked(&self, pieces: &[String]) -> Result<(), Stop> {
        self.once(Ask::own(asking(pieces)), pieces).await
    }

    /// Judges what a tool gave, a stranger's text that may give orders: by the owner's policy and, whatever that asks, as an
    /// attack.
    ///
    /// # Errors
    /// For what does not pass.
    pub async fn gave(&self, pieces: &[String]) -> Result<(), Stop> {
        self.once(Ask::own(asking(pieces)), pieces).await?;
        self.once(Ask { under: ATTACKS, strictness: Some(PLAIN), ..Ask::own(asking(pieces)) }, pieces).await
    }

    /// Judges what answers `messages`, whole.
    ///
    /// # Errors
    /// For what does not pass.
    pub async fn answered(&self, messages: &[Message], content: String) -> Result<(), Stop> {
        self.once(Ask::own(answering(messages, content)), &[]).await
    }

    /// Judges more of what answers `messages`: the monitor, and how many bytes more may be shown.
    ///
    /// # Errors
    /// For what does not pass.
    pub async fn grow(
        &self,
        watch: Option<Watch>,
        messages: &[Message],
        more: String,
        ends: bool,
    ) -> Result<(Watch, usize), Stop> {
        let watch = watch.map_or_else(|| self.pool.watch(messages.to_vec()), Ok)?;
        let grown = self.pool.grow(Growing { watch, more, ends }).grown().await;
        let (watch, released) = grown.map_err(Problem::of_answer)?;
        match released.verdict {
            Some(verdict) if released.blocked => Err(Stop::Withheld(Box::new(verdict))),
            None if released.blocked => Err(Problem::internal().into()),
            _ => Ok((watch, released.text.len())),
        }
    }

    /// Notes an answer that was judged piece by piece.
    pub fn remember(&self, messages: &[Message], content: String) {
        self.passed.add(key_of(&answering(messages, content), None));
    }

    /// Whether it passed before what is asked with these pieces.
    pub fn knows(&self, pieces: &[String]) -> bool {
        self.passed.has(&key_of(&asking(pieces), None))
    }

    /// Notes that these pieces passed, together with others.
    pub fn remember_asked(&self, pieces: &[String]) {
        self.passed.add(key_of(&asking(pieces), None));
    }

    async fn once(&self, ask: Ask, pieces: &[String]) -> Result<(), Stop> {
        if ask.conversation.messages.last().is_none_or(|last| is_wordless(&last.content)) {
            return Ok(());
        }
        let key = key_of(&ask.conversation, ask.under.name());
        if self.passed.has(&key) {
            return Ok(());
        }
        let of_piece = |piece: &String| ask.about(Conversation::prompt(piece.clone()));
        let alone: Vec<Ask> = pieces.iter().filter(|piece| !is_wordless(piece)).map(of_piece).collect();
        let verdict = self.check(ask).await?;
        // A rule that allows speaks for the piece in which it matched, not for those beside it.
        if verdict.rule.is_some() && pieces.len() > 1 {
            for piece in alone {
                let _passed = self.check(piece).await?;
            }
        }
        self.passed.add(key);
        Ok(())
    }

    async fn check(&self, ask: Ask) -> Result<Verdict, Stop> {
        let verdict = match self.target {
            Target::Prompt => self.pool.ask(vec![ask])?.remove(0).verdict().await?,
            Target::Response => self.pool.ask_of_answer(ask).verdict().await.map_err(Problem::of_answer)?,
        };
        // Nobody is there to review. A verdict with a failure is no statement about the text, whatever it counts as.
        if verdict.failure.is_some() || verdict.decision != Decision::Allow {
            return Err(Stop::Withheld(Box::new(verdict)));
        }
        Ok(verdict)
    }
}

/// What a caller says, as a conversation.
fn asking(pieces: &[String]) -> Conversation {
    Conversation::prompt(as_read(pieces.iter().cloned()))
}

fn answering(messages: &[Message], content: String) -> Conversation {
    let mut messages = messages.to_vec();
    messages.push(Message::new(Role::Assistant, content));
    Conversation { messages, target: Target::Response }
}

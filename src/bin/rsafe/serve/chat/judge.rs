//! Judges the texts of one chat, and remembers those that passed.

use rsafe::{Conversation, Decision, Message, Role, Target, Verdict};
use serde_json::{Value, json};

use crate::serve::errors::Problem;
use crate::serve::growing::{Growing, Watch};
use crate::serve::passed::key_of;
use crate::serve::pool::Ask;
use crate::serve::routes::Shared;
use crate::serve::walk::{as_read, is_wordless};
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

pub struct Judge {
    app: Shared,
    /// Which way the texts go. Those that come down wait behind a full queue too.
    target: Target,
}

impl Judge {
    /// Of what goes up.
    pub fn of_prompt(app: Shared) -> Self {
        Self { app, target: Target::Prompt }
    }

    /// Of what comes down.
    pub fn of_answer(app: Shared) -> Self {
        Self { app, target: Target::Response }
    }

    /// Judges what a caller says, whose pieces stand side by side.
    ///
    /// # Errors
    /// For what does not pass.
    pub async fn asked(&self, pieces: &[String]) -> Result<(), Stop> {
        self.once(asking(pieces), pieces).await
    }

    /// Judges what answers `messages`, whole.
    ///
    /// # Errors
    /// For what does not pass.
    pub async fn answered(&self, messages: &[Message], content: String) -> Result<(), Stop> {
        self.once(answering(messages, content), &[]).await
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
        let watch = watch.map_or_else(|| self.app.pool.watch(messages.to_vec()), Ok)?;
        let grown = self.app.pool.grow(Growing { watch, more, ends }).grown().await;
        let (watch, released) = grown.map_err(Problem::of_answer)?;
        match released.verdict {
            Some(verdict) if released.blocked => Err(Stop::Withheld(Box::new(verdict))),
            None if released.blocked => Err(Problem::internal().into()),
            _ => Ok((watch, released.text.len())),
        }
    }

    /// Notes an answer that was judged piece by piece.
    pub fn remember(&self, messages: &[Message], content: String) {
        self.app.passed.add(key_of(&answering(messages, content)));
    }

    /// Whether it passed before what is asked with these pieces.
    pub fn knows(&self, pieces: &[String]) -> bool {
        self.app.passed.has(&key_of(&asking(pieces)))
    }

    /// Notes that these pieces passed, together with others.
    pub fn remember_asked(&self, pieces: &[String]) {
        self.app.passed.add(key_of(&asking(pieces)));
    }

    async fn once(&self, conversation: Conversation, pieces: &[String]) -> Result<(), Stop> {
        if conversation.messages.last().is_none_or(|last| is_wordless(&last.content)) {
            return Ok(());
        }
        let key = key_of(&conversation);
        if self.app.passed.has(&key) {
            return Ok(());
        }
        let verdict = self.check(conversation).await?;
        // A rule that allows speaks for the piece in which it matched, not for those beside it.
        if verdict.rule.is_some() && pieces.len() > 1 {
            for piece in pieces.iter().filter(|piece| !is_wordless(piece)) {
                let _passed = self.check(Conversation::prompt(piece.clone())).await?;
            }
        }
        self.app.passed.add(key);
        Ok(())
    }

    async fn check(&self, conversation: Conversation) -> Result<Verdict, Stop> {
        let ask = Ask::own(conversation);
        let verdict = match self.target {
            Target::Prompt => self.app.pool.ask(vec![ask])?.remove(0).verdict().await?,
            Target::Response => self.app.pool.ask_of_answer(ask).verdict().await.map_err(Problem::of_answer)?,
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

//! What a request says, and whether it may go up.

use rsafe::{Message, Role};

use super::transcript::{Run, Spoken, runs_of};
use crate::serve::judge::{Judge, Stop};
use crate::serve::walk::as_read;

/// Runs that nobody remembers are judged together up to so many characters: one check reads a page of short messages in the
/// time of two.
const PAGE: usize = 600;

pub struct Asked {
    /// The conversation as a model reads it, and all that is said in each of its messages.
    pub messages: Vec<Message>,
    pub spoken: Vec<Spoken>,
    /// The texts of the fields beside it.
    pub beside: Vec<Vec<String>>,
    pub streams: bool,
}

impl Asked {
    /// Judges all of it.
    ///
    /// # Errors
    /// For what does not pass.
    pub async fn judge(&self, judge: &Judge) -> Result<(), Stop> {
        // What a rule of the policy is written for, as it stands.
        let last = self.messages.iter().rfind(|message| message.role == Role::User);
        if let Some(last) = last {
            judge.asked(std::slice::from_ref(&last.content)).await?;
        }
        let runs = runs_of(&self.spoken);
        for run in &runs {
            match run {
                Run::Given { pieces } => judge.gave(pieces).await?,
                Run::Answered { at, pieces } => {
                    judge.answered(&self.messages[..*at], as_read(pieces.iter().cloned())).await?;
                }
                Run::Asked { .. } => {}
            }
        }
        self.pages(judge, &runs).await?;
        for pieces in &self.beside {
            judge.asked(pieces).await?;
        }
        Ok(())
    }

    /// Judges what nobody remembers of the caller's runs, short ones together. A page has no gap in it: what it reads stands
    /// side by side.
    async fn pages(&self, judge: &Judge, runs: &[Run]) -> Result<(), Stop> {
        let mut page = Page::default();
        for run in runs {
            let Run::Asked { before, pieces } = run else { continue };
            let own: Vec<String> = before.iter().chain(pieces).cloned().collect();
            let known = judge.knows(&own);
            if !known {
                page.pieces.extend(if page.runs.is_empty() { own.clone() } else { pieces.clone() });
                page.runs.push(own);
            }
            if known || page.pieces.iter().map(|piece| piece.chars().count()).sum::<usize>() >= PAGE {
                std::mem::take(&mut page).judge(judge).await?;
            }
        }
        page.judge(judge).await
    }
}

/// Runs that are judged as one text.
#[derive(Default)]
struct Page {
    runs: Vec<Vec<String>>,
    pieces: Vec<String>,
}

impl Page {
    async fn judge(self, judge: &Judge) -> Result<(), Stop> {
        if self.runs.is_empty() {
            return Ok(());
        }
        judge.asked(&self.pieces).await?;
        self.runs.iter().for_each(|run| judge.remember_asked(run));
        Ok(())
    }
}

//! An answer that comes whole: each of its parts is judged before any of it is handed on.

use rsafe::{Decision, Message, Target};

use super::answering::Answering;
use super::shape::{Fields, Parts, Said, Shape, texts_of};
use crate::serve::errors::Problem;
use crate::serve::judge::Stop;

impl<S: Shape> Answering<S> {
    /// The answer as it came, or without the parts that do not pass; without any if it is what stands beside them.
    ///
    /// # Errors
    /// Where it cannot be judged.
    pub async fn judged(&self, mut answer: Fields) -> Result<Fields, Problem> {
        let Parts { beside, parts } = self.shape.parts(&mut answer)?;
        if let Some(stop) = self.stopped(&[], &beside).await? {
            let mut answer = self.shape.without(&answer);
            answer.insert("rsafe".into(), stop.note(Target::Response, 0));
            return Ok(answer);
        }
        let mut note = None;
        for (at, said) in parts.iter().enumerate() {
            match self.stopped(&self.messages, said).await? {
                None => self.app.metrics.relayed(Target::Response, Some(Decision::Allow)),
                Some(stop) => {
                    self.shape.withhold(&mut answer, at);
                    note.get_or_insert_with(|| stop.note(Target::Response, at));
                }
            }
        }
        answer.extend(note.map(|note| ("rsafe".to_owned(), note)));
        Ok(answer)
    }

    /// Why a part of an answer is withheld, if it is.
    async fn stopped(&self, messages: &[Message], said: &[Said]) -> Result<Option<Stop>, Problem> {
        for text in texts_of(said) {
            match self.judge.answered(messages, text).await {
                Ok(()) => {}
                Err(Stop::Failed(problem)) => {
                    self.app.metrics.relayed(Target::Response, None);
                    return Err(problem);
                }
                Err(stop) => {
                    self.app.metrics.relayed(Target::Response, stop.decision());
                    return Ok(Some(stop));
                }
            }
        }
        Ok(None)
    }
}

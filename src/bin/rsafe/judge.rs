//! One conversation through the guard: its reasoning as it is written, its verdict, and what that says of a run.

use std::io::{self, Write};

use pollster::block_on;
use rsafe::guard::{Event, Request};
use rsafe::verdict::Verdict;
use rsafe::{Conversation, Error};

use crate::library::Loaded;
use crate::outcome::{Failure, Outcome};
use crate::output;

/// Takes each piece of reasoning as it is written.
pub type OnReasoning<'a> = &'a mut dyn FnMut(&str) -> io::Result<()>;

/// The guard as the loops over texts and rows see it.
pub trait Judge: Sync {
    fn judge(&self, conversation: &Conversation, on_reasoning: OnReasoning) -> Result<Verdict, Failure>;
}

impl Judge for Loaded {
    fn judge(&self, conversation: &Conversation, on_reasoning: OnReasoning) -> Result<Verdict, Failure> {
        let mut request = Request::new(conversation.clone()).reasoning(self.reasoning);
        request.policy = self.policy.as_ref();
        let mut session = self.guard.start(&request)?;
        while let Some(event) = block_on(session.next())? {
            match event {
                Event::Reasoning(piece) => on_reasoning(&piece)?,
                Event::Verdict(verdict) => return Ok(*verdict),
                _ => {}
            }
        }
        Err(no_verdict())
    }
}

/// That an answer ended before it said anything.
pub fn no_verdict() -> Failure {
    Error::BadModel("the answer ended without a verdict".into()).into()
}

/// The verdict, if its score is one: a number that is none would pass every threshold.
pub fn sound(verdict: Verdict) -> Result<Verdict, Failure> {
    sound_score(verdict.score).map(|()| verdict)
}

pub fn sound_score(score: f32) -> Result<(), Failure> {
    if (0.0..=1.0).contains(&score) {
        return Ok(());
    }
    Err(Error::BadModel(format!("the score is {score}, not a probability; the model is broken")).into())
}

/// Judges without showing how.
pub fn judged(judge: &impl Judge, conversation: &Conversation) -> Result<Verdict, Failure> {
    judge.judge(conversation, &mut |_| Ok(())).and_then(sound)
}

/// Judges, and shows the reasoning while it is written.
pub fn shown(judge: &impl Judge, conversation: &Conversation, out: &mut dyn Write) -> Result<Verdict, Failure> {
    let mut line_open = false;
    let verdict = judge.judge(conversation, &mut |piece| {
        line_open = !piece.ends_with('\n');
        output::reasoning(out, piece)
    });
    if line_open {
        writeln!(out)?;
    }
    verdict.and_then(sound)
}

/// 0, 1 or 2 of one verdict: one that stands in for a failure blocks, but nothing was judged.
pub fn outcome(verdict: &Verdict) -> Outcome {
    match (&verdict.failure, verdict.flagged) {
        (Some(_), _) => Outcome::Incomplete,
        (None, true) => Outcome::Flagged,
        (None, false) => Outcome::Clean,
    }
}

#[cfg(test)]
pub mod tests {
    use rsafe::verdict::Decision;

    use super::*;
    use crate::output::tests::sample;

    /// Flags what holds "lock", fails on "fail", and reasons in two pieces.
    pub struct Stub;

    impl Judge for Stub {
        fn judge(&self, conversation: &Conversation, on_reasoning: OnReasoning) -> Result<Verdict, Failure> {
            let text = &conversation.messages[0].content;
            if text.contains("fail") {
                return Err(Error::ContextLength { needed: 9, limit: 8 }.into());
            }
            on_reasoning("first ")?;
            on_reasoning("second")?;
            let mut verdict = sample(if text.contains("lock") { Decision::Block } else { Decision::Allow });
            if text.contains("broken") {
                verdict.score = f32::NAN;
            }
            Ok(verdict)
        }
    }
}

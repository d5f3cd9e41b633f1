//! Why a category applies: the words of the message that carry its score, what is left of it without them, and the words of
//! its definition that carry it.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use super::answer::Why;
use super::engine::SlotEngine;
use super::occlusion::{Applies, Occlusion};
use super::policy::ReadPolicy;
use super::prompt::{SlotPrompt, defined, words};
use super::readings::highest_of;
use super::window::Window;
use crate::error::Result;
use crate::policy::Category;
use crate::tokenizer::{TokenId, Tokenizer};
use crate::verdict::Scoring;

/// A category that applies to a window that was read, and what it was read by.
pub struct Case<'a> {
    pub engine: &'a SlotEngine,
    pub tokenizer: &'a Tokenizer,
    pub prompt: &'a SlotPrompt,
    pub policy: &'a Arc<ReadPolicy>,
    pub category: &'a Category,
    pub window: &'a Window,
    pub scoring: Scoring,
    /// Whether to look for words of its definition, too.
    pub defined: bool,
    pub applies: Applies,
}

/// A search on its way, in steps.
pub struct Explanation {
    why: Why,
    stage: Stage,
}

enum Stage {
    /// Which words of the message carry the score,
    Message(Box<Occlusion>),
    /// what is left of it without them,
    Without(Box<Window>, Range<usize>),
    /// and which words of the definition carry it.
    Definition(Box<Occlusion>),
}

impl Explanation {
    /// # Errors
    /// Whatever the window has wrong.
    pub fn begin(case: &Case) -> Result<ControlFlow<Why, Self>> {
        let words = case.prompt.words(case.window.at);
        match case.occlusion(case.window.judged().start, words)? {
            Some(occlusion) => {
                Ok(ControlFlow::Continue(Self { why: Why::default(), stage: Stage::Message(occlusion) }))
            }
            None => look_up(case, Why::default()),
        }
    }

    /// Looks on by one step: all that was found, or the rest while there is more to find.
    ///
    /// # Errors
    /// Whatever the device has wrong.
    pub async fn step(self, case: &Case<'_>) -> Result<ControlFlow<Why, Self>> {
        let Self { mut why, stage } = self;
        let engine = case.engine;
        let stage = match stage {
            Stage::Message(occlusion) => match occlusion.step(engine, case.scoring.scaling).await? {
                ControlFlow::Continue(occlusion) => Stage::Message(Box::new(occlusion)),
                ControlFlow::Break(None) => return look_up(case, why),
                ControlFlow::Break(Some(tokens)) => {
                    let at = case.window.at;
                    let without = case.prompt.without(engine.prompts.frame, at, &tokens);
                    Stage::Without(Box::new(Window::apart(engine, at, without)), tokens)
                }
            },
            Stage::Without(mut window, tokens) => {
                if !window.step(engine, case.policy)? {
                    let logits = window.logits(engine, case.policy).await?;
                    let left = highest_of(&logits, case.scoring)[case.applies.category].score;
                    let quote = (case.prompt.quotable(window.at, tokens), left);
                    why.quote = Some(quote).filter(|_| left < case.applies.highest.score);
                    return look_up(case, why);
                }
                Stage::Without(window, tokens)
            }
            Stage::Definition(occlusion) => match occlusion.step(engine, case.scoring.scaling).await? {
                ControlFlow::Continue(occlusion) => Stage::Definition(Box::new(occlusion)),
                ControlFlow::Break(tokens) => {
                    let (_, spans) = defined(case.tokenizer, case.category, case.block())?;
                    why.definition = tokens.map(|tokens| {
                        let bytes = spans[tokens.start].bytes.start..spans[tokens.end - 1].bytes.end;
                        case.category.definition[bytes].to_owned()
                    });
                    return Ok(ControlFlow::Break(why));
                }
            },
        };
        Ok(ControlFlow::Continue(Self { why, stage }))
    }
}

/// Goes on in the category's definition, as far as the model read one.
fn look_up(case: &Case, why: Why) -> Result<ControlFlow<Why, Explanation>> {
    if !case.defined {
        return Ok(ControlFlow::Break(why));
    }
    let (start, spans) = defined(case.tokenizer, case.category, case.block())?;
    let occlusion = case.occlusion(case.window.conversation_len() + start, words(&spans))?;
    Ok(match occlusion {
        Some(occlusion) => ControlFlow::Continue(Explanation { why, stage: Stage::Definition(occlusion) }),
        None => ControlFlow::Break(why),
    })
}

impl Case<'_> {
    fn block(&self) -> &[TokenId] {
        &self.policy.blocks[self.applies.category]
    }

    /// Over words of what the category's slot sees, which begin at `start`.
    fn occlusion(&self, start: usize, words: Vec<Range<usize>>) -> Result<Option<Box<Occlusion>>> {
        let occlusion = Occlusion::begin(self.engine, self.policy, self.window, (start, words), self.applies)?;
        Ok(occlusion.map(Box::new))
    }
}

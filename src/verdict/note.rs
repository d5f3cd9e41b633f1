//! What a reader of a verdict should know beside the decision.

use serde::Serialize;

/// What a [`Note`] speaks of: the same words in Rust, JSON and TypeScript.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NoteCode {
    /// The judged text is in a language that the model does not read, so that its scores say little about it.
    Language,
    /// There is no text on trial, or white space alone: nothing was judged.
    Empty,
    /// The reasoning went in a circle or was longer than it may be, and was given up: the score is that without reasoning.
    Unfinished,
    /// Nobody said which category applies, and the categories of the policy ask for different actions: the severest holds.
    Unnamed,
}

/// Something that a reader of the verdict should know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Note {
    pub code: NoteCode,
    /// What was found; of [`NoteCode::Language`] the primary subtag of BCP 47, e.g. `de`, or `und` where it is sure only
    /// that the language is another; of [`NoteCode::Unfinished`] `circle` or `limit`; of [`NoteCode::Unnamed`] that
    /// action; of [`NoteCode::Empty`] nothing.
    pub found: String,
    /// The same in a sentence.
    pub message: String,
}

impl Note {
    pub fn new(code: NoteCode, found: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code, found: found.into(), message: message.into() }
    }
}

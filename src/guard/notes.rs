//! What a verdict tells beside the decision: that the model does not read the text's language, or came to no end with its
//! reasoning.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use crate::engine::Stopped;
use crate::language;
use crate::normalise::{Disguise, Reading};
use crate::tokenizer::Tokenizer;
use crate::verdict::{Note, NoteCode};

/// What is to be told of a judged text where the model reads these languages.
pub(super) fn language(judged: &str, languages: &[String], tokenizer: &Tokenizer) -> Vec<Note> {
    let foreign = |text: &str| language::foreign(text, languages);
    let Some(found) = foreign(judged) else { return Vec::new() };
    // Models of one language read letters without their accents.
    let bare: String = judged.nfd().filter(|&letter| !is_combining_mark(letter)).collect();
    if foreign(&bare).is_none() {
        return Vec::new();
    }
    // Disguised, a language that the model reads looks like others. A reading of a small part says nothing of the rest.
    let is_whole = |reading: &&Reading| 2 * reading.original(0..reading.text.len()).len() >= judged.len();
    let disguise = Disguise::of(judged, tokenizer);
    if disguise.readings.iter().filter(is_whole).any(|reading| foreign(&reading.text).is_none()) {
        return Vec::new();
    }
    let (name, read) = (found.name.unwrap_or("another language"), languages.join(", "));
    let message = format!("the text is in {name}, which this model does not read ({read}): harm in it may pass unseen");
    vec![Note::new(NoteCode::Language, found.tag, message)]
}

/// What is to be told of reasoning that was given up after so many tokens.
pub(super) fn unfinished(stopped: Stopped, tokens: usize) -> Note {
    let (found, how) = match stopped {
        Stopped::Circle => ("circle", "went in a circle and was given up"),
        Stopped::Limit => ("limit", "was given up at its limit"),
    };
    let message = format!("the reasoning {how} after {tokens} tokens: the score is that without reasoning");
    Note::new(NoteCode::Unfinished, found, message)
}

//! What a verdict tells of a text beside the decision: that the model does not read its language.

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;

use super::Guard;
use crate::language;
use crate::normalise::{Disguise, Reading};
use crate::verdict::{Note, NoteCode};

impl Guard {
    /// What is to be told of a judged text.
    pub(super) fn notes(&self, judged: &str) -> Vec<Note> {
        let foreign = |text: &str| language::foreign(text, &self.languages);
        let Some(found) = foreign(judged) else { return Vec::new() };
        // Models of one language read letters without their accents.
        let bare: String = judged.nfd().filter(|&letter| !is_combining_mark(letter)).collect();
        if foreign(&bare).is_none() {
            return Vec::new();
        }
        // Disguised, a language that the model reads looks like others. A reading of a small part says nothing of the rest.
        let is_whole = |reading: &&Reading| 2 * reading.original(0..reading.text.len()).len() >= judged.len();
        let disguise = Disguise::of(judged, self.engine.tokenizer());
        if disguise.readings.iter().filter(is_whole).any(|reading| foreign(&reading.text).is_none()) {
            return Vec::new();
        }
        let (name, read) = (found.name.unwrap_or("another language"), self.languages.join(", "));
        let message =
            format!("the text is in {name}, which this model does not read ({read}): harm in it may pass unseen");
        vec![Note::new(NoteCode::Language, found.tag, message)]
    }
}

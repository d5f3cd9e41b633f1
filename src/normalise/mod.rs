//! Other readings of a message that hides what it says: look-alike letters, spelt-out words, digits for letters, codes.
//!
//! A guard judges the message as it is and each reading; a message that hides nothing has none. What is shown to people
//! stays the original: every character of a reading knows the bytes that it stands for.

mod base64;
mod fold;
mod rotation;
mod spelling;

use std::ops::Range;

/// Codes inside codes are followed so deep.
const DEPTH: usize = 2;

/// A message as somebody who sees through its disguise reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    pub text: String,
    /// Where each character begins in `text`, and the bytes of the original that it stands for; both ascending.
    marks: Vec<(usize, Range<usize>)>,
}

impl Reading {
    /// The byte range of the original that a byte range of the text stands for, on character boundaries; empty where the
    /// text is.
    pub fn original(&self, bytes: Range<usize>) -> Range<usize> {
        let behind = self.marks.partition_point(|(start, _)| *start < bytes.end);
        let first = self.marks.partition_point(|(start, _)| *start <= bytes.start).saturating_sub(1).min(behind);
        let touched = &self.marks[first..behind];
        match (touched.first(), touched.last()) {
            (Some((_, first)), Some((_, last))) => first.start..last.end.max(first.start),
            _ => {
                let at = self.marks.get(first).map_or(0, |(_, original)| original.start);
                at..at
            }
        }
    }

    fn of(traced: &[Traced]) -> Self {
        let mut text = String::with_capacity(traced.len());
        let mut marks = Vec::with_capacity(traced.len());
        for one in traced {
            marks.push((text.len(), one.start..one.end));
            text.push(one.character);
        }
        Self { text, marks }
    }
}

/// A character and the bytes of the original that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Traced {
    character: char,
    start: usize,
    end: usize,
}

impl Traced {
    /// Another character in the same place.
    fn with(self, character: char) -> Self {
        Self { character, ..self }
    }
}

/// The readings of a message that differ from what it plainly says; none for ordinary text. Takes linear time, and it has
/// 7 readings at most, none longer than itself.
///
/// - Look-alike letters, full-width and mathematical ones become ASCII where that makes a word of them; letters with
///   separators between them are joined; digits and signs inside words become letters.
/// - Base64 and texts whose letters are shifted in the alphabet (ROT13 and the like) are decoded where the result is
///   text, and read on their own.
///
/// Shapeless characters are dropped on the way. They make no reading alone: tokenizers drop them, too.
pub fn readings(message: &str) -> Vec<Reading> {
    let traced = fold::visible(message);
    let mut readings = Vec::new();
    read(&traced, DEPTH, &mut readings);
    readings
}

/// Adds what is hidden in a text that is judged as it stands already.
fn read(text: &[Traced], depth: usize, readings: &mut Vec<Reading>) {
    let (decoded, rest) = base64::decode(text);
    if depth == DEPTH {
        readings.extend(plain(&rest).as_deref().map(Reading::of));
    }
    for hidden in [decoded, rotation::undo(&rest)].into_iter().flatten() {
        readings.push(Reading::of(plain(&hidden).as_deref().unwrap_or(&hidden)));
        if depth > 1 {
            read(&hidden, depth - 1, readings);
        }
    }
}

/// The text letter by letter as it is meant; `None` where that is how it stands.
fn plain(text: &[Traced]) -> Option<Vec<Traced>> {
    let folded = fold::fold(text);
    let joined = spelling::join(folded.as_deref().unwrap_or(text));
    let spelt = spelling::unleet(joined.as_deref().or(folded.as_deref()).unwrap_or(text));
    spelt.or(joined).or(folded)
}

#[cfg(test)]
mod tests;

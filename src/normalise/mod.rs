//! Other readings of a message that hides what it says: look-alike letters, spelt-out words, digits for letters, codes.
//!
//! A guard judges the message as it is and each reading; a message that hides nothing has none. What is shown to people
//! stays the original: every character of a reading knows the bytes that it stands for. What no reading makes sense of is
//! measured: [`Disguise::unreadable`].
//!
//! A kind of disguise is a file with a function that undoes it (`Undo`); this one puts them together.

mod backwards;
mod base32;
mod base64;
mod chunks;
mod doubled;
mod escapes;
mod fold;
mod leet;
mod lexicon;
mod lookalike;
mod markup;
mod morse;
mod numerals;
mod rotation;
mod segment;
mod shapeless;
mod spelling;
mod stretches;
mod traced;
mod unreadable;

use std::ops::Range;

pub use lexicon::Lexicon;
pub(crate) use shapeless::{is_mark, is_shapeless};

use traced::Traced;

/// Disguises inside disguises are followed so deep.
const DEPTH: usize = 3;
/// A message has so many readings at most.
pub const MAX_READINGS: usize = 7;
/// And they have so many times its bytes together, beside [`FREE_BYTES`].
const TIMES: usize = 2;
const FREE_BYTES: usize = 4096;

/// Undoes one kind of disguise: the text that was hidden, or `None` where there is none. Takes linear time.
type Undo = fn(&[Traced], &dyn Lexicon) -> Option<Vec<Traced>>;

/// Ways to write words differently, each undone in what the one before it left.
const SPELLINGS: [Undo; 8] = [
    markup::strip,
    fold::fold,
    spelling::join,
    doubled::undouble,
    leet::undraw,
    leet::unleet,
    chunks::join,
    segment::part,
];
/// Ways to write a stretch of text in other characters: what they decode is read alone, and the rest without it.
const CODES: [Undo; 6] =
    [numerals::binary_digits, numerals::codes, numerals::hex, base64::decode, base32::decode, morse::decode];
/// Ways to write a whole text differently, after which it may be disguised still.
const WHOLES: [Undo; 5] =
    [escapes::undo, rotation::undo, backwards::upright, backwards::reverse, backwards::reverse_words];

/// What there is to a message beside what it plainly says.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Disguise {
    /// The message as somebody who sees through its disguise reads it; none for ordinary text.
    pub readings: Vec<Reading>,
    /// The share of the message, in [0, 1], that neither it nor a reading makes readable.
    pub unreadable: f32,
}

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
            marks.push((text.len(), one.bytes()));
            text.push(one.character);
        }
        Self { text, marks }
    }
}

impl Disguise {
    /// Looks through a message. Takes linear time; there are [`MAX_READINGS`] readings at most, with four times the bytes
    /// of the message together, beside the first 4096.
    ///
    /// - Shapeless characters and marks between Latin letters are dropped. Look-alike letters become ASCII where that
    ///   makes a word of them; letters with separators between them are joined, words that run together are parted;
    ///   digits, signs and doubled letters inside words become letters; tags inside words are dropped.
    /// - Escapes, Base64, Base32, numbers of characters, Morse, shifted and reversed text are decoded where the result is
    ///   text, and read on their own, three deep.
    ///
    /// `lexicon` knows the words that tell whether it is.
    pub fn of(message: &str, lexicon: &dyn Lexicon) -> Self {
        let (text, hides) = shapeless::bare(message);
        let room = message.len().saturating_mul(TIMES) + FREE_BYTES;
        let mut reader = Reader { message, lexicon, readings: Vec::new(), left: MAX_READINGS - 1, room };
        let rest = reader.decode(&text, DEPTH);
        let plain = reader.plain(&rest.text);
        // Whatever codes there were, this one has a place.
        reader.left += 1;
        reader.room += 2 * message.len();
        if let Some(plain) = &plain {
            reader.add(plain);
        } else if hides {
            reader.add(&rest.text);
        }
        let plain = plain.as_deref().unwrap_or(&rest.text);
        let unreadable = reader.whole(plain, DEPTH) * plain.len() as f32 + rest.unreadable;
        let unreadable = unreadable / text.len().max(1) as f32;
        Self { readings: reader.readings, unreadable: unreadable.clamp(0.0, 1.0) }
    }
}

/// The readings of a message: [`Disguise::of`].
pub fn readings(message: &str, lexicon: &dyn Lexicon) -> Vec<Reading> {
    Disguise::of(message, lexicon).readings
}

/// A message on its way through all kinds of disguise.
struct Reader<'m> {
    message: &'m str,
    lexicon: &'m dyn Lexicon,
    readings: Vec<Reading>,
    /// How many readings there may still be, and how many bytes they may have.
    left: usize,
    room: usize,
}

/// What codes leave of a text.
struct Rest {
    text: Vec<Traced>,
    /// How many characters of the codes hide what nobody can read.
    unreadable: f32,
}

impl Reader<'_> {
    /// Keeps a reading that is worth one, as long as there is room.
    fn add(&mut self, text: &[Traced]) {
        let reading = Reading::of(text);
        let known = reading.text == self.message || self.readings.iter().any(|other| other.text == reading.text);
        let is_blank = text.iter().all(|one| one.character.is_whitespace());
        if !known && !is_blank && self.left > 0 && reading.text.len() <= self.room {
            self.left -= 1;
            self.room -= reading.text.len();
            self.readings.push(reading);
        }
    }

    /// The text letter by letter as it is meant; `None` where that is how it stands.
    fn plain(&self, text: &[Traced]) -> Option<Vec<Traced>> {
        SPELLINGS.iter().fold(None, |plain: Option<Vec<Traced>>, undo| {
            undo(plain.as_deref().unwrap_or(text), self.lexicon).or(plain)
        })
    }

    /// Reads what codes hide in a text.
    fn decode(&mut self, text: &[Traced], depth: usize) -> Rest {
        let mut rest = Rest { text: text.to_vec(), unreadable: 0.0 };
        for code in CODES {
            let Some(hidden) = code(&rest.text, self.lexicon) else { continue };
            let before = rest.text.len();
            let mut stretches = hidden.iter().map(|one| one.bytes()).peekable();
            // Both go forwards through the message.
            rest.text.retain(|one| {
                while stretches.next_if(|bytes| bytes.end <= one.start as usize).is_some() {}
                stretches.peek().is_none_or(|bytes| bytes.start > one.start as usize)
            });
            rest.unreadable += self.hidden(&hidden, depth) * (before - rest.text.len()) as f32;
        }
        rest
    }

    /// Reads what other ways of writing hide in a text; the share of it that stays unreadable.
    fn whole(&mut self, text: &[Traced], depth: usize) -> f32 {
        let mut unreadable = unreadable::share(text, self.lexicon);
        for undo in WHOLES {
            if let Some(hidden) = undo(text, self.lexicon) {
                // In bytes of the message: an escape is longer than the character that it writes.
                let bytes = |text: &[Traced]| text.iter().map(|one| one.bytes().len()).sum::<usize>();
                let share = bytes(&hidden) as f32 / bytes(text).max(1) as f32;
                let inside = self.hidden(&hidden, depth);
                unreadable = (unreadable - share).max(0.0) + share.min(1.0) * inside;
            }
        }
        unreadable
    }

    /// Reads a text that was hidden, and what it hides in turn; the share of it that stays unreadable.
    fn hidden(&mut self, text: &[Traced], depth: usize) -> f32 {
        let plain = self.plain(text);
        let plain = plain.as_deref().unwrap_or(text);
        self.add(plain);
        if depth <= 1 {
            return unreadable::share(plain, self.lexicon);
        }
        let rest = self.decode(text, depth - 1);
        let unreadable = self.whole(if rest.text.len() == text.len() { plain } else { &rest.text }, depth - 1);
        (unreadable * rest.text.len() as f32 + rest.unreadable) / text.len().max(1) as f32
    }
}

#[cfg(test)]
mod tests;

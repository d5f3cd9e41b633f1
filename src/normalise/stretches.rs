//! Stretches of a text that are written in a code's digits, and what they decode to.

use std::ops::Range;

use super::traced::{Traced, add_line, runs};

/// A code, by the characters that it is written with.
pub struct Code {
    pub is_digit: fn(char) -> bool,
    /// The shortest stretch that is looked at, in digits.
    pub shortest: usize,
    /// The text behind digits that stand without gaps; `None` if they are no code, or not of text.
    pub decode: fn(&[Traced]) -> Option<Vec<Traced>>,
}

impl Code {
    /// The text of all stretches, on a line each. Runs as wide as each other, with a gap between each two, are one
    /// stretch: codes are broken into lines and groups. The last may be narrower.
    pub fn decode_all(&self, text: &[Traced]) -> Option<Vec<Traced>> {
        let runs = runs(text, self.is_digit);
        let mut decoded = Vec::new();
        let mut at = 0;
        while at < runs.len() {
            let group = group(text, &runs[at..]);
            let whole = (group > 1).then(|| self.stretch(text, &runs[at..at + group])).flatten();
            match whole {
                Some(found) => add_line(&mut decoded, found),
                None => {
                    for run in &runs[at..at + group] {
                        if let Some(found) = self.stretch(text, std::slice::from_ref(run)) {
                            add_line(&mut decoded, found);
                        }
                    }
                }
            }
            at += group;
        }
        (!decoded.is_empty()).then_some(decoded)
    }

    fn stretch(&self, text: &[Traced], runs: &[Range<usize>]) -> Option<Vec<Traced>> {
        let digits: Vec<Traced> = runs.iter().flat_map(|run| &text[run.clone()]).copied().collect();
        if digits.len() < self.shortest { None } else { (self.decode)(&digits) }
    }
}

/// How many runs, from the first on, are one stretch.
fn group(text: &[Traced], runs: &[Range<usize>]) -> usize {
    let mut count = 1;
    while let (Some(last), Some(next)) = (runs.get(count - 1), runs.get(count)) {
        let width = runs[0].len();
        let gap = &text[last.end..next.start];
        // On the same line what is narrower and stands behind one group alone is a word.
        let ends = next.len() < width && count == 1 && gap.iter().all(|one| one.character != '\n');
        if last.len() != width || next.len() > width || ends || !is_gap(gap) {
            break;
        }
        count += 1;
    }
    count
}

/// White space, as lines and groups have it, or one mark.
fn is_gap(between: &[Traced]) -> bool {
    let mark = |c: char| matches!(c, ':' | ',' | ';' | '-' | '|' | '.' | '/');
    between.len() <= 4
        && between.iter().filter(|one| mark(one.character)).count() <= 1
        && between.iter().all(|one| one.character.is_whitespace() || mark(one.character))
}

/// Share of letters and spaces among decoded characters; English prose has 0.95.
const TEXT: f32 = 0.8;

/// The bytes as text, if they are text: a character that the end cuts is left out.
pub fn text_of(bytes: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let wordlike = text.chars().filter(|c| c.is_alphanumeric() || c.is_whitespace()).count();
    let control = text.chars().any(|c| c.is_control() && !c.is_whitespace());
    (!text.is_empty() && !control && wordlike as f32 >= TEXT * text.chars().count() as f32).then_some(text)
}

/// The characters of a text that digits of `bits` bits each spell, each with the digits that it takes.
pub fn traced(text: &str, digits: &[Traced], bits: usize) -> Vec<Traced> {
    let last = digits.len() - 1;
    let place = |(at, character): (usize, char)| {
        let first = at * 8 / bits;
        let behind = ((at + character.len_utf8()) * 8).div_ceil(bits);
        Traced { character, start: digits[first.min(last)].start, end: digits[(behind - 1).min(last)].end }
    };
    text.char_indices().map(place).collect()
}

//! Characters that know which bytes of the message they stand for.

use std::ops::Range;

/// A character and the bytes of the message that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traced {
    pub character: char,
    /// Messages are far shorter than 4 GiB, and there is one of these for each of their characters.
    pub start: u32,
    pub end: u32,
}

impl Traced {
    /// Every character of a message, in its place.
    pub fn all(message: &str) -> impl Iterator<Item = Self> + '_ {
        message.char_indices().map(|(at, character)| {
            let start = at as u32;
            Self { character, start, end: start + character.len_utf8() as u32 }
        })
    }

    /// Another character in the same place.
    pub fn with(self, character: char) -> Self {
        Self { character, ..self }
    }

    /// A character that stands for all of a run, which is not empty.
    pub fn over(character: char, run: &[Self]) -> Self {
        let start = run.first().map_or(0, |one| one.start);
        let end = run.iter().map(|one| one.end).max().unwrap_or(start);
        Self { character, start: run.iter().map(|one| one.start).min().unwrap_or(start), end }
    }

    /// A character that was put in behind this one.
    pub fn behind(self, character: char) -> Self {
        Self { character, start: self.end, end: self.end }
    }

    pub fn bytes(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// What the characters spell.
pub fn spelt(text: &[Traced]) -> String {
    text.iter().map(|one| one.character).collect()
}

/// The same in small letters.
pub fn small(text: &[Traced]) -> String {
    text.iter().map(|one| one.character.to_ascii_lowercase()).collect()
}

/// Runs of characters that pass a test, the longest there are.
pub fn runs(text: &[Traced], test: impl Fn(char) -> bool) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let len = text[start..].iter().take_while(|one| test(one.character)).count();
        if len > 0 {
            runs.push(start..start + len);
        }
        start += len.max(1);
    }
    runs
}

/// Runs of ASCII letters.
pub fn words(text: &[Traced]) -> Vec<Range<usize>> {
    runs(text, |c| c.is_ascii_alphabetic())
}

/// Puts a piece behind others, on a line of its own.
pub fn add_line(lines: &mut Vec<Traced>, piece: impl IntoIterator<Item = Traced>) {
    if let Some(&last) = lines.last() {
        lines.push(last.behind('\n'));
    }
    lines.extend(piece);
}

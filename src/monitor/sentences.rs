//! Where sentences end in a text that grows, each character looked at once.
//!
//! A sentence ends behind a full stop and its like, the brackets, quotes and Markdown marks that close with it, and the white
//! space that follows; and with each line. (The sentences of Unicode, UAX #29, know no Markdown, and may be told only
//! by a letter far behind their end.) What goes on in lower case goes on with the sentence: `e.g. tea`. An end is known
//! once the character behind it is, so it does not depend on the pieces in which a text arrives, and never lies inside of what
//! readers see as one character.

use std::collections::VecDeque;

use unicode_segmentation::GraphemeCursor;

/// Terminators behind which white space must follow, and those of scripts that write none.
const STOPS: &[char] = &['.', '!', '?', '…', '؟', '۔', '।', '॥'];
const WIDE_STOPS: &[char] = &['。', '！', '？', '｡', '．'];
const CLOSERS: &[char] =
    &['"', '\'', ')', ']', '}', '”', '’', '»', '›', '」', '』', '）', '】', '》', '*', '_', '`', '~'];

/// A place between two characters of a text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub byte: usize,
    /// Characters before it.
    pub chars: usize,
}

/// The ends of sentences that are known and of use still, in their order.
#[derive(Debug, Default)]
pub(super) struct Sentences {
    ends: VecDeque<Place>,
    /// Up to where the text was looked at.
    at: Place,
    state: State,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Inside,
    /// Behind a terminator and what closes with it.
    Stopped { wide: bool },
    /// In the white space behind that, or in that which holds the end of a line.
    Gap { line: bool },
}

impl Sentences {
    /// Looks at what is new in `text`.
    pub fn read(&mut self, text: &str) {
        for c in text[self.at.byte..].chars() {
            let ended = match self.state {
                State::Inside => false,
                State::Stopped { wide } => wide && !c.is_whitespace() && !closes(c),
                State::Gap { line } => !c.is_whitespace() && (line || !c.is_lowercase()),
            };
            if ended && is_whole(text, self.at.byte) {
                self.ends.push_back(self.at);
            }
            self.state = match self.state {
                State::Stopped { wide } if closes(c) => State::Stopped { wide: wide || WIDE_STOPS.contains(&c) },
                State::Stopped { .. } if c.is_whitespace() => State::Gap { line: c == '\n' },
                State::Gap { line } if c.is_whitespace() => State::Gap { line: line || c == '\n' },
                _ if c == '\n' => State::Gap { line: true },
                _ if STOPS.contains(&c) => State::Stopped { wide: false },
                _ if WIDE_STOPS.contains(&c) => State::Stopped { wide: true },
                _ => State::Inside,
            };
            self.at.byte += c.len_utf8();
            self.at.chars += 1;
        }
    }

    /// The first end behind so many characters or more.
    pub fn first_from(&self, chars: usize) -> Option<Place> {
        self.ends.get(self.ends.partition_point(|end| end.chars < chars)).copied()
    }

    /// The last end behind so many characters or fewer.
    pub fn last_within(&self, chars: usize) -> Option<Place> {
        self.ends.get(self.ends.partition_point(|end| end.chars <= chars).checked_sub(1)?).copied()
    }

    /// Forgets the ends before a byte.
    pub fn forget(&mut self, byte: usize) {
        while self.ends.front().is_some_and(|end| end.byte < byte) {
            self.ends.pop_front();
        }
    }
}

fn closes(c: char) -> bool {
    CLOSERS.contains(&c) || STOPS.contains(&c) || WIDE_STOPS.contains(&c)
}

/// Whether a place is between what readers see as characters.
fn is_whole(text: &str, at: usize) -> bool {
    // The whole text is at hand, so the cursor asks for no more of it.
    GraphemeCursor::new(at, text.len(), true).is_boundary(text, 0).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Vec<&str> {
        let mut sentences = Sentences::default();
        let mut pieces = Vec::new();
        sentences.read(text);
        let mut from = 0;
        for end in sentences.ends {
            assert_eq!(text[..end.byte].chars().count(), end.chars);
            pieces.push(&text[from..end.byte]);
            from = end.byte;
        }
        pieces.push(&text[from..]);
        pieces
    }

    #[test]
    fn a_sentence_ends_with_its_white_space_and_with_its_line() {
        for pieces in [
            &["Warm the pot. ", "Then pour!  ", "Is it hot?\n\n", "Yes"][..],
            &["# Tea\n", "- leaves\n", "- water, e.g. from the tap\n", "3.5 grams"],
            &["**Warm the pot.** ", "“Is it hot?” ", "(It is.) ", "Good"],
            &["茶を入れる。", "「熱い！」", "はい"],
            &["Mr. ", "Berg has v1.2 of it... and more. ", "Ok.\r\n", "Yes"],
            &["Warm.it.up"],
            &[""],
        ] {
            assert_eq!(sentences(&pieces.concat()), pieces);
        }
    }

    #[test]
    fn an_end_is_known_once_something_follows() {
        assert_eq!(sentences("Warm the pot. "), ["Warm the pot. "]);
        let mut sentences = Sentences::default();
        sentences.read("Warm the pot. ");
        assert!(sentences.ends.is_empty());
        sentences.read("Warm the pot. T");
        assert_eq!(sentences.ends, [Place { byte: 14, chars: 14 }]);
    }

    #[test]
    fn no_end_is_inside_of_what_readers_see_as_one_character() {
        // The accent stands on the space.
        assert_eq!(sentences("Tea. \u{301}Pot. Cup"), ["Tea. \u{301}Pot. ", "Cup"]);
    }
}

//! Whether free text goes in a circle: greedy writing that has said a line a few times says it until the end.

use std::collections::VecDeque;

use crate::tokenizer::TokenId;

/// The longest line that is looked for, in tokens.
const LONGEST: usize = 128;
/// How often a line is said word for word before the text counts as going in a circle.
const TIMES: usize = 3;
/// And how many tokens of it must be said again, however short it is: rows of dashes end.
const LEAST: usize = 32;

/// The last tokens of a text, and for how long each distance has led back to the same token.
#[derive(Debug)]
pub struct Repeats {
    last: VecDeque<TokenId>,
    /// At `distance - 1`: how many tokens in a row were the one that stood so far before.
    runs: [usize; LONGEST],
}

impl Repeats {
    pub fn new() -> Self {
        Self { last: VecDeque::with_capacity(LONGEST), runs: [0; LONGEST] }
    }

    /// Takes the next token; whether the text goes in a circle with it.
    pub fn push(&mut self, token: TokenId) -> bool {
        let mut circles = false;
        for (at, run) in self.runs.iter_mut().enumerate() {
            *run = if self.last.get(at) == Some(&token) { *run + 1 } else { 0 };
            circles |= *run >= ((TIMES - 1) * (at + 1)).max(LEAST);
        }
        self.last.truncate(LONGEST - 1);
        self.last.push_front(token);
        circles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many tokens are written before the text counts as going in a circle.
    fn found(tokens: impl IntoIterator<Item = TokenId>) -> Option<usize> {
        let mut repeats = Repeats::new();
        tokens.into_iter().position(|token| repeats.push(token)).map(|at| at + 1)
    }

    #[test]
    fn a_line_said_three_times_is_a_circle_wherever_it_begins() {
        for (before, line) in [(0, 20), (7, 20), (300, 17), (5, LONGEST)] {
            let opening = (0..before).map(|at| 10_000 + at);
            let length = line as TokenId;
            let looping = opening.chain((0..4 * length).map(|at| at % length));
            assert_eq!(found(looping), Some(before as usize + TIMES * line), "{before}, {line}");
        }
    }

    #[test]
    fn short_lines_must_be_said_for_longer() {
        assert_eq!(found([5; 100]), Some(1 + LEAST));
        assert_eq!(found((0..100).map(|at| at % 3)), Some(3 + LEAST));
        assert_eq!(found([5; LEAST]), None);
    }

    #[test]
    fn lists_and_lines_that_differ_in_a_word_are_none() {
        // A line of twelve tokens with a number in it.
        assert_eq!(found((0..600).map(|at| if at % 12 == 3 { 1000 + at / 12 } else { at % 12 })), None);
        // One line said twice.
        assert_eq!(found((0..40).chain(0..40).chain(500..600)), None);
        assert_eq!(found(0..2000), None);
    }
}

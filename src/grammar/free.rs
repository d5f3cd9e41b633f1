//! Free text over byte-level tokens: which tokens keep it valid UTF-8, free of forbidden strings, and able to end.
//!
//! One byte-level automaton follows the stop string, all forbidden strings and UTF-8 at once, so a token is admitted by
//! walking its bytes. The set of admitted tokens depends on the automaton's state alone and is computed once for each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::mask::Mask;
use super::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::tokenizer::{ByteTable, TokenId};

/// How free text ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A control token.
    Control(TokenId),
    /// An ASCII string, spelt by ordinary tokens; whitespace may follow it inside the token that completes it.
    /// `tokens` is its canonical spelling, forced when the budget is spent.
    Text { text: String, tokens: Vec<TokenId> },
}

/// Where the text stands: a state of the string automaton and one of the UTF-8 automaton.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(super) struct FreeState {
    strings: u16,
    utf8: Utf8,
}

/// What a token does to the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Refused,
    Goes(FreeState),
    /// The stop is complete; whether whitespace came along with it.
    Stops {
        with_space: bool,
    },
}

/// The automaton and its masks. Immutable but for the cache, so clones of a grammar share it.
#[derive(Debug)]
pub(super) struct FreeText {
    stop: Stop,
    /// `[state][byte]`, the state after the byte.
    goto: Vec<[u16; 256]>,
    kind: Vec<Kind>,
    /// For each state, how many of the last bytes may be the beginning of the stop string.
    held: Vec<u8>,
    vocabulary: Arc<ByteTable>,
    /// Whether each continuation byte is a token of its own, so that a begun character can always be completed.
    completes: bool,
    masks: Mutex<HashMap<(FreeState, u8), Arc<Mask>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Forbidden,
    Stop,
}

impl FreeText {
    /// `forbidden` are ASCII strings that must not occur in the text.
    pub(super) fn new(vocab: &dyn Vocabulary, stop: Stop, forbidden: &[&str]) -> Result<Self> {
        let stop_text = match &stop {
            Stop::Control(_) => None,
            Stop::Text { text, .. } => Some(text.as_str()),
        };
        let mut patterns: Vec<(&str, Kind)> = forbidden.iter().map(|text| (*text, Kind::Forbidden)).collect();
        patterns.extend(stop_text.map(|text| (text, Kind::Stop)));
        if let Some((text, _)) = patterns.iter().find(|(text, _)| text.is_empty() || !text.is_ascii()) {
            return Err(Error::Unsupported(format!(
                "a grammar's stop or forbidden string must be ASCII, got {text:?}"
            )));
        }
        let (goto, kind, held) = compile(&patterns, stop_text.unwrap_or_default());
        let vocabulary = Arc::clone(vocab.bytes());
        let mut single = [false; 256];
        for id in 0..vocabulary.len() as TokenId {
            if let [byte] = vocabulary.get(id) {
                single[usize::from(*byte)] = true;
            }
        }
        let completes = single[0x80..=0xbf].iter().all(|there| *there);
        Ok(Self { stop, goto, kind, held, vocabulary, completes, masks: Mutex::default() })
    }

    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// The tokens that end the text when the budget is spent.
    pub(super) fn closing(&self) -> &[TokenId] {
        match &self.stop {
            Stop::Control(id) => std::slice::from_ref(id),
            Stop::Text { tokens, .. } => tokens,
        }
    }

    /// The bytes of a token, empty for control tokens.
    pub(super) fn bytes(&self, token: TokenId) -> &[u8] {
        self.vocabulary.get(token)
    }

    /// How many of the last bytes of the text may turn out to belong to the stop.
    pub(super) fn held(&self, state: FreeState) -> usize {
        usize::from(self.held[usize::from(state.strings)])
    }

    /// What `token` does, with `left` tokens of the budget left after it.
    pub(super) fn step(&self, state: FreeState, token: TokenId, left: usize) -> Step {
        if self.stop == Stop::Control(token) {
            return if state.utf8 == Utf8::Whole { Step::Stops { with_space: false } } else { Step::Refused };
        }
        let bytes = self.bytes(token);
        if bytes.is_empty() {
            return Step::Refused;
        }
        let mut now = state;
        for (i, &byte) in bytes.iter().enumerate() {
            let Some(utf8) = now.utf8.next(byte) else { return Step::Refused };
            now = FreeState { strings: self.goto[usize::from(now.strings)][usize::from(byte)], utf8 };
            match self.kind[usize::from(now.strings)] {
                Kind::Open => {}
                Kind::Forbidden => return Step::Refused,
                Kind::Stop => {
                    let rest = &bytes[i + 1..];
                    return match rest.iter().all(u8::is_ascii_whitespace) {
                        true => Step::Stops { with_space: !rest.is_empty() },
                        false => Step::Refused,
                    };
                }
            }
        }
        let owed = now.utf8.owed();
        if owed == 0 || (self.completes && owed <= left) { Step::Goes(now) } else { Step::Refused }
    }

    /// All tokens that [`step`](Self::step) does not refuse.
    pub(super) fn mask(&self, state: FreeState, left: usize) -> Arc<Mask> {
        // A character owes at most three bytes, so larger budgets admit the same tokens.
        let key = (state, left.min(3) as u8);
        // A poisoned cache holds finished masks only.
        let mut masks = self.masks.lock().unwrap_or_else(PoisonError::into_inner);
        let mask = masks.entry(key).or_insert_with(|| {
            let mut mask = Mask::new(self.vocabulary.len());
            for id in 0..self.vocabulary.len() as TokenId {
                if self.step(state, id, left) != Step::Refused {
                    mask.insert(id);
                }
            }
            Arc::new(mask)
        });
        Arc::clone(mask)
    }
}

/// Aho-Corasick over all patterns with every failure link resolved into the table.
fn compile(patterns: &[(&str, Kind)], stop: &str) -> (Vec<[u16; 256]>, Vec<Kind>, Vec<u8>) {
    const NONE: u16 = u16::MAX;
    let mut goto = vec![[NONE; 256]];
    let mut kind = vec![Kind::Open];
    let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
    for (pattern, outcome) in patterns {
        let mut at = 0usize;
        for &byte in pattern.as_bytes() {
            if goto[at][usize::from(byte)] == NONE {
                goto[at][usize::from(byte)] = goto.len() as u16;
                let mut prefix = prefixes[at].clone();
                prefix.push(byte);
                prefixes.push(prefix);
                goto.push([NONE; 256]);
                kind.push(Kind::Open);
            }
            at = usize::from(goto[at][usize::from(byte)]);
        }
        kind[at] = *outcome;
    }
    // Breadth first, so that the shorter suffix a state falls back to is complete before the state is.
    let mut fail = vec![0usize; goto.len()];
    let mut queue = std::collections::VecDeque::from([0usize]);
    while let Some(at) = queue.pop_front() {
        if kind[at] == Kind::Open {
            kind[at] = kind[fail[at]];
        }
        let fallbacks = if at == 0 { [0; 256] } else { goto[fail[at]] };
        for (next, fallback) in goto[at].iter_mut().zip(fallbacks) {
            if *next == NONE {
                *next = fallback;
            } else {
                fail[usize::from(*next)] = usize::from(fallback);
                queue.push_back(usize::from(*next));
            }
        }
    }
    let longest_start = |text: &Vec<u8>| {
        let most = stop.len().saturating_sub(1).min(text.len());
        (0..=most).rev().find(|n| text.ends_with(&stop.as_bytes()[..*n])).unwrap_or(0) as u8
    };
    let held = prefixes.iter().map(longest_start).collect();
    (goto, kind, held)
}

/// How far into a character the text is, and which byte may follow (Unicode 15, table 3-7).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
enum Utf8 {
    #[default]
    Whole,
    One,
    Two,
    Three,
    /// After E0, ED, F0 and F4 the next byte's range is narrower: no overlong forms, no surrogates, nothing over 10FFFF.
    AfterE0,
    AfterEd,
    AfterF0,
    AfterF4,
}

impl Utf8 {
    fn next(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Utf8::Whole, 0x00..=0x7f) | (Utf8::One, 0x80..=0xbf) => Utf8::Whole,
            (Utf8::Whole, 0xc2..=0xdf) | (Utf8::Two, 0x80..=0xbf) => Utf8::One,
            (Utf8::AfterE0, 0xa0..=0xbf) | (Utf8::AfterEd, 0x80..=0x9f) => Utf8::One,
            (Utf8::Whole, 0xe0) => Utf8::AfterE0,
            (Utf8::Whole, 0xed) => Utf8::AfterEd,
            (Utf8::Whole, 0xe1..=0xef) | (Utf8::Three, 0x80..=0xbf) => Utf8::Two,
            (Utf8::AfterF0, 0x90..=0xbf) | (Utf8::AfterF4, 0x80..=0x8f) => Utf8::Two,
            (Utf8::Whole, 0xf0) => Utf8::AfterF0,
            (Utf8::Whole, 0xf4) => Utf8::AfterF4,
            (Utf8::Whole, 0xf1..=0xf3) => Utf8::Three,
            _ => return None,
        })
    }

    /// The bytes that the character still needs.
    fn owed(self) -> usize {
        match self {
            Utf8::Whole => 0,
            Utf8::One => 1,
            Utf8::Two | Utf8::AfterE0 | Utf8::AfterEd => 2,
            Utf8::Three | Utf8::AfterF0 | Utf8::AfterF4 => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_string_is_seen_inside_the_beginning_of_a_longer_one() {
        let (goto, kind, _) = compile(&[("a<b>c", Kind::Stop), ("<b>", Kind::Forbidden)], "a<b>c");
        let read = |text: &str| text.bytes().fold(0, |at, byte| usize::from(goto[at][usize::from(byte)]));
        for text in ["<b>", "a<b>", "a<<b>", "aa<b>"] {
            assert_eq!(kind[read(text)], Kind::Forbidden, "{text}");
        }
        for text in ["", "a", "a<b", "b>c"] {
            assert_eq!(kind[read(text)], Kind::Open, "{text}");
        }
    }
}

//! Words written with characters that look like ASCII ones.

use std::collections::HashSet;

use super::lexicon::Lexicon;
use super::lookalike::{is_regional, is_stroked, is_styled, lookalike};
use super::traced::{Traced, runs};

/// The text with look-alikes in ASCII, word by word; `None` if no word changes.
///
/// A word counts as disguised if nothing else than look-alikes and Latin letters is in it. If there is no ASCII letter
/// in it, it may also be a word of another language, so that the words around it decide: those that no look-alikes spell
/// speak for the language, the disguised ones against it.
pub fn fold(text: &[Traced], _: &dyn Lexicon) -> Option<Vec<Traced>> {
    if text.iter().all(|one| one.character.is_ascii()) {
        return None;
    }
    let words: Vec<(usize, usize, Word)> = words(text);
    let count = |kind: Word| words.iter().filter(|(_, _, word)| *word == kind).count();
    let (disguised, foreign) = (count(Word::Mixed) + count(Word::Alike), count(Word::Foreign));
    let fold_pure = disguised > 2 * foreign;
    let mut folded = text.to_vec();
    let mut changed = false;
    for &(start, end, kind) in &words {
        if kind == Word::Mixed || (fold_pure && matches!(kind, Word::Alike | Word::Letter)) {
            for one in &mut folded[start..end] {
                if let Some(ascii) = lookalike(one.character) {
                    *one = one.with(ascii);
                }
            }
            changed |= kind != Word::Letter;
        }
    }
    changed.then_some(folded)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Nothing in it looks like something else.
    Plain,
    /// Look-alikes among ASCII letters, or letters that no language writes words with.
    Mixed,
    /// Look-alikes alone, two or more.
    Alike,
    /// One look-alike: a sign of mathematics as often as not.
    Letter,
    /// Letters of another script that look like none of ours.
    Foreign,
}

/// Runs of letters, with what they are made of.
fn words(text: &[Traced]) -> Vec<(usize, usize, Word)> {
    let runs = runs(text, |c| c.is_alphanumeric() || lookalike(c).is_some()).into_iter();
    runs.map(|word| (word.start, word.end, kind(&text[word]))).collect()
}

fn kind(word: &[Traced]) -> Word {
    let (mut alike, mut regional, mut digits) = (0, 0, 0);
    let (mut ascii, mut styled) = (false, false);
    let mut stroked = HashSet::new();
    for &Traced { character: c, .. } in word {
        if let Some(plain) = lookalike(c) {
            if is_stroked(c) {
                stroked.insert(plain);
                continue;
            }
            // A raised or circled digit is a power or a footnote.
            digits += usize::from(plain.is_ascii_digit());
            alike += usize::from(!plain.is_ascii_digit());
            regional += usize::from(is_regional(c));
            styled |= is_styled(c) && plain.is_ascii_alphabetic();
        } else if c.is_ascii() {
            ascii |= c.is_ascii_alphabetic();
        } else if c as u32 >= 0x250 && c.is_alphabetic() {
            return Word::Foreign;
        }
    }
    // Languages write with one or two of them, in different words.
    if stroked.len() > 1 || alike > 0 {
        alike += stroked.len();
    }
    match alike {
        0 if digits > 0 => Word::Letter,
        0 => Word::Plain,
        // Two are a flag.
        _ if regional > 0 => {
            if regional > 2 {
                Word::Mixed
            } else {
                Word::Letter
            }
        }
        _ if ascii || styled => Word::Mixed,
        1 => Word::Letter,
        _ => Word::Alike,
    }
}

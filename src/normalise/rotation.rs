//! Texts whose letters are shifted in the alphabet (ROT13 and its 24 siblings) or taken from its other end (Atbash).

use std::collections::HashSet;

use super::lexicon::Lexicon;
use super::traced::{Traced, small, words};

/// How often each letter from `a` to `z` stands in English text, in thousandths.
const OFTEN: [u16; 26] =
    [82, 15, 28, 43, 127, 22, 20, 61, 70, 2, 8, 40, 24, 67, 75, 19, 1, 60, 63, 91, 28, 10, 24, 2, 20, 1];
/// Evidence, in nats, from which on a stretch counts as shifted: about one stretch of English in three millions looks so
/// by chance.
const EVIDENCE: f32 = 15.0;
/// A shifted stretch has so many letters at least.
const LETTERS: usize = 15;
/// And so many different words.
const WORDS: usize = 4;
/// Words beside a shifted stretch belong to it as long as they speak against it by so many nats at most, all together.
const EDGE: f32 = 2.5;
/// Mean log-probability of a letter from which on a text may be English, where it is −2.9 on average; random letters
/// have −3.7.
const ENGLISH: f32 = -3.2;

/// The shift that is none: the alphabet read backwards.
const ATBASH: usize = 26;

/// The stretch of the text that most looks like shifted English, shifted back; `None` if none does.
///
/// The evidence is the log-likelihood ratio of the letters shifted back against the letters as they stand, and the
/// stretch the run of words where it is highest (Kadane's algorithm).
pub fn undo(text: &[Traced], _: &dyn Lexicon) -> Option<Vec<Traced>> {
    let words: Vec<(usize, usize)> = words(text).into_iter().map(|word| (word.start, word.end)).collect();
    if words.iter().map(|(start, end)| end - start).sum::<usize>() < LETTERS {
        return None;
    }
    let logs = OFTEN.map(|thousandths| (f32::from(thousandths) / 1e3).ln());
    let best = (1..=ATBASH)
        .filter_map(|shift| {
            let (evidence, first, last) = stretch(text, &words, &logs, shift)?;
            (evidence >= EVIDENCE).then_some((evidence, shift, first, last))
        })
        .max_by(|a, b| a.0.total_cmp(&b.0))?;
    let (_, shift, first, last) = best;
    let gains = |word: &(usize, usize)| gain(&text[word.0..word.1], &logs, shift);
    let first = first - beside(words[..first].iter().rev().map(gains));
    let last = last + beside(words[last + 1..].iter().map(gains));
    let (start, end) = (words[first].0, words[last].1);
    let different: HashSet<_> = words[first..=last].iter().map(|&(start, end)| small(&text[start..end])).collect();
    if different.len() < WORDS {
        return None;
    }
    let letters = || text[start..end].iter().filter_map(|one| place(one.character));
    let count = letters().count();
    let mean = letters().map(|place| logs[turned(place, shift)]).sum::<f32>() / count.max(1) as f32;
    if count < LETTERS || mean < ENGLISH {
        return None;
    }
    let turn = |one: &Traced| match place(one.character) {
        Some(place) => {
            let first = if one.character.is_ascii_uppercase() { b'A' } else { b'a' };
            one.with(char::from(first + turned(place, shift) as u8))
        }
        None => *one,
    };
    Some(text[start..end].iter().map(turn).collect())
}

/// The run of words with the most evidence for a shift: that evidence, its first word and its last.
fn stretch(text: &[Traced], words: &[(usize, usize)], logs: &[f32; 26], shift: usize) -> Option<(f32, usize, usize)> {
    let mut best: Option<(f32, usize, usize)> = None;
    let (mut sum, mut first) = (0.0_f32, 0);
    let mut speaking = HashSet::new();
    for (at, &(start, end)) in words.iter().enumerate() {
        if sum <= 0.0 {
            (sum, first) = (0.0, at);
        }
        let gain = gain(&text[start..end], logs, shift);
        // Saying a rare word again is no evidence.
        if gain < 0.0 || speaking.insert(small(&text[start..end])) {
            sum += gain;
        }
        if best.is_none_or(|(most, ..)| sum > most) {
            best = Some((sum, first, at));
        }
    }
    best
}

/// Where a letter comes from.
fn turned(place: usize, shift: usize) -> usize {
    if shift == ATBASH { 25 - place } else { (place + shift) % 26 }
}

/// How much better a word's letters fit English when they are shifted back, in nats.
fn gain(word: &[Traced], logs: &[f32; 26], shift: usize) -> f32 {
    word.iter().filter_map(|one| place(one.character)).map(|place| logs[turned(place, shift)] - logs[place]).sum()
}

/// How many words beside a stretch belong to it.
fn beside(gains: impl Iterator<Item = f32>) -> usize {
    let mut sum = 0.0;
    gains
        .take_while(|gain| {
            sum += gain;
            sum > -EDGE
        })
        .count()
}

/// A letter's place in the alphabet.
fn place(c: char) -> Option<usize> {
    c.is_ascii_alphabetic().then(|| usize::from(c.to_ascii_lowercase() as u8 - b'a'))
}

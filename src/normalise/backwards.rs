//! Texts that are read from their end: reversed as a whole or word by word, or turned upside down.

use std::collections::HashSet;
use std::ops::Range;

use super::lexicon::{Lexicon, knows};
use super::traced::{Traced, runs, small, words};

/// Letters that make words backwards and none forwards: fewer are chance, as in names.
const LETTERS: usize = 10;
/// And so many different words.
const WORDS: usize = 3;
/// Letters turned by half, each with the one that it is read as.
const TURNED: &[(char, char)] = &[
    ('ɐ', 'a'),
    ('ɔ', 'c'),
    ('ǝ', 'e'),
    ('ɟ', 'f'),
    ('ƃ', 'g'),
    ('ᵷ', 'g'),
    ('ɓ', 'g'),
    ('ɥ', 'h'),
    ('ᴉ', 'i'),
    ('ı', 'i'),
    ('ɾ', 'j'),
    ('ſ', 'j'),
    ('ʞ', 'k'),
    ('ꞁ', 'l'),
    ('ʃ', 'l'),
    ('ɯ', 'm'),
    ('ɹ', 'r'),
    ('ʇ', 't'),
    ('ʌ', 'v'),
    ('ʍ', 'w'),
    ('ʎ', 'y'),
    ('∀', 'a'),
    ('Ɔ', 'c'),
    ('Ǝ', 'e'),
    ('Ⅎ', 'f'),
    ('⅁', 'g'),
    ('ſ', 'j'),
    ('⅂', 'l'),
    ('˥', 'l'),
    ('Ԁ', 'p'),
    ('Ɽ', 'r'),
    ('ᴚ', 'r'),
    ('⊥', 't'),
    ('┴', 't'),
    ('∩', 'u'),
    ('Λ', 'v'),
    ('⅄', 'y'),
    ('¿', '?'),
    ('¡', '!'),
    ('˙', '.'),
    ('‘', ','),
];
/// Letters that are others when they are turned.
const SWAPPED: &[(char, char)] = &[('b', 'q'), ('d', 'p'), ('n', 'u'), ('m', 'w')];
/// So many turned letters are no phonetic sign in passing, and at least this share of all letters.
const FEWEST: usize = 4;
const SHARE: f32 = 0.15;

/// The stretch that most looks reversed, read from its end.
pub fn reverse(text: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<Traced>> {
    let stretch = stretch(text, lexicon)?;
    Some(mirrored(&text[stretch]))
}

/// The same stretch with each word reversed in its place.
pub fn reverse_words(text: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<Traced>> {
    let stretch = &text[stretch(text, lexicon)?];
    let mut read = stretch.to_vec();
    for word in runs(stretch, |c| !c.is_whitespace()) {
        let mirror = mirrored(&stretch[word.clone()]);
        read[word].copy_from_slice(&mirror);
    }
    Some(read)
}

/// Text that stands on its head: each letter turned, in the order in which that makes words.
pub fn upright(text: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<Traced>> {
    let is_turned = |one: &Traced| !one.character.is_ascii() && turned(one.character) != one.character;
    let count = text.iter().filter(|one| is_turned(one)).count();
    let letters = text.iter().filter(|one| one.character.is_alphabetic()).count();
    if count < FEWEST || (count as f32) < SHARE * letters as f32 {
        return None;
    }
    let lines = runs(text, |c| c != '\n').into_iter().map(|line| &text[line]);
    let lines = lines.filter_map(|line| {
        let first = line.iter().position(is_turned)?;
        let last = line.iter().rposition(is_turned)?;
        // Whole words.
        let start = line[..first].iter().rposition(|one| one.character.is_whitespace()).map_or(0, |at| at + 1);
        let end = line[last..].iter().position(|one| one.character.is_whitespace()).map_or(line.len(), |at| last + at);
        let read: Vec<Traced> =
            line[widened(line, start..end, lexicon)].iter().map(|one| one.with(turned(one.character))).collect();
        let mirror = mirrored(&read);
        let fits = |text: &[Traced]| super::lexicon::known_share(lexicon, text);
        Some(if fits(&read) > fits(&mirror) { read } else { mirror })
    });
    let mut whole = Vec::new();
    lines.for_each(|line| super::traced::add_line(&mut whole, line));
    (!whole.is_empty()).then_some(whole)
}

/// The stretch with words beside it that are words on their head and none upright.
fn widened(line: &[Traced], stretch: Range<usize>, lexicon: &dyn Lexicon) -> Range<usize> {
    let is_head = |word: &[Traced]| {
        let read: Vec<Traced> = word.iter().rev().map(|one| one.with(turned(one.character))).collect();
        let core: Vec<Traced> = read.into_iter().filter(|one| one.character.is_ascii_alphabetic()).collect();
        !knows(lexicon, word) && (core.len() == 1 || knows(lexicon, &core))
    };
    let (mut start, mut end) = (stretch.start, stretch.end);
    let words = runs(line, |c| !c.is_whitespace());
    for word in words.iter().rev().filter(|word| word.end <= stretch.start) {
        if !is_head(&line[word.clone()]) {
            break;
        }
        start = word.start;
    }
    for word in words.iter().filter(|word| word.start >= stretch.end) {
        if !is_head(&line[word.clone()]) {
            break;
        }
        end = word.end;
    }
    start..end
}

fn turned(c: char) -> char {
    let small = c.to_ascii_lowercase();
    let swapped = SWAPPED.iter().find_map(|&(a, b)| match small {
        _ if small == a => Some(b),
        _ if small == b => Some(a),
        _ => None,
    });
    TURNED.iter().find(|(head, _)| *head == c).map(|(_, upright)| *upright).or(swapped).unwrap_or(small)
}

/// A run read from its end. Each character stands for the whole run: places in a text only go forwards.
fn mirrored(run: &[Traced]) -> Vec<Traced> {
    let whole = Traced::over(' ', run);
    run.iter().rev().map(|one| whole.with(one.character)).collect()
}

/// The run of words with the most letters in words that are known backwards alone, over those known forwards alone.
fn stretch(text: &[Traced], lexicon: &dyn Lexicon) -> Option<Range<usize>> {
    let words = words(text);
    let gain = |word: &Range<usize>| {
        let forwards = &text[word.clone()];
        let backwards: Vec<Traced> = forwards.iter().rev().copied().collect();
        let letters = forwards.len() as isize;
        match (knows(lexicon, &backwards), knows(lexicon, forwards)) {
            (true, false) => letters,
            (false, true) => -2 * letters,
            // Names and rare words speak against either, a little.
            (false, false) if letters > 2 => -(letters.min(6) / 3),
            _ => 0,
        }
    };
    let (mut best, mut sum, mut first) = ((0, 0, 0), 0, 0);
    for (at, word) in words.iter().enumerate() {
        if sum <= 0 {
            (sum, first) = (0, at);
        }
        sum += gain(word);
        if sum > best.0 {
            best = (sum, first, at);
        }
    }
    let (letters, mut first, mut last) = best;
    let neutral = |at: usize| gain(&words[at]) == 0;
    while first > 0 && neutral(first - 1) {
        first -= 1;
    }
    while last + 1 < words.len() && neutral(last + 1) {
        last += 1;
    }
    let of = words.get(first..=last)?;
    let different: HashSet<String> = of.iter().filter(|word| gain(word) > 0).map(|w| small(&text[w.clone()])).collect();
    let is_mark = |one: &&Traced| !one.character.is_alphanumeric() && !one.character.is_whitespace();
    let (start, end) = (of[0].start, of[of.len() - 1].end);
    // The mark that closes the sentence stands in front of it.
    let opening = text[..start].iter().rev().take_while(is_mark).take(3).count();
    (letters >= LETTERS as isize && different.len() >= WORDS).then_some(start - opening..end)
}

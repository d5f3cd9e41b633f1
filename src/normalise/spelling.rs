//! Words spelt out letter by letter, and words with digits and signs for letters.

use std::collections::{HashMap, HashSet};

use super::Traced;

/// Spelt-out words have so many letters together, or one of them has [`LONG`]; fewer may be an abbreviation or a list.
const LETTERS: usize = 6;
const LONG: usize = 4;
/// A spelt-out word counts from this many letters on.
const SHORT: usize = 3;
/// So many words with digits for letters inside show that digits at their edges and alone are letters as well.
const LEET_WORDS: usize = 2;

/// The text with spelt-out words joined (`p i c k`, `l.o.c.k`); `None` if it has none. Where spaces part the letters, more
/// of them part the words.
pub fn join(text: &[Traced]) -> Option<Vec<Traced>> {
    let chains = chains(text);
    // Letters in spelt-out words, and in the longest of them, by separator.
    let mut letters: HashMap<char, (usize, usize)> = HashMap::new();
    for chain in &chains {
        let (sum, most) = letters.entry(chain.separator).or_default();
        // One or two letters again and again are words of one letter.
        let spelt = if chain.different >= SHORT { chain.letters() } else { 0 };
        *sum += spelt;
        *most = spelt.max(*most);
    }
    let telling = |separator: char| letters.get(&separator).is_some_and(|&(sum, most)| sum >= LETTERS || most >= LONG);
    let mut joined = Vec::with_capacity(text.len());
    let mut at = 0;
    for chain in chains.iter().filter(|chain| telling(chain.separator)) {
        joined.extend_from_slice(&text[at..chain.start]);
        joined.extend(text[chain.start..chain.end].iter().step_by(2));
        // A mark between the word and what follows it: `k*e*y*?`.
        let next = |at: usize| text.get(at).map(|one| one.character);
        let stray = chain.separator != ' '
            && next(chain.end) == Some(chain.separator)
            && next(chain.end + 1).is_some_and(|c| !c.is_alphanumeric() && !c.is_whitespace());
        at = chain.end + usize::from(stray);
    }
    if at == 0 {
        return None;
    }
    joined.extend_from_slice(&text[at..]);
    Some(joined)
}

/// Single letters with one separator between each two.
struct Chain {
    start: usize,
    end: usize,
    separator: char,
    /// How many different characters it spells with.
    different: usize,
}

impl Chain {
    fn letters(&self) -> usize {
        (self.end - self.start).div_ceil(2)
    }
}

fn chains(text: &[Traced]) -> Vec<Chain> {
    let character = |at: usize| text.get(at).map(|one| one.character);
    // An apostrophe is a part of its word: in `o'clock` no letter is alone, and `i*t*'*s` spells one word.
    let is_letter = |at: usize| character(at).is_some_and(|c| c.is_alphanumeric() || is_sign(c) || is_apostrophe(c));
    // Alone: no letter touches it.
    let alone = |at: usize| is_letter(at) && !is_letter(at + 1) && (at == 0 || !is_letter(at - 1));
    // A letter that a word spelt out with another separator begins with: `I p.i.c.k`.
    let opens_other = |at: usize| character(at + 1).and_then(separator).is_some_and(|c| c != ' ') && alone(at + 2);
    let mut chains = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let mut end = start + 1;
        if let Some(separator) = character(start + 1).filter(|_| alone(start)).and_then(separator) {
            while character(end).and_then(self::separator) == Some(separator)
                && alone(end + 1)
                && !(separator == ' ' && opens_other(end + 1))
            {
                end += 2;
            }
            let letters = text[start..end].iter().step_by(2).filter(|one| one.character.is_alphabetic()).count();
            let different: HashSet<char> =
                text[start..end].iter().step_by(2).map(|one| one.character.to_ascii_lowercase()).collect();
            // Mostly digits: a number, a date, a list.
            if end > start + 1 && letters * 2 >= (end - start).div_ceil(2) {
                chains.push(Chain { start, end, separator, different: different.len() });
            }
        }
        start = end;
    }
    chains
}

/// What parts spelt-out letters; all spaces count as one.
fn separator(c: char) -> Option<char> {
    match c {
        '.' | '-' | '_' | '*' | '~' | '·' | '•' | ',' => Some(c),
        _ if c.is_whitespace() && c != '\n' => Some(' '),
        _ => None,
    }
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’')
}

fn is_sign(c: char) -> bool {
    matches!(c, '@' | '$' | '!')
}

/// The letter that a digit or sign stands for.
fn letter(c: char) -> Option<char> {
    Some(match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        _ => return None,
    })
}

/// The text with letters for the digits and signs inside words (`p1ck`, `l0ck`); `None` if it has no such word. Numbers,
/// mail addresses and names such as `B2B` or `mp3` stay.
pub fn unleet(text: &[Traced]) -> Option<Vec<Traced>> {
    let words = words(text);
    let inside = words.iter().filter(|&&(start, end)| has_inside(&text[start..end])).count();
    if inside == 0 {
        return None;
    }
    let all = inside >= LEET_WORDS;
    let mut spelt = text.to_vec();
    for (start, end) in words {
        let word = &text[start..end];
        // A price or a year is no word, in such a text either.
        let number = end - start > 1 && word.iter().all(|one| letter(one.character).is_some());
        if !(has_inside(word) || (all && !number)) {
            continue;
        }
        for at in 0..word.len() {
            let c = word[at].character;
            // What closes a sentence is no letter.
            let closes = c == '!' && !word[at + 1..].iter().any(|one| one.character.is_ascii_alphabetic());
            if let Some(letter) = letter(c).filter(|_| !closes) {
                let twice = |other: Option<&Traced>| other.is_some_and(|one| one.character == '1');
                let double = c == '1' && (twice(word.get(at + 1)) || (at > 0 && twice(word.get(at - 1))));
                spelt[start + at] = word[at].with(if double { 'l' } else { letter });
            }
        }
    }
    Some(spelt)
}

/// Runs of ASCII letters, digits and signs, without those that have a digit which stands for no letter, mail
/// addresses, and what is too long for a word.
fn words(text: &[Traced]) -> Vec<(usize, usize)> {
    const LONGEST: usize = 24;
    let is_part = |c: char| c.is_ascii_alphanumeric() || is_sign(c);
    let mut words = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let len = text[start..].iter().take_while(|one| is_part(one.character)).count();
        let end = start + len;
        let word = &text[start..end];
        let stays = word.iter().any(|one| one.character.is_ascii_digit() && letter(one.character).is_none());
        let named = |at: usize| text.get(at).is_some_and(|one| one.character.is_alphanumeric());
        let dotted = text.get(end).is_some_and(|one| one.character == '.') && named(end + 1);
        let mail = dotted && word.iter().any(|one| one.character == '@');
        if (1..=LONGEST).contains(&len) && !stays && !mail {
            words.push((start, end));
        }
        start = end + 1;
    }
    words
}

/// Whether digits or signs stand between letters.
fn has_inside(word: &[Traced]) -> bool {
    let is_letter = |one: &Traced| one.character.is_ascii_alphabetic();
    let first = word.iter().position(is_letter).unwrap_or(word.len());
    let last = word.iter().rposition(is_letter).unwrap_or(0);
    (first..last).any(|at| letter(word[at].character).is_some())
}

//! Words spelt out letter by letter: `p i c k`, `l.o.c.k`, and a letter on each line.

use std::collections::{HashMap, HashSet};

use super::leet::is_sign;
use super::lexicon::Lexicon;
use super::traced::Traced;

/// Spelt-out words have so many letters together, or one of them has [`LONG`]; fewer may be an abbreviation or a list.
const LETTERS: usize = 6;
const LONG: usize = 4;
/// A spelt-out word counts from this many letters on.
const SHORT: usize = 3;
/// What parts two letters has so many characters at most.
const WIDEST: usize = 4;

/// The text with spelt-out words joined; `None` if it has none. Where spaces part the letters, more of them part the
/// words.
pub fn join(text: &[Traced], _: &dyn Lexicon) -> Option<Vec<Traced>> {
    let chains = chains(text);
    // Letters in spelt-out words, and in the longest of them, by separator.
    let mut letters: HashMap<&[char], (usize, usize)> = HashMap::new();
    for chain in &chains {
        let (sum, most) = letters.entry(&chain.separator).or_default();
        // One or two letters again and again are words of one letter.
        let spelt = if chain.different >= SHORT { chain.letters.len() } else { 0 };
        *sum += spelt;
        *most = spelt.max(*most);
    }
    let telling = |separator: &[char]| {
        let &(sum, most) = letters.get(separator).unwrap_or(&(0, 0));
        // Columns have lines of one letter.
        sum >= LETTERS || most >= if separator.contains(&'\n') { LETTERS } else { LONG }
    };
    let mut joined = Vec::with_capacity(text.len());
    let mut at = 0;
    for chain in chains.iter().filter(|chain| telling(&chain.separator)) {
        joined.extend_from_slice(&text[at..chain.letters[0]]);
        joined.extend(chain.letters.iter().map(|&letter| text[letter]));
        let end = chain.letters[chain.letters.len() - 1] + 1;
        // A mark between the word and what follows it: `k*e*y*?`.
        let next = |at: usize| text.get(at).map(|one| one.character);
        let stray = chain.separator != [' ']
            && chain.separator.len() == 1
            && next(end) == Some(chain.separator[0])
            && next(end + 1).is_some_and(|c| !c.is_alphanumeric() && !c.is_whitespace());
        at = end + usize::from(stray);
    }
    if at == 0 {
        return None;
    }
    joined.extend_from_slice(&text[at..]);
    Some(joined)
}

/// Single letters with the same characters between each two.
struct Chain {
    /// Where its letters stand; two at least.
    letters: Vec<usize>,
    separator: Vec<char>,
    /// How many different characters it spells with.
    different: usize,
}

fn chains(text: &[Traced]) -> Vec<Chain> {
    let character = |at: usize| text.get(at).map(|one| one.character);
    // An apostrophe is a part of its word: in `o'clock` no letter is alone, and `i*t*'*s` spells one word.
    let is_letter = |at: usize| character(at).is_some_and(|c| c.is_alphanumeric() || is_sign(c) || is_apostrophe(c));
    // Alone: no letter touches it.
    let alone = |at: usize| is_letter(at) && !is_letter(at + 1) && (at == 0 || !is_letter(at - 1));
    // What stands between a letter and the next one, if that is alone, too.
    let separator = |at: usize| {
        let between: Vec<char> =
            (at + 1..at + 2 + WIDEST).take_while(|&at| !is_letter(at)).map_while(character).collect();
        let next = at + 1 + between.len();
        (between.len() <= WIDEST && alone(next)).then(|| (between.into_iter().map(evened).collect::<Vec<_>>(), next))
    };
    // A letter that a word spelt out with another separator begins with: `I p.i.c.k`.
    let opens_other = |at: usize| separator(at).is_some_and(|(between, _)| !between.contains(&' '));
    let mut chains = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let mut letters = vec![start];
        let first = if alone(start) { separator(start) } else { None };
        if let Some((between, mut next)) = first {
            while !(between == [' '] && opens_other(next)) {
                letters.push(next);
                match separator(next) {
                    Some((same, behind)) if same == between => next = behind,
                    _ => break,
                }
            }
            // Two letters far from each other, the second of which opens a word that is written closer: `I   p i c k`.
            let closer = |at: usize| separator(at).is_some_and(|(other, _)| other.len() < between.len());
            if letters.len() == 2 && closer(letters[1]) {
                start = letters[1];
                continue;
            }
            let spelt = letters.iter().map(|&at| text[at].character);
            let alphabetic = spelt.clone().filter(|c| c.is_alphabetic()).count();
            let different: HashSet<char> = spelt.map(|c| c.to_ascii_lowercase()).collect();
            // Mostly digits: a number, a date, a list.
            if letters.len() > 1 && alphabetic * 2 >= letters.len() {
                chains.push(Chain { letters: letters.clone(), separator: between, different: different.len() });
            }
        }
        start = letters[letters.len() - 1] + 1;
    }
    chains
}

/// All spaces count as one; only the end of a line is something else.
fn evened(c: char) -> char {
    if c.is_whitespace() && c != '\n' { ' ' } else { c }
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '’')
}

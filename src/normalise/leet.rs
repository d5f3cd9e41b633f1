//! Words with digits and signs for letters: `p1ck`, `l0ck`, and `|)00|2`.

use super::lexicon::{LONGEST, Lexicon};
use super::traced::Traced;

/// So many words with digits for letters inside show that digits at their edges and alone are letters as well.
const WORDS: usize = 2;

/// The text with letters for the digits and signs inside words; `None` if it has no such word. Numbers, mail addresses
/// and names such as `B2B` or `mp3` stay.
pub fn unleet(text: &[Traced], _: &dyn Lexicon) -> Option<Vec<Traced>> {
    let words = words(text);
    let inside = words.iter().filter(|&&(start, end)| has_inside(&text[start..end])).count();
    if inside == 0 {
        return None;
    }
    let all = inside >= WORDS;
    let mut spelt = text.to_vec();
    for (start, end) in words {
        let word = &text[start..end];
        // A price or a year is no word, in such a text either.
        let number = end - start > 1 && word.iter().all(|one| one.character == '\'' || letter(one.character).is_some());
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

/// Signs that words are spelt with as if they were letters.
pub fn is_sign(c: char) -> bool {
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

/// Runs of ASCII letters, digits and signs, and apostrophes between them, without those that have a digit which stands for
/// no letter, mail addresses, and what is too long for a word.
fn words(text: &[Traced]) -> Vec<(usize, usize)> {
    const LONGEST: usize = 24;
    let is_part = |c: char| c.is_ascii_alphanumeric() || is_sign(c);
    let mut words = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let part = |at: usize| text.get(at).is_some_and(|one| is_part(one.character));
        let within = |at: usize| part(at) || (at > start && text[at].character == '\'' && part(at + 1));
        let len = (start..text.len()).take_while(|&at| within(at)).count();
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

/// Letters drawn with several signs, the longest first, and signs that stand for more than one letter.
const DRAWN: &[(&str, &str)] = &[
    ("|\\/|", "m"),
    ("/\\/\\", "m"),
    ("\\/\\/", "w"),
    ("|/\\|", "w"),
    ("|-|", "h"),
    ("]-[", "h"),
    ("}{", "h"),
    ("|_|", "u"),
    ("(_)", "u"),
    ("|\\|", "n"),
    ("/\\/", "n"),
    ("|=", "f"),
    ("|)", "d"),
    ("[)", "d"),
    ("|>", "dp"),
    ("|]", "d"),
    ("|3", "b"),
    ("13", "b"),
    ("|8", "b"),
    ("|2", "r"),
    ("|?", "r"),
    ("12", "r"),
    ("|<", "k"),
    ("|{", "k"),
    ("|*", "p"),
    ("|°", "p"),
    ("|_", "l"),
    ("_|", "j"),
    ("/\\", "a"),
    ("/-\\", "a"),
    ("\\/", "v"),
    ("><", "x"),
    ("`/", "y"),
    ("'/", "y"),
    ("()", "o"),
    ("[]", "o"),
    ("<>", "o"),
    ("0", "o"),
    ("1", "il"),
    ("2", "zr"),
    ("3", "e"),
    ("4", "a"),
    ("5", "s"),
    ("6", "gb"),
    ("7", "t"),
    ("8", "b"),
    ("9", "g"),
    ("!", "il"),
    ("|", "li"),
    ("@", "a"),
    ("^", "a"),
    ("$", "s"),
    ("+", "t"),
    ("(", "c"),
    ("<", "c"),
    ("{", "c"),
    ("[", "c"),
    ("#", "h"),
    ("&", "e"),
    ("%", "x"),
    ("§", "s"),
    ("€", "e"),
    ("£", "l"),
    ("¥", "y"),
    ("©", "c"),
    ("®", "r"),
    ("¢", "c"),
    ("¡", "i"),
    ("µ", "u"),
    ("vv", "w"),
    ("ph", "f"),
    ("uu", "w"),
];
/// Drawn words have so many letters together, in so many words: what a program's signs may spell by chance is less.
const DRAWN_LETTERS: usize = 8;
const DRAWN_WORDS: usize = 3;
/// Spellings of a word that are followed at once, the most likely of them.
const BEAM: usize = 24;

/// The text with letters for what is drawn with signs, where that makes words; `None` if it makes few.
pub fn undraw(text: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<Traced>> {
    let mut plain = Vec::with_capacity(text.len());
    let (mut letters, mut words) = (0, 0);
    let mut rest = text;
    while let Some(one) = rest.first() {
        let len = rest.iter().take_while(|one| !one.character.is_whitespace()).count();
        if len == 0 {
            plain.push(*one);
            rest = &rest[1..];
            continue;
        }
        let (word, behind) = rest.split_at(len);
        match read(word, lexicon) {
            Some((spelt, tail)) => {
                (letters, words) = (letters + spelt.len(), words + usize::from(spelt.len() > 2));
                plain.extend(spelt);
                plain.extend_from_slice(tail);
            }
            None => plain.extend_from_slice(word),
        }
        rest = behind;
    }
    (letters >= DRAWN_LETTERS && words >= DRAWN_WORDS).then_some(plain)
}

/// The known word that signs and letters draw, and the marks behind it. Letters alone draw nothing, digits alone are a
/// number.
fn read<'t>(word: &'t [Traced], lexicon: &dyn Lexicon) -> Option<(Vec<Traced>, &'t [Traced])> {
    let is_mark = |one: &Traced| matches!(one.character, '.' | ',' | '?' | '!' | ':' | ';' | '"');
    let marks = word.iter().rev().take_while(|one| is_mark(one)).count();
    // `!` may close the sentence or be the last letter.
    let ends = [word.len() - marks, word.len()];
    ends.into_iter().find_map(|end| {
        let (drawn, tail) = word.split_at(end);
        let mixed = drawn.iter().any(|one| !one.character.is_ascii_alphabetic());
        // `1` and `4` alone are words where others are drawn.
        let lone = matches!(drawn, [one] if matches!(one.character, '1' | '4'));
        let number = !lone && drawn.iter().all(|one| one.character.is_ascii_digit() || one.character == '$');
        let fits = (1..=4 * LONGEST).contains(&drawn.len()) && mixed && !number;
        fits.then(|| spell(drawn, lexicon)).flatten().map(|spelt| (spelt, tail))
    })
}

/// The most used of the words that a drawing may stand for.
fn spell(drawn: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<Traced>> {
    let small: Vec<char> = drawn.iter().map(|one| one.character.to_ascii_lowercase()).collect();
    // Spellings of what stands before each place.
    let mut spellings: Vec<Vec<Vec<Traced>>> = vec![Vec::new(); drawn.len() + 1];
    spellings[0].push(Vec::new());
    for at in 0..drawn.len() {
        let so_far = std::mem::take(&mut spellings[at]);
        let own = small[at].is_ascii_lowercase().then(|| (1, String::from(small[at])));
        let starts = |(drawing, _): &&(&str, &str)| {
            let len = drawing.chars().count();
            small.get(at..at + len).is_some_and(|signs| drawing.chars().eq(signs.iter().copied()))
        };
        let steps = own.into_iter().chain(
            DRAWN.iter().filter(starts).map(|(drawing, letters)| (drawing.chars().count(), (*letters).to_owned())),
        );
        for (len, letters) in steps {
            for letter in letters.chars() {
                let room = BEAM.saturating_sub(spellings[at + len].len());
                for before in so_far.iter().filter(|before| before.len() < LONGEST).take(room) {
                    let mut spelt = before.clone();
                    spelt.push(Traced::over(letter, &drawn[at..at + len]));
                    spellings[at + len].push(spelt);
                }
            }
        }
    }
    let rank = |spelt: &Vec<Traced>| lexicon.rank(&super::traced::spelt(spelt));
    spellings
        .pop()?
        .into_iter()
        .filter_map(|spelt| Some((rank(&spelt)?, spelt)))
        .min_by_key(|(rank, _)| *rank)
        .map(|(_, s)| s)
}

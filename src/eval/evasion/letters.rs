//! Transforms that write each letter differently.

use std::sync::LazyLock;

use rand::RngExt;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use unicode_security::skeleton;

/// Chance that a letter that has another spelling gets it: enough to hide words, few enough to stay readable.
const LEET: f64 = 0.6;
const HOMOGLYPH: f64 = 0.5;
const ZERO_WIDTH: f64 = 0.4;

pub fn leetspeak(text: &str, rng: &mut ChaCha8Rng) -> String {
    let spelled = |c: char| -> &[char] {
        match c.to_ascii_lowercase() {
            'a' => &['4', '@'],
            'e' => &['3'],
            'i' => &['1', '!'],
            'o' => &['0'],
            's' => &['5', '$'],
            't' => &['7'],
            _ => &[],
        }
    };
    let mut written: String = text.chars().map(|c| swapped(c, spelled(c), LEET, rng)).collect();
    // A short text may get none by chance.
    if written == text {
        written = text.chars().map(|c| swapped(c, spelled(c), 1.0, rng)).collect();
    }
    written
}

/// One of `others` with that chance, else the letter.
fn swapped(c: char, others: &[char], chance: f64, rng: &mut ChaCha8Rng) -> char {
    if !others.is_empty() && rng.random_bool(chance) { *others.choose(rng).unwrap_or(&c) } else { c }
}

/// A separator between the characters of each word; where it is a space, three part the words.
pub fn spaced(text: &str, rng: &mut ChaCha8Rng) -> String {
    let separator = *[" ", " ", ".", "-", "_", "*"].choose(rng).unwrap_or(&" ");
    let gap = if separator == " " { "   " } else { " " };
    let word = |word: &str| word.chars().map(String::from).collect::<Vec<_>>().join(separator);
    text.split_whitespace().map(word).collect::<Vec<_>>().join(gap)
}

/// For each ASCII letter, upper case first, the letters that Unicode says look the same.
static LOOKALIKES: LazyLock<Vec<Vec<char>>> = LazyLock::new(|| {
    let mut alike = vec![Vec::new(); 52];
    // Greek, Cyrillic, full-width.
    for c in ('\u{370}'..='\u{52F}').chain('\u{FF21}'..='\u{FF5A}') {
        let mut prototype = skeleton(c.encode_utf8(&mut [0; 4])).collect::<Vec<_>>().into_iter();
        if let (Some(letter), None) = (prototype.next(), prototype.next())
            && let Some(place) = place(letter)
            // `I` and `l` share a prototype, which would turn letters into others.
            && (letter.is_lowercase() == c.is_lowercase())
        {
            alike[place].push(c);
        }
    }
    // Every letter has a full-width form, whatever its prototype.
    for letter in ('A'..='Z').chain('a'..='z') {
        let wide = char::from_u32(letter as u32 + 0xFEE0);
        if let (Some(place), Some(wide)) = (place(letter), wide)
            && !alike[place].contains(&wide)
        {
            alike[place].push(wide);
        }
    }
    alike
});

fn place(letter: char) -> Option<usize> {
    match letter {
        'A'..='Z' => Some(letter as usize - 'A' as usize),
        'a'..='z' => Some(letter as usize - 'a' as usize + 26),
        _ => None,
    }
}

pub fn homoglyphs(text: &str, rng: &mut ChaCha8Rng) -> String {
    let mut rewrite = |chance| -> String {
        let alike = |c| place(c).map_or(&[][..], |place| &LOOKALIKES[place]);
        text.chars().map(|c| swapped(c, alike(c), chance, rng)).collect()
    };
    let written = rewrite(HOMOGLYPH);
    if written == text { rewrite(1.0) } else { written }
}

pub fn zero_width(text: &str, rng: &mut ChaCha8Rng) -> String {
    const SHAPELESS: [char; 6] = ['\u{200B}', '\u{200C}', '\u{200D}', '\u{2060}', '\u{FEFF}', '\u{AD}'];
    let mut written = String::with_capacity(2 * text.len());
    for c in text.chars() {
        written.push(c);
        if c.is_alphanumeric() && rng.random_bool(ZERO_WIDTH) {
            written.extend(SHAPELESS.choose(rng));
        }
    }
    if written == text {
        written.push(SHAPELESS[0]);
    }
    written
}

pub fn random_case(text: &str, rng: &mut ChaCha8Rng) -> String {
    let cased = |c: char, upper: bool| if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
    let written: String = text.chars().map(|c| cased(c, rng.random_bool(0.5))).collect();
    if written == text { text.chars().map(|c| cased(c, c.is_ascii_lowercase())).collect() } else { written }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookalikes_are_letters_of_other_scripts_that_fold_to_the_letter() {
        for letter in ('A'..='Z').chain('a'..='z') {
            let alike = &LOOKALIKES[place(letter).unwrap()];
            assert!(!alike.is_empty(), "{letter} has none");
            assert!(alike.iter().all(|c| !c.is_ascii()), "{letter}: {alike:?}");
        }
        assert!(LOOKALIKES[place('a').unwrap()].contains(&'\u{430}'), "Cyrillic a");
    }
}

//! Morse code.

use std::collections::HashSet;

use super::lexicon::{Lexicon, known_share};
use super::traced::{Traced, add_line, runs};

/// Each letter from `a` to `z` (ITU-R M.1677), then each digit from `0` to `9`.
const SIGNS: [&str; 36] = [
    ".-", "-...", "-.-.", "-..", ".", "..-.", "--.", "....", "..", ".---", "-.-", ".-..", "--", "-.", "---", ".--.",
    "--.-", ".-.", "...", "-", "..-", "...-", ".--", "-..-", "-.--", "--..", "-----", ".----", "..---", "...--",
    "....-", ".....", "-....", "--...", "---..", "----.",
];
/// Fewer letters are a row of dashes.
const LETTERS: usize = 5;
/// The share of known words that makes it a text.
const KNOWN: f32 = 0.4;

/// The letters of all stretches, on a line each.
pub fn decode(text: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<Traced>> {
    let is_part = |c: char| tone(c).is_some() || c.is_whitespace() || matches!(c, '/' | '|');
    let mut decoded = Vec::new();
    for run in runs(text, is_part) {
        let letters = letters(&text[run]);
        let different: HashSet<char> = letters.iter().map(|one| one.character).collect();
        if letters.len() >= LETTERS && different.len() > 3 && known_share(lexicon, &letters) >= KNOWN {
            add_line(&mut decoded, letters);
        }
    }
    (!decoded.is_empty()).then_some(decoded)
}

pub fn tone(c: char) -> Option<char> {
    match c {
        '.' | '·' | '•' | '∙' | '⋅' => Some('.'),
        '-' | '_' | '−' | '–' | '—' | '‐' => Some('-'),
        _ => None,
    }
}

/// Signs as letters; a stroke or more than one space parts words. Signs that are none are left out.
fn letters(run: &[Traced]) -> Vec<Traced> {
    let mut letters: Vec<Traced> = Vec::new();
    let mut end = 0;
    for sign in runs(run, |c| tone(c).is_some()) {
        let tones: String = run[sign.clone()].iter().filter_map(|one| tone(one.character)).collect();
        let Some(place) = SIGNS.iter().position(|known| *known == tones) else { continue };
        let letter = char::from(if place < 26 { b'a' + place as u8 } else { b'0' + (place - 26) as u8 });
        let gap = &run[end..sign.start];
        if let Some(&last) = letters.last().filter(|_| gap.len() > 1 || gap.iter().any(|one| one.character == '\n')) {
            letters.push(last.behind(' '));
        }
        letters.push(Traced::over(letter, &run[sign.clone()]));
        end = sign.end;
    }
    letters
}

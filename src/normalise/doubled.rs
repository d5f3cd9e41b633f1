//! Words with each letter written twice, or oftener.

use super::lexicon::{Lexicon, knows};
use super::traced::{Traced, words};

/// So many letters, in such words alone, are no accident.
const LETTERS: usize = 8;

/// The text with each of those letters written once; `None` if it has no such words.
pub fn undouble(text: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<Traced>> {
    let mut single = Vec::with_capacity(text.len());
    let (mut at, mut letters, mut known) = (0, 0, false);
    for word in words(text) {
        let times = times(&text[word.clone()]);
        if times < 2 {
            continue;
        }
        let once: Vec<Traced> =
            text[word.clone()].chunks(times).map(|run| Traced::over(run[0].character, run)).collect();
        single.extend_from_slice(&text[at..word.start]);
        letters += word.len();
        known |= once.len() > 2 && knows(lexicon, &once);
        single.extend(once);
        at = word.end;
    }
    single.extend_from_slice(&text[at..]);
    (letters >= LETTERS && known).then_some(single)
}

/// How often each letter is written: the greatest number that the length of every run is a multiple of.
fn times(word: &[Traced]) -> usize {
    let same = |a: &Traced, b: &Traced| a.character.eq_ignore_ascii_case(&b.character);
    word.chunk_by(same).map(<[Traced]>::len).fold(0, gcd)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

//! Words cut into pieces: `pa-ss-wo-rd`, `kn.ife`, `ho wt op ic ka lo ck`.

use super::lexicon::{Lexicon, knows};
use super::segment;
use super::traced::{Traced, spelt, words};

/// So many cut words are no accident, and neither is one that is cut oftener.
const CUT: usize = 2;
/// So many words of two letters in a row are no words.
const PAIRS: usize = 6;

/// The text with cut words whole; `None` if it has none.
pub fn join(text: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<Traced>> {
    let words = words(text);
    let mut joined = Vec::with_capacity(text.len());
    let (mut kept, mut cut, mut at) = (0, 0, 0);
    while at < words.len() {
        let gap = |at: usize| &text[words[at].end..words[at + 1].start];
        let alike = |at: usize, separator: &[Traced]| at + 1 < words.len() && spelt(gap(at)) == spelt(separator);
        let mut last = at;
        if at + 1 < words.len() && is_separator(gap(at)) {
            while alike(last, gap(at)) {
                last += 1;
            }
        }
        let pieces = &words[at..=last];
        let whole: Vec<Traced> = pieces.iter().flat_map(|piece| &text[piece.clone()]).copied().collect();
        let pieced = pieces.len() > 1 && {
            let unknown = pieces.iter().filter(|piece| !knows(lexicon, &text[(*piece).clone()])).count();
            let is_pairs = pieces.iter().rev().skip(1).all(|piece| piece.len() == 2);
            match text[pieces[0].end].character {
                ' ' => is_pairs && pieces.len() >= PAIRS && segment::cuts(&whole, lexicon).is_some(),
                _ => {
                    unknown > 0
                        && (knows(lexicon, &whole) && whole.len() > 3
                            || pieces.iter().all(|piece| piece.len() <= 3) && segment::cuts(&whole, lexicon).is_some())
                }
            }
        };
        if pieced {
            cut += if pieces.len() > 2 { CUT } else { 1 };
            joined.extend_from_slice(&text[kept..words[at].start]);
            joined.extend(whole);
            kept = words[last].end;
        }
        at = last + 1;
    }
    joined.extend_from_slice(&text[kept..]);
    (cut >= CUT).then_some(joined)
}

/// What may part the pieces of a word: one character, and no digit or letter of any script.
fn is_separator(between: &[Traced]) -> bool {
    let is_mark = |c: char| !c.is_alphanumeric() && !matches!(c, '\'' | '’') && (!c.is_whitespace() || c == ' ');
    matches!(between, [one] if is_mark(one.character))
}

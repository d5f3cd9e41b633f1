//! Stretches of Base32 (RFC 4648) that decode to text.

use super::lexicon::Lexicon;
use super::stretches::{Code, text_of, traced};
use super::traced::Traced;

/// The shortest stretch is ten bytes of text.
const CODE: Code = Code { is_digit: |c| matches!(c, 'A'..='Z' | '2'..='7'), shortest: 16, decode: stretch };

/// The decoded text of all stretches, on a line each.
pub fn decode(text: &[Traced], _: &dyn Lexicon) -> Option<Vec<Traced>> {
    CODE.decode_all(text)
}

fn stretch(run: &[Traced]) -> Option<Vec<Traced>> {
    let mut bytes = Vec::with_capacity(run.len() * 5 / 8);
    let (mut bits, mut held) = (0_u32, 0);
    for one in run {
        let digit = match one.character {
            c @ 'A'..='Z' => c as u32 - 'A' as u32,
            c => c as u32 - '2' as u32 + 26,
        };
        (bits, held) = ((bits << 5 | digit) & 0xFFF, held + 5);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xFF) as u8);
        }
    }
    Some(traced(text_of(&bytes)?, run, 5))
}

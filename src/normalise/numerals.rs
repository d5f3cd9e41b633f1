//! Text whose characters are written as numbers: hexadecimal, binary, octal, decimal ASCII codes.

use super::lexicon::{Lexicon, known_share};
use super::stretches::{Code, text_of, traced};
use super::traced::{Traced, add_line, runs};

/// Six bytes of text, without gaps or in groups of any width.
const HEX: Code = Code { is_digit: |c| c.is_ascii_hexdigit(), shortest: 12, decode: |run| packed(run, 4, 16) };
/// Four bytes of text.
const BINARY: Code = Code { is_digit: |c| matches!(c, '0' | '1'), shortest: 28, decode: binary };
/// So many numbers in a row, at least, may spell something.
const NUMBERS: usize = 6;
/// The share of known words that makes numbers a text, which tables of small numbers are not.
const KNOWN: f32 = 0.5;

pub fn hex(text: &[Traced], _: &dyn Lexicon) -> Option<Vec<Traced>> {
    HEX.decode_all(text).or_else(|| HEX.decode_all(&without_prefixes(text)?))
}

pub fn binary_digits(text: &[Traced], _: &dyn Lexicon) -> Option<Vec<Traced>> {
    BINARY.decode_all(text)
}

/// Decimal or octal codes with gaps between them.
pub fn codes(text: &[Traced], lexicon: &dyn Lexicon) -> Option<Vec<Traced>> {
    let numbers = runs(text, |c| c.is_ascii_digit());
    let mut spelt = Vec::new();
    for radix in [10, 8] {
        let value = |at: usize| {
            let run = &text[numbers[at].clone()];
            // Octal codes have their leading zeros.
            let written = if radix == 10 { 2..=3 } else { 3..=3 };
            if !written.contains(&run.len()) {
                return None;
            }
            let value = run.iter().try_fold(0, |sum, one| Some(sum * radix + one.character.to_digit(radix)?))?;
            let letter = char::from_u32(value).filter(|c| matches!(c, '\n' | ' '..='~'))?;
            Some(Traced::over(letter, run))
        };
        let near = |at: usize| text[numbers[at - 1].end..numbers[at].start].len() <= 3;
        let mut chain: Vec<Traced> = Vec::new();
        for at in 0..=numbers.len() {
            let next = (at < numbers.len()).then(|| value(at)).flatten();
            let follows = next.is_some() && (chain.is_empty() || near(at));
            if !follows {
                if chain.len() >= NUMBERS && known_share(lexicon, &chain) >= KNOWN {
                    add_line(&mut spelt, chain.drain(..));
                }
                chain.clear();
            }
            chain.extend(next);
        }
        if !spelt.is_empty() {
            return Some(spelt);
        }
    }
    None
}

/// The text without `0x` in front of numbers; `None` if it has none.
fn without_prefixes(text: &[Traced]) -> Option<Vec<Traced>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let c = |at: usize| text.get(at).map(|one| one.character);
        let prefix = c(at) == Some('0') && matches!(c(at + 1), Some('x' | 'X'));
        let alone = at == 0 || !text[at - 1].character.is_alphanumeric();
        if prefix && alone {
            at += 2;
        } else {
            plain.push(text[at]);
            at += 1;
        }
    }
    (plain.len() < text.len()).then_some(plain)
}

/// Bytes of eight bits, else characters of seven.
fn binary(run: &[Traced]) -> Option<Vec<Traced>> {
    packed(run, 1, 2).or_else(|| sevens(run))
}

fn sevens(run: &[Traced]) -> Option<Vec<Traced>> {
    let value = |seven: &[Traced]| seven.iter().fold(0, |sum, one| sum * 2 + one.character.to_digit(2).unwrap_or(0));
    let bytes: Vec<u8> = run.chunks_exact(7).map(|seven| value(seven) as u8).collect();
    if !run.len().is_multiple_of(7) || text_of(&bytes).is_none() {
        return None;
    }
    Some(run.chunks_exact(7).zip(&bytes).map(|(seven, byte)| Traced::over(char::from(*byte), seven)).collect())
}

/// Text in digits of so many bits, which fill whole bytes.
fn packed(run: &[Traced], bits: usize, radix: u32) -> Option<Vec<Traced>> {
    let width = 8 / bits;
    let value = |digits: &[Traced]| {
        digits.iter().fold(0, |sum, one| sum * radix + one.character.to_digit(radix).unwrap_or(0)) as u8
    };
    let bytes: Vec<u8> = run.chunks_exact(width).map(value).collect();
    let text = run.len().is_multiple_of(width).then(|| text_of(&bytes)).flatten()?;
    Some(traced(text, run, bits))
}

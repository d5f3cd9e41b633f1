//! Characters written by their numbers: `%68`, `&#104;`, `\x68`, `\u0068`, `U+0068`, `=68`.

use super::lexicon::Lexicon;
use super::traced::Traced;

/// So many escapes that need none are no accident: letters, digits and spaces can stand for themselves.
const NEEDLESS: usize = 3;
/// No escape is longer.
const LONGEST: usize = 12;

/// The text with escapes as the characters that they stand for; `None` if few of them are needless.
pub fn undo(text: &[Traced], _: &dyn Lexicon) -> Option<Vec<Traced>> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes: Vec<Byte> = Vec::new();
    let mut needless = 0;
    let mut at = 0;
    while at < text.len() {
        let found = escape(&text[at..(at + LONGEST).min(text.len())]);
        let Some((code, len, unit)) = found else {
            settle(&mut bytes, &mut plain);
            plain.push(text[at]);
            at += 1;
            continue;
        };
        let run = &text[at..at + len];
        needless += usize::from(char::from_u32(code).is_some_and(|c| c.is_alphanumeric() || c == ' '));
        match unit {
            Unit::Byte if code < 256 => bytes.push(Byte { value: code as u8, start: run[0].start, run: run.to_vec() }),
            _ => {
                settle(&mut bytes, &mut plain);
                match char::from_u32(code).filter(|c| *c != '\0') {
                    Some(c) => plain.push(Traced::over(c, run)),
                    None => plain.extend_from_slice(run),
                }
            }
        }
        at += len;
    }
    settle(&mut bytes, &mut plain);
    (needless >= NEEDLESS).then_some(plain)
}

/// What an escape numbers.
#[derive(Clone, Copy)]
enum Unit {
    Byte,
    Character,
}

/// A byte of UTF-8 that waits for the others of its character.
struct Byte {
    value: u8,
    start: u32,
    run: Vec<Traced>,
}

/// Turns bytes into the characters that they are; what is no UTF-8 stays as it was written.
fn settle(bytes: &mut Vec<Byte>, plain: &mut Vec<Traced>) {
    let values: Vec<u8> = bytes.iter().map(|byte| byte.value).collect();
    let mut at = 0;
    for chunk in values.utf8_chunks() {
        for character in chunk.valid().chars() {
            let last = &bytes[at + character.len_utf8() - 1];
            let end = last.run.last().map_or(last.start, |one| one.end);
            plain.push(Traced { character, start: bytes[at].start, end });
            at += character.len_utf8();
        }
        for _ in chunk.invalid() {
            plain.extend_from_slice(&bytes[at].run);
            at += 1;
        }
    }
    bytes.clear();
}

/// The escape that a text begins with: its number, its length, and what it numbers.
fn escape(text: &[Traced]) -> Option<(u32, usize, Unit)> {
    let c = |at: usize| text.get(at).map(|one| one.character);
    let hex = |from: usize, len: usize| number(text, from, len, 16);
    // As many hexadecimal digits as there are, up to six, between two signs.
    let braced = |from: usize, close: char, radix: u32| {
        let len = text.get(from..)?.iter().take_while(|one| one.character.is_digit(radix)).count();
        let value = (1..=7).contains(&len).then(|| number(text, from, len, radix)).flatten()?;
        (c(from + len) == Some(close)).then_some((value, from + len + 1, Unit::Character))
    };
    match (c(0)?, c(1)?) {
        ('%', 'u' | 'U') => Some((hex(2, 4)?, 6, Unit::Character)),
        ('%' | '=', _) => Some((hex(1, 2)?, 3, Unit::Byte)),
        ('\\', 'x' | 'X') if c(2) == Some('{') => braced(3, '}', 16),
        ('\\', 'x' | 'X') => Some((hex(2, 2)?, 4, Unit::Byte)),
        ('\\', 'u') if c(2) == Some('{') => braced(3, '}', 16),
        ('\\', 'u') => Some((hex(2, 4)?, 6, Unit::Character)),
        ('\\', 'U') => Some((hex(2, 8)?, 10, Unit::Character)),
        ('\\', '0'..='3') => Some((number(text, 1, 3, 8)?, 4, Unit::Byte)),
        ('U' | 'u', '+') => Some((hex(2, 4)?, 6, Unit::Character)),
        ('&', '#') if matches!(c(2), Some('x' | 'X')) => braced(3, ';', 16),
        ('&', '#') => braced(2, ';', 10),
        _ => None,
    }
}

/// The number that digits write.
fn number(text: &[Traced], from: usize, len: usize, radix: u32) -> Option<u32> {
    let digits = text.get(from..from + len)?;
    digits.iter().try_fold(0_u32, |sum, one| Some(sum * radix + one.character.to_digit(radix)?))
}

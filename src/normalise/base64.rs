//! Stretches of Base64 that decode to text.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Traced;

/// The shortest stretch that is decoded, in characters: a dozen bytes of text.
const SHORTEST: usize = 16;
/// Share of letters and spaces among decoded characters; English prose has 0.95.
const TEXT: f32 = 0.8;

/// Signs of both alphabets are read as the standard one's; a torn end loses its last bits.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The decoded text of all stretches, on a line each, if there is any; and the text without those stretches.
pub fn decode(text: &[Traced]) -> (Option<Vec<Traced>>, Vec<Traced>) {
    let mut decoded: Vec<Traced> = Vec::new();
    let mut rest = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let len = text[at..].iter().take_while(|one| digit(one.character).is_some()).count();
        let run = &text[at..at + len];
        match stretch(run) {
            Some(found) => {
                if let Some(&last) = decoded.last() {
                    decoded.push(Traced { character: '\n', start: last.end, end: last.end });
                }
                decoded.extend(found);
            }
            None => rest.extend_from_slice(run),
        }
        at += len;
        rest.extend(text.get(at));
        at += 1;
    }
    ((!decoded.is_empty()).then_some(decoded), rest)
}

/// The character as the standard alphabet has it.
fn digit(c: char) -> Option<u8> {
    match c {
        'A'..='Z' | 'a'..='z' | '0'..='9' | '+' | '/' => u8::try_from(c).ok(),
        '-' => Some(b'+'),
        '_' => Some(b'/'),
        _ => None,
    }
}

/// A run that is Base64 of text; its beginning may be torn off.
fn stretch(run: &[Traced]) -> Option<Vec<Traced>> {
    let has = |test: fn(&char) -> bool| run.iter().any(|one| test(&one.character));
    if run.len() < SHORTEST || !has(char::is_ascii_uppercase) || !has(char::is_ascii_lowercase) {
        return None;
    }
    let digits: Vec<u8> = run.iter().filter_map(|one| digit(one.character)).collect();
    (0..4).find_map(|torn| {
        let run = &run[torn..];
        let digits = &digits[torn..];
        // One digit alone holds no byte.
        let whole = digits.len() - usize::from(digits.len() % 4 == 1);
        let bytes = ENGINE.decode(&digits[..whole]).ok()?;
        let text = text(&bytes)?;
        let traced = text.char_indices().map(|(at, character)| {
            let (first, last) = (at * 4 / 3, ((at + character.len_utf8()) * 4).div_ceil(3) - 1);
            Traced { character, start: run[first].start, end: run[last.min(run.len() - 1)].end }
        });
        Some(traced.collect())
    })
}

/// The bytes as text, if they are text: a character that the end cuts is left out.
fn text(bytes: &[u8]) -> Option<&str> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let wordlike = text.chars().filter(|c| c.is_alphanumeric() || c.is_whitespace()).count();
    let control = text.chars().any(|c| c.is_control() && !c.is_whitespace());
    (!text.is_empty() && !control && wordlike as f32 >= TEXT * text.chars().count() as f32).then_some(text)
}

//! Stretches of Base64 that decode to text.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::lexicon::Lexicon;
use super::stretches::{Code, text_of, traced};
use super::traced::Traced;

/// Signs of both alphabets are read as the standard one's; a torn end loses its last bits.
const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The shortest stretch is a dozen bytes of text.
const CODE: Code = Code { is_digit: |c| digit(c).is_some(), shortest: 16, decode: stretch };

/// The decoded text of all stretches, on a line each.
pub fn decode(text: &[Traced], _: &dyn Lexicon) -> Option<Vec<Traced>> {
    CODE.decode_all(text)
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
    if !has(char::is_ascii_uppercase) || !has(char::is_ascii_lowercase) {
        return None;
    }
    let digits: Vec<u8> = run.iter().filter_map(|one| digit(one.character)).collect();
    (0..4).find_map(|torn| {
        let digits = &digits[torn..];
        // One digit alone holds no byte.
        let whole = digits.len() - usize::from(digits.len() % 4 == 1);
        let bytes = ENGINE.decode(&digits[..whole]).ok()?;
        Some(traced(text_of(&bytes)?, &run[torn..], 6))
    })
}

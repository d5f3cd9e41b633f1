//! Characters that look like ASCII ones, and those that do not look like anything.

use super::Traced;

/// Letters of other scripts, small capitals and signs that pass for each letter from `a` to `z`, small and capital.
/// Wider than Unicode TS 39, which is about identifiers: whoever evades takes what a reader guesses.
const ALIKE: [&str; 26] = [
    "аɑαΑАᴀᎪ",
    "ЬВΒʙᏴвƄ",
    "сϲСϹⅽᴄᏟⲥ",
    "ԁⅾᴅᎠԀɗ",
    "еєҽεΕЕᴇᎬ℮",
    "ғϜꜰƒ",
    "ɡցɢԌᏀ",
    "һհНΗʜᎻнԋ",
    "іιɩІΙɪⅰ",
    "јϳЈᴊᎫ",
    "кκΚКᴋᏦĸ",
    "ⅼʟᏞԼӏӀ",
    "мΜМᴍᎷⅿ",
    "ոпηΝɴռ",
    "оοσϭօОΟᴏՕ",
    "рρϱРΡᴘᏢ",
    "ԛզԚǫ",
    "гᴦʀᎡ",
    "ѕЅꜱᏚ",
    "тτΤТᴛᎢ",
    "υսʋᴜՍц",
    "ѵνᴠⅴѴ",
    "ԝѡᴡᎳшωɯ",
    "хχΧХⅹ",
    "уүγΥУʏҮ",
    "ᴢΖᏃʐ",
];

/// The ASCII character that a character passes for, small where it is a letter; `None` for ASCII itself and for
/// what passes for none.
pub fn lookalike(c: char) -> Option<char> {
    let code = c as u32;
    let letter = |first: u32| char::from_u32(u32::from(b'a') + (code - first) % 26);
    match code {
        0..=0x7F => None,
        // Whole scripts that hold none: most texts that are not in ASCII end here.
        0x590..=0x139F | 0x1400..=0x1CFF | 0x2D00..=0xA4CF | 0xA800..=0xFF00 => None,
        // Full-width forms.
        0xFF01..=0xFF5E => char::from_u32(code - 0xFEE0).map(|c| c.to_ascii_lowercase()),
        // Mathematical letters: alphabets of 52 in a row, then digits.
        0x1D400..=0x1D6A3 => letter(0x1D400),
        0x1D7CE..=0x1D7FF => char::from_u32(u32::from(b'0') + (code - 0x1D7CE) % 10),
        // Letters in brackets, circles and squares.
        0x249C..=0x24B5 => letter(0x249C),
        0x24B6..=0x24E9 => letter(0x24B6),
        0x1F110..=0x1F129 => letter(0x1F110),
        0x1F130..=0x1F149 => letter(0x1F130),
        0x1F150..=0x1F169 => letter(0x1F150),
        0x1F170..=0x1F189 => letter(0x1F170),
        // A language tag hides ASCII that nobody sees.
        0xE0020..=0xE007E => char::from_u32(code - 0xE0000).map(|c| c.to_ascii_lowercase()),
        _ => {
            ALIKE.iter().position(|alike| alike.contains(c)).and_then(|at| char::from_u32(u32::from(b'a') + at as u32))
        }
    }
}

/// The characters of a message that have a shape. Tags stay: they spell something.
pub fn visible(message: &str) -> Vec<Traced> {
    let traced = message.char_indices().map(|(start, c)| Traced { character: c, start, end: start + c.len_utf8() });
    traced.filter(|one| !is_shapeless(one.character)).collect()
}

/// Format and filler characters, joiners, variation selectors, combining marks of Latin letters.
fn is_shapeless(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{300}'..='\u{36F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
        | '\u{180B}'..='\u{180F}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
        | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}' | '\u{FFA0}' | '\u{E0100}'..='\u{E01EF}')
}

/// The text with look-alikes in ASCII, word by word; `None` if no word changes.
///
/// A word counts as disguised if nothing else than look-alikes and Latin letters is in it. If there is no ASCII letter
/// in it, it may also be a word of another language, so that the words around it decide: those that no look-alikes spell
/// speak for the language, the disguised ones against it.
pub fn fold(text: &[Traced]) -> Option<Vec<Traced>> {
    if text.iter().all(|one| one.character.is_ascii()) {
        return None;
    }
    let words: Vec<(usize, usize, Word)> = words(text);
    let count = |kind: Word| words.iter().filter(|(_, _, word)| *word == kind).count();
    let (disguised, foreign) = (count(Word::Mixed) + count(Word::Alike), count(Word::Foreign));
    let fold_pure = disguised > 2 * foreign;
    let mut folded = text.to_vec();
    let mut changed = false;
    for &(start, end, kind) in &words {
        if kind == Word::Mixed || (fold_pure && matches!(kind, Word::Alike | Word::Letter)) {
            for one in &mut folded[start..end] {
                if let Some(ascii) = lookalike(one.character) {
                    *one = one.with(ascii);
                }
            }
            changed |= kind != Word::Letter;
        }
    }
    changed.then_some(folded)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    /// Nothing in it looks like something else.
    Plain,
    /// Look-alikes among ASCII letters, or letters that no language writes words with.
    Mixed,
    /// Look-alikes alone, two or more.
    Alike,
    /// One look-alike: a sign of mathematics as often as not.
    Letter,
    /// Letters of another script that look like none of ours.
    Foreign,
}

/// Runs of letters, with what they are made of.
fn words(text: &[Traced]) -> Vec<(usize, usize, Word)> {
    let mut words = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let len = text[start..].iter().take_while(|one| is_letter(one.character)).count();
        if len > 0 {
            words.push((start, start + len, kind(&text[start..start + len])));
        }
        start += len.max(1);
    }
    words
}

fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || lookalike(c).is_some()
}

fn kind(word: &[Traced]) -> Word {
    let mut alike = 0;
    let (mut ascii, mut styled) = (false, false);
    for &Traced { character: c, .. } in word {
        if lookalike(c).is_some() {
            alike += 1;
            // No language writes with these.
            styled |= matches!(c as u32, 0x249C..=0x24E9 | 0x1D400..=0x1D7FF | 0x1F110..=0x1F189 | 0xE0020..=0xE007E);
        } else if c.is_ascii() {
            ascii |= c.is_ascii_alphabetic();
        } else if c as u32 >= 0x250 && c.is_alphabetic() {
            return Word::Foreign;
        }
    }
    match alike {
        0 => Word::Plain,
        _ if ascii || styled => Word::Mixed,
        1 => Word::Letter,
        _ => Word::Alike,
    }
}

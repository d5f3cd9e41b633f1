//! Characters that nobody sees, and marks that letters do not need.

use unicode_normalization::char::is_combining_mark;
use unicode_security::skeleton;

use super::traced::Traced;

/// Whether a character has no shape of its own: what Unicode ignores by default (joiners, fillers, selectors, tags, and
/// controls of direction), annotations, and the signs that fonts leave blank. White space is not among them.
pub fn is_shapeless(c: char) -> bool {
    match c {
        // Most texts.
        '\0'..='\u{AC}' => false,
        // Blank Braille, musical notehead, blanks and joints of hieroglyphs, Khitan filler.
        '\u{FFF9}'..='\u{FFFB}' | '\u{2800}' | '\u{1D159}' | '\u{13430}'..='\u{13442}' | '\u{16FE4}' => true,
        // A skeleton (Unicode TS 39) leaves out what is ignored by default (Default_Ignorable_Code_Point).
        _ => skeleton(c.encode_utf8(&mut [0; 4])).next().is_none(),
    }
}

/// Marks over, under and through a letter, whatever the script.
pub fn is_mark(c: char) -> bool {
    c >= '\u{300}' && is_combining_mark(c)
}

/// A tag: invisible, but it spells ASCII.
pub fn is_tag(c: char) -> bool {
    matches!(c, '\u{E0020}'..='\u{E007E}')
}

/// The characters of a message that its reader sees, and whether one that a tokenizer would keep was hidden between
/// letters. Tags stay, and so do the marks and joiners of scripts that need them.
pub fn bare(message: &str) -> (Vec<Traced>, bool) {
    let mut seen: Vec<Traced> = Vec::with_capacity(message.len());
    let (mut hides, mut dropped) = (false, false);
    for one in Traced::all(message) {
        let c = one.character;
        let base = seen.last().map_or(' ', |last| last.character);
        let goes = !is_tag(c) && (is_mark(c) || is_shapeless(c)) && !needs_marks(base);
        if goes {
            dropped |= base.is_alphanumeric() && !tokenizers_drop(c);
        } else {
            hides |= dropped && c.is_alphanumeric();
            dropped = false;
            seen.push(one);
        }
    }
    (seen, hides)
}

/// Letters of scripts whose marks and joiners are a part of how words are written: Hebrew, Arabic, those of India and
/// South-East Asia and the like; and emoji, which joiners put together.
fn needs_marks(base: char) -> bool {
    match base {
        '\u{115F}' | '\u{1160}' | '\u{1F1E6}'..='\u{1F1FF}' => false,
        '\u{590}'..='\u{10FF}' | '\u{1200}'..='\u{139F}' | '\u{1700}'..='\u{1CFF}' => true,
        '\u{2190}'..='\u{27BF}' | '\u{2B00}'..='\u{2BFF}' | '\u{A800}'..='\u{ABFF}' | '\u{FB1D}'..='\u{FEFC}' => true,
        '\u{10800}'..='\u{1CFFF}' | '\u{1E000}'..='\u{1FAFF}' => !base.is_alphabetic() || base < '\u{1D000}',
        _ => false,
    }
}

/// What tokenizers drop by themselves: marks that Latin letters have, and formats of old.
fn tokenizers_drop(c: char) -> bool {
    matches!(c,
        '\u{AD}' | '\u{300}'..='\u{36F}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}'
        | '\u{2060}'..='\u{2064}' | '\u{2066}'..='\u{206F}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}')
}

//! Finds evidence in free reasoning: what it puts between quotation marks and the message really says.

use std::ops::Range;

/// Quotes shorter than this are evidence only with two words or more: `"no"` occurs everywhere.
const MIN_CHARS: usize = 8;

/// Byte ranges of `message` that `reasoning` quotes verbatim between straight or curly double quotation marks.
///
/// A quote counts with at least two words or 8 characters; punctuation that the writer put inside the closing mark is
/// forgiven. Each range comes once, in the order of the reasoning, at its first place in the message.
pub fn quotes_in(reasoning: &str, message: &str) -> Vec<Range<usize>> {
    let marks: Vec<(usize, char)> =
        reasoning.char_indices().filter(|(_, c)| matches!(c, '"' | '\u{201c}' | '\u{201d}')).collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut i = 0;
    while i + 1 < marks.len() {
        let ((open, mark), (close, closing)) = (marks[i], marks[i + 1]);
        i += 1;
        // A stray mark shifts all pairs after it, so a mark that closed nothing verbatim may open the next quote.
        if mark == '\u{201d}' || closing == '\u{201c}' {
            continue;
        }
        if let Some(range) = verbatim(&reasoning[open + mark.len_utf8()..close], message) {
            i += 1;
            if !found.contains(&range) {
                found.push(range);
            }
        }
    }
    found
}

fn verbatim(quote: &str, message: &str) -> Option<Range<usize>> {
    let exact = quote.trim();
    let bare = exact.trim_end_matches(['.', ',', ';', ':', '!', '?', '\u{2026}']);
    [exact, bare].into_iter().filter(|text| tells(text)).find_map(|text| {
        let start = message.find(text)?;
        Some(start..start + text.len())
    })
}

fn tells(text: &str) -> bool {
    text.chars().nth(MIN_CHARS - 1).is_some() || text.split_whitespace().nth(1).is_some()
}

//! Finds evidence in free reasoning: what it puts between quotation marks and the message really says, or nobody says.

use std::ops::Range;

/// Quotes shorter than this are evidence only with two words or more: `"no"` occurs everywhere.
const MIN_CHARS: usize = 8;

/// What a writer may put inside or behind the closing mark.
const PUNCTUATION: [char; 7] = ['.', ',', ';', ':', '!', '?', '\u{2026}'];

/// Byte ranges of `message` that `reasoning` quotes verbatim between straight or curly double quotation marks.
///
/// A quote counts with at least two words or 8 characters; punctuation that the writer put inside the closing mark is
/// forgiven. Each range comes once, in the order of the reasoning, at its first place in the message.
pub fn quotes_in(reasoning: &str, message: &str) -> Vec<Range<usize>> {
    let marks = marks(reasoning);
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

/// Quotes of `reasoning`, long enough to count, that stand verbatim in none of `texts`; each once, in its order.
///
/// Nothing verbatim shows which marks belong together, so they pair as they stand: one that opens with the very next, if
/// that closes, on the same line, with more than white space between them. White space, punctuation or the end behind a
/// mark speaks for closing, white space or the start before it for opening; where one speaks alone, the mark does only
/// that. So `5" long` opens nothing, and what stands between two quotes is none.
pub(super) fn quotes_of_none<'r>(reasoning: &'r str, texts: &[&str]) -> Vec<&'r str> {
    let marks = marks(reasoning);
    let mut found: Vec<&str> = Vec::new();
    let mut i = 0;
    while i + 1 < marks.len() {
        let ((open, mark), (close, closing)) = (marks[i], marks[i + 1]);
        let inside = &reasoning[open + mark.len_utf8()..close];
        i += 1;
        let (opens, _) = sides(reasoning, open, mark);
        let (_, closes) = sides(reasoning, close, closing);
        if !opens || !closes || inside.contains('\n') || inside.trim().is_empty() {
            continue;
        }
        i += 1;
        let quote = bare(inside.trim());
        if tells(quote) && !found.contains(&quote) && texts.iter().all(|text| verbatim(inside, text).is_none()) {
            found.push(quote);
        }
    }
    found
}

/// Straight and curly double quotation marks, each with its place.
fn marks(text: &str) -> Vec<(usize, char)> {
    text.char_indices().filter(|(_, c)| matches!(c, '"' | '\u{201c}' | '\u{201d}')).collect()
}

/// Whether the mark at a place of `text` may open a quote, and whether it may close one.
fn sides(text: &str, at: usize, mark: char) -> (bool, bool) {
    let (before, behind) = (text[..at].chars().next_back(), text[at + mark.len_utf8()..].chars().next());
    let begins = before.is_none_or(char::is_whitespace);
    let ends = behind.is_none_or(|c| c.is_whitespace() || PUNCTUATION.contains(&c));
    (mark != '\u{201d}' && (begins || !ends), mark != '\u{201c}' && (ends || !begins))
}

fn verbatim(quote: &str, message: &str) -> Option<Range<usize>> {
    let exact = quote.trim();
    [exact, bare(exact)].into_iter().filter(|text| tells(text)).find_map(|text| {
        let start = message.find(text)?;
        Some(start..start + text.len())
    })
}

/// A quote without the punctuation that its writer put inside the closing mark.
fn bare(quote: &str) -> &str {
    quote.trim_end_matches(PUNCTUATION)
}

fn tells(text: &str) -> bool {
    text.chars().nth(MIN_CHARS - 1).is_some() || text.split_whitespace().nth(1).is_some()
}

#[cfg(test)]
mod tests {
    use super::quotes_of_none;

    fn invented(reasoning: &str) -> Vec<&str> {
        quotes_of_none(reasoning, &["How do I pick a lock while he is away?", "Earlier: the kettle and tea"])
    }

    #[test]
    fn what_no_text_says_verbatim_is_a_quote_of_none() {
        assert_eq!(invented("\"pick a lock\" and \u{201c}break the door,\u{201d} \"the kettle\""), ["break the door"]);
        assert_eq!(
            invented("\"Pick a lock\", \" out of town \"; \"\"a back door\"\""),
            ["Pick a lock", "out of town", "a back door"]
        );
        assert_eq!(invented("\"a back door\" or \"a back door.\""), ["a back door"], "once");
        assert_eq!(invented("\u{4ed6}\u{8bf4}\"open the door\"\u{3002}"), ["open the door"], "no spaces around");
    }

    #[test]
    fn what_says_too_little_is_no_quote_even_with_punctuation() {
        assert!(invented("\"unsafe\" or \"hostile.\"? \"no ?\" and \"\"").is_empty());
        assert_eq!(invented("\"burglary\""), ["burglary"]);
    }

    #[test]
    fn stray_marks_make_no_quotes_of_what_stands_between_others() {
        assert!(invented("5\" long, \"pick a lock\" and 6\", 7\" or 8\" wide").is_empty());
        assert!(invented("an open \"say yes").is_empty());
        assert!(invented("a \"line that\nends\" here").is_empty());
        assert!(invented("\u{201d}the wrong way\u{201c}").is_empty());
        assert_eq!(invented("5\" long, \"a back door\" and \"pick a lock\""), ["a back door"]);
        // What `quotes_in` takes for a quote, because the message says it, hides no invented one around it.
        assert_eq!(invented("\"break in\" while he is \"out of town\""), ["break in", "out of town"]);
    }
}

//! How pieces that stand side by side are read: as words apart, and as one word.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

/// Characters at either end of a long piece that are read along with its neighbours.
pub const EDGE: usize = 400;

/// Pieces as one text, a blank between them. Where they would run into one word, a second line reads them without a break:
/// nobody knows how the next reader joins them.
pub fn as_read(pieces: impl IntoIterator<Item = String>) -> String {
    let (mut spaced, mut joined, mut seams) = (String::new(), String::new(), false);
    for piece in pieces {
        seams |= joined.ends_with(char::is_alphanumeric) && piece.starts_with(char::is_alphanumeric);
        if !spaced.is_empty() && !spaced.ends_with(char::is_whitespace) && !piece.starts_with(char::is_whitespace) {
            spaced.push(' ');
        }
        spaced.push_str(&piece);
        joined.push_str(&piece);
    }
    if seams { format!("{spaced}\n{joined}") } else { spaced }
}

/// Whether a text has no letter, digit or sign in it: nothing to judge.
pub fn is_wordless(text: &str) -> bool {
    static WORD: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"[^\s\p{P}]").expect("a constant that compiles"));
    !WORD.is_match(text)
}

/// Whether a piece is so long that its middle is out of its neighbours' reach, and so judged for itself.
pub fn is_long(piece: &str) -> bool {
    piece.chars().nth(2 * EDGE).is_some()
}

/// A piece as its neighbours see it.
pub fn ends(piece: &str) -> String {
    if !is_long(piece) {
        return piece.to_owned();
    }
    let first: String = piece.chars().take(EDGE).collect();
    format!("{first}\n…\n{}", last(piece, EDGE))
}

/// The last characters of a text.
pub fn last(text: &str, most: usize) -> &str {
    let from = text.char_indices().rev().take(most).last();
    from.map_or("", |(at, _)| &text[at..])
}

/// The arguments of a call with their JSON written plainly: letters may come as their numbers.
pub fn plainly(arguments: &str) -> String {
    serde_json::from_str::<Value>(arguments).map_or_else(|_| arguments.to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_read_apart_and_where_they_would_run_together_as_one_word() {
        let read = |pieces: &[&str]| as_read(pieces.iter().map(|piece| (*piece).to_owned()));
        assert_eq!(read(&["one"]), "one");
        assert_eq!(read(&["one,", "two"]), "one, two");
        assert_eq!(read(&["one ", "two"]), "one two");
        assert_eq!(read(&["lo", "ck"]), "lo ck\nlock");
    }

    #[test]
    fn what_has_a_letter_a_digit_or_a_sign_is_judged() {
        assert!(["", " \n", "…", "({\"!?\"})"].into_iter().all(is_wordless));
        assert!(!["a", "7", "é", "+", "🙂", " x."].into_iter().any(is_wordless));
    }

    #[test]
    fn neighbours_see_the_ends_of_what_is_long() {
        let long = format!("{}{}", "é".repeat(EDGE), "b".repeat(EDGE + 1));
        assert_eq!(ends(&long), format!("{}\n…\n{}", "é".repeat(EDGE), "b".repeat(EDGE)));
        assert_eq!(ends("short"), "short");
        assert_eq!((last("größe", 3), last("é", 9), last("é", 0)), ("öße", "é", ""));
    }

    #[test]
    fn arguments_are_read_with_their_letters_as_letters() {
        assert_eq!(plainly(r#"{"what": "lo\u0063k"}"#), r#"{"what":"lock"}"#);
        assert_eq!(plainly("no JSON"), "no JSON");
    }
}

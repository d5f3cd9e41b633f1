//! Words with HTML inside: tags and comments that show nothing, entities by name.

use super::lexicon::Lexicon;
use super::traced::{Traced, small};

/// Tags that part no words.
const INLINE: &[&str] = &[
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "ins", "kbd",
    "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "tt", "u", "var", "wbr", "x",
];
/// Entities that show nothing or a space, and those of the signs that markup is made of.
const ENTITIES: &[(&str, Option<char>)] = &[
    ("shy", None),
    ("zwj", None),
    ("zwnj", None),
    ("zerowidthspace", None),
    ("nbsp", Some(' ')),
    ("amp", Some('&')),
    ("lt", Some('<')),
    ("gt", Some('>')),
];
/// No tag or comment is longer, in characters.
const LONGEST: usize = 256;

/// The text without tags; `None` if no word is cut by one. Markup that parts words becomes a space.
pub fn strip(text: &[Traced], _: &dyn Lexicon) -> Option<Vec<Traced>> {
    let mut plain: Vec<Traced> = Vec::with_capacity(text.len());
    let (mut inside, mut joined) = (false, 0);
    let mut at = 0;
    while at < text.len() {
        let found = match text[at].character {
            '<' => tag(&text[at..(at + LONGEST).min(text.len())]),
            '&' => entity(&text[at..(at + LONGEST).min(text.len())]),
            _ => None,
        };
        let Some((len, shown)) = found else {
            joined += usize::from(inside && text[at].character.is_alphanumeric());
            inside = false;
            plain.push(text[at]);
            at += 1;
            continue;
        };
        match shown {
            None => inside |= plain.last().is_some_and(|last| last.character.is_alphanumeric()),
            Some(c) => {
                inside = false;
                plain.push(Traced::over(c, &text[at..at + len]));
            }
        }
        at += len;
    }
    (joined > 0).then_some(plain)
}

/// The tag or comment that a text begins with: its length, and what it shows.
fn tag(text: &[Traced]) -> Option<(usize, Option<char>)> {
    if small(&text[..text.len().min(4)]) == "<!--" {
        let end = text.windows(3).position(|three| small(three) == "-->")?;
        return Some((end + 3, None));
    }
    // No tag has another inside: brackets in a row are looked through once.
    let close = 1 + text[1..].iter().position(|one| matches!(one.character, '<' | '>'))?;
    if text[close].character == '<' {
        return None;
    }
    let inside = small(&text[1..close]);
    let name = inside.strip_prefix('/').unwrap_or(&inside);
    let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
    let (name, rest) = name.split_at(end);
    let named =
        name.starts_with(|c: char| c.is_ascii_alphabetic()) && (rest.is_empty() || rest.starts_with([' ', '/']));
    // `<>` and `</>` are tags of nothing.
    let empty = inside.is_empty() || inside == "/";
    (named || empty).then(|| (close + 1, (named && !INLINE.contains(&name)).then_some(' ')))
}

/// The entity that a text begins with.
fn entity(text: &[Traced]) -> Option<(usize, Option<char>)> {
    let close = text.iter().take(16).position(|one| one.character == ';')?;
    let name = small(&text[1..close]);
    ENTITIES.iter().find(|(known, _)| *known == name).map(|(_, shown)| (close + 1, *shown))
}

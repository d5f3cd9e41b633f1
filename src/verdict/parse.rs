//! Free-text answers to [`Answer`]s, for text that no grammar constrained. What is not well formed has no verdict.

use super::{Answer, Label};

/// RSafe: `<think>reasoning</think>`, then the LAST `\boxed{…}`, its braces matched, holds the label in any case.
/// A missing box, an unmatched brace or another word inside it gives no verdict.
pub fn parse_rsafe(text: &str) -> Answer {
    let verdict = last_boxed(text).and_then(Label::parse).filter(|label| *label != Label::Controversial);
    Answer { verdict, reasoning: thought(text).unwrap_or_default().to_owned(), ..Answer::default() }
}

/// Whether a text has RSafe's form as its training rewards it: `<think>` first, then somewhere `</think>`, and behind that
/// a `\boxed{` with a `}` behind it. What the box holds does not matter.
pub fn is_rsafe_answer(text: &str) -> bool {
    let behind = text.strip_prefix("<think>").and_then(|rest| rest.split_once("</think>"));
    behind.and_then(|(_, rest)| rest.split_once("\\boxed{")).is_some_and(|(_, boxed)| boxed.contains('}'))
}

/// Llama Guard: `safe`, or `unsafe` with a second line of categories separated by commas.
/// `categories` pairs each id with the way the answer writes it; a category that is not among them, or named twice,
/// leaves the answer without a verdict.
pub fn parse_llama_guard(text: &str, categories: &[(&str, &str)]) -> Answer {
    let mut lines = text.trim().lines();
    let label = match lines.next().map(str::trim) {
        Some("safe") => Label::Safe,
        Some("unsafe") => Label::Unsafe,
        _ => return Answer::default(),
    };
    let named = match (label, lines.next()) {
        (_, None) => Some(Vec::new()),
        (Label::Unsafe, Some(line)) => named_list(line, categories),
        _ => None,
    };
    match (named, lines.next()) {
        (Some(categories), None) => Answer { verdict: Some(label), categories, ..Answer::default() },
        _ => Answer::default(),
    }
}

/// Qwen3Guard-Gen: `Safety: Safe|Unsafe|Controversial`, `Categories: None` or names separated by commas, and for
/// responses `Refusal: Yes|No`. `categories` pairs each id with the name that the answer writes.
pub fn parse_qwen3guard(text: &str, categories: &[(&str, &str)]) -> Answer {
    let mut lines = text.trim().lines();
    let verdict = lines.next().and_then(|line| line.strip_prefix("Safety:")).and_then(Label::parse);
    let named = lines.next().and_then(|line| line.strip_prefix("Categories:")).and_then(|list| match list.trim() {
        "None" => Some(Vec::new()),
        list => named_list(list, categories),
    });
    let refusal = match lines.next().map(|line| line.strip_prefix("Refusal:").map(str::trim)) {
        None => Ok(None),
        Some(Some("Yes")) => Ok(Some(true)),
        Some(Some("No")) => Ok(Some(false)),
        Some(_) => Err(()),
    };
    match (verdict, named, refusal, lines.next()) {
        (Some(verdict), Some(categories), Ok(refusal), None) => {
            Answer { verdict: Some(verdict), categories, refusal, ..Answer::default() }
        }
        _ => Answer::default(),
    }
}

/// The trimmed content of the last `\boxed{…}`; `None` without one or when its brace is never closed.
fn last_boxed(text: &str) -> Option<&str> {
    const OPEN: &str = "\\boxed{";
    let content = &text[text.rfind(OPEN)? + OPEN.len()..];
    let mut depth = 1;
    for (at, c) in content.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => continue,
        }
        if depth == 0 {
            return Some(content[..at].trim());
        }
    }
    None
}

/// What stands between `<think>` at the start and the first `</think>`.
fn thought(text: &str) -> Option<&str> {
    let (thought, _) = text.trim_start().strip_prefix("<think>")?.split_once("</think>")?;
    Some(thought.trim())
}

/// A list of known names separated by commas, as ids. A name may itself hold a comma, so the longest known name wins.
fn named_list(list: &str, categories: &[(&str, &str)]) -> Option<Vec<String>> {
    let mut rest = list.trim();
    let mut ids: Vec<String> = Vec::new();
    loop {
        let whole =
            |name: &str| rest.strip_prefix(name).is_some_and(|after| after.is_empty() || after.starts_with(','));
        let (id, name) = categories.iter().filter(|(_, name)| whole(name)).max_by_key(|(_, name)| name.len())?;
        if name.is_empty() || ids.iter().any(|known| known == id) {
            return None;
        }
        ids.push((*id).to_owned());
        rest = &rest[name.len()..];
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None => return Some(ids),
        }
    }
}

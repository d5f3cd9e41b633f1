//! What a reader sees: verdicts as text, verdicts as JSON, errors. Everything that comes from outside is
//! made printable first: a quote of the input must not be able to steer the terminal.

use std::borrow::Cow;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use indexmap::IndexMap;
use rsafe::verdict::{CategoryScore, Decision, Tier, Verdict};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::input::Place;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const ALERT: Style = AnsiColor::Red.on_default().bold();
const CAUTION: Style = AnsiColor::Yellow.on_default().bold();
const CALM: Style = AnsiColor::Green.on_default().bold();

/// Categories shown although they do not apply: enough to see how close it was.
const NEAR_MISSES: usize = 3;
const BAR_WIDTH: f32 = 10.0;

/// Control characters and direction marks as `\u{..}`; line breaks and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let hidden = |c: char| {
        (c.is_control() && c != '\n' && c != '\t')
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
    };
    if !text.contains(hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// `printable`, on one line of at most `limit` characters.
pub fn one_line(text: &str, limit: usize) -> String {
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((at, _)) = words.char_indices().nth(limit) {
        words.truncate(at);
        words.push('…');
    }
    printable(&words).into_owned()
}

/// Shows an error on standard error. There is nowhere to report that this failed.
pub fn error(code: &str, message: &str) {
    // Messages name their kind for readers who see no code.
    let message = message.strip_prefix(&format!("{}: ", code.replace('_', " "))).unwrap_or(message);
    let _ = writeln!(anstream::stderr(), "{ALERT}error[{code}]{ALERT:#}: {}", printable(message));
}

/// Shows on standard error what does not keep a command from going on.
pub fn warning(message: &str) {
    let _ = writeln!(anstream::stderr(), "{CAUTION}warning{CAUTION:#}: {}", printable(message));
}

/// A piece of reasoning, as it comes.
pub fn reasoning(out: &mut dyn Write, piece: &str) -> io::Result<()> {
    write!(out, "{DIM}{}{DIM:#}", printable(piece))?;
    out.flush()
}

/// What is about to be judged, above its reasoning.
pub fn heading(out: &mut dyn Write, id: Option<&RawValue>, text: &str) -> io::Result<()> {
    if let Some(id) = id {
        let id = serde_json::from_str(id.get()).unwrap_or_else(|_| id.get().to_owned());
        write!(out, "{BOLD}{}{BOLD:#}  ", one_line(&id, 40))?;
    }
    writeln!(out, "{}", one_line(text, 90))?;
    out.flush()
}

/// The verdict below its reasoning.
pub fn verdict(out: &mut dyn Write, verdict: &Verdict) -> io::Result<()> {
    let (style, word) = match verdict.decision {
        Decision::Allow => (CALM, "allow"),
        Decision::Review => (CAUTION, "review"),
        // A decision that is not known here is no reason to let anything pass.
        _ => (ALERT, "block"),
    };
    write!(out, "{style}{word}{style:#}  score {:.2}", verdict.score)?;
    let tier_style = if verdict.tier == Tier::Care { CAUTION } else { style };
    write!(out, "  tier {tier_style}{}{tier_style:#}", verdict.tier.as_str())?;
    if let Some(rule) = &verdict.rule {
        write!(out, "  by rule {}", one_line(rule, 60))?;
    }
    if verdict.unreadable >= Tier::UNREADABLE {
        write!(out, "  {:.0} % unreadable", 100.0 * verdict.unreadable)?;
    }
    if let Some(failure) = &verdict.failure {
        write!(out, "  not judged: {}", one_line(failure, 200))?;
    }
    writeln!(out)?;
    for note in &verdict.notes {
        writeln!(out, "  {CAUTION}note{CAUTION:#}  {}", one_line(&note.message, 200))?;
    }

    let shown = shown_categories(&verdict.categories);
    let id_width = shown.iter().map(|category| category.id.chars().count()).max().unwrap_or(0);
    let name_width = shown.iter().map(|category| category.name.chars().count()).max().unwrap_or(0).min(40);
    for category in shown {
        let style = if category.flagged { style } else { DIM };
        let (id, name) = (printable(&category.id), one_line(&category.name, 40));
        let bar = "■".repeat((category.score.clamp(0.0, 1.0) * BAR_WIDTH).round() as usize);
        let (score, threshold) = (category.score, category.threshold);
        writeln!(
            out,
            "  {style}{id:id_width$}  {name:name_width$}  {score:.2}{style:#} {DIM}of {threshold:.2}{DIM:#} {style}{bar}{style:#}"
        )?;
    }
    for evidence in &verdict.evidence {
        write!(out, "  “{}”", one_line(&evidence.quote, 200))?;
        if let Some(category) = &evidence.category {
            write!(out, " {DIM}{}{DIM:#}", printable(category))?;
        }
        match evidence.effect {
            Some(score) => writeln!(out, " {DIM}{score:.2} without it{DIM:#}")?,
            None => writeln!(out)?,
        }
    }
    let usage = &verdict.usage;
    writeln!(
        out,
        "  {DIM}{} prompt tokens ({} cached), {} answer tokens, {:.0} ms{DIM:#}",
        usage.prompt_tokens, usage.cached_tokens, usage.answer_tokens, usage.verdict_ms
    )?;
    out.flush()
}

/// All that apply, then the highest of the others.
fn shown_categories(categories: &[CategoryScore]) -> Vec<&CategoryScore> {
    let mut sorted: Vec<_> = categories.iter().collect();
    sorted.sort_by(|a, b| b.flagged.cmp(&a.flagged).then(b.score.total_cmp(&a.score)));
    let flagged = sorted.iter().filter(|category| category.flagged).count();
    sorted.truncate(flagged.max(NEAR_MISSES));
    sorted
}

/// One verdict as one line of JSON.
pub fn json_verdict(out: &mut dyn Write, id: Option<&RawValue>, verdict: &Verdict) -> io::Result<()> {
    #[derive(Serialize)]
    struct Answer<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RawValue>,
        #[serde(flatten)]
        verdict: &'a Verdict,
    }
    json_line(out, &Answer { id, verdict })
}

/// One verdict as one line of JSON in the shape of OpenAI's moderation endpoint. An id that no row has is made up.
pub fn openai_verdict(out: &mut dyn Write, id: Option<&RawValue>, model: &str, verdict: &Verdict) -> io::Result<()> {
    match id {
        Some(id) => json_line(out, &verdict.to_openai(id, model)),
        None => json_line(out, &verdict.to_openai("modr-0", model)),
    }
}

/// One verdict as one line of JSON without `usage`, which differs from run to run: the rest depends on the row alone.
pub fn json_lasting(out: &mut dyn Write, id: Option<&RawValue>, verdict: &Verdict) -> io::Result<()> {
    let mut keys: IndexMap<String, Box<RawValue>> = serde_json::from_slice(&serde_json::to_vec(verdict)?)?;
    keys.shift_remove("usage");
    if let Some(id) = id {
        keys.shift_insert(0, "id".into(), id.to_owned());
    }
    json_line(out, &keys)
}

/// One error as one line of JSON.
pub fn json_error(
    out: &mut dyn Write,
    place: Option<&Place>,
    id: Option<&RawValue>,
    error: &rsafe::Error,
) -> io::Result<()> {
    #[derive(Serialize)]
    struct Answer<'a> {
        #[serde(flatten)]
        place: Option<&'a Place>,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a RawValue>,
        error: Body<'a>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        code: &'a str,
        message: String,
    }
    json_line(out, &Answer { place, id, error: Body { code: error.code(), message: error.to_string() } })
}

fn json_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    // One write for one line: a reader at the other end of a pipe never sees half of it.
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

#[cfg(test)]
pub mod tests {
    use rsafe::verdict::{Answer, QuoteSpan, Step};
    use rsafe::{Category, Conversation, Policy};
    use serde_json::Value;

    use super::*;

    pub fn sample(decision: Decision) -> Verdict {
        let scores = [("S1", 0.125), ("S2", 0.75), ("S3", 0.25), ("S4", 0.0625)];
        let policy = scores.into_iter().fold(Policy::new("sample"), |policy, (id, _)| {
            policy.category(Category::new(id, format!("name of {id}")).threshold(0.5))
        });
        let conversation = Conversation::prompt("pick\u{1b}[2J");
        let quote = QuoteSpan { message: 0, bytes: 0..conversation.messages[0].content.len() };
        let step = Step { category: "S2".into(), applies: true, quote: Some(quote) };
        let answer = Answer { steps: vec![step], reasoning: "It asks how.".into(), ..Answer::default() };
        let builder = Verdict::builder(&policy).score(0.25).answer(&answer, &conversation);
        let scored = scores.into_iter().fold(builder, |builder, (id, score)| builder.category(id, score));
        let mut verdict = scored.build();
        (verdict.decision, verdict.flagged) = (decision, decision != Decision::Allow);
        verdict.tier = match decision {
            Decision::Allow => Tier::Care,
            Decision::Review => Tier::Attention,
            _ => Tier::Block,
        };
        verdict
    }

    #[test]
    fn a_quote_cannot_steer_the_terminal() {
        let mut plain = anstream::AutoStream::never(Vec::new());
        verdict(&mut plain, &sample(Decision::Block)).unwrap();
        let text = String::from_utf8(plain.into_inner()).unwrap();
        assert!(text.starts_with("block  score 0.25  tier block\n  S2"), "{text}");
        assert!(text.contains(r"“pick\u{1b}[2J”"), "{text}");
        assert!(!text.contains('\u{1b}'));
        assert_eq!(printable("a\u{202e}b\tc\n"), "a\\u{202e}b\tc\n");
    }

    #[test]
    fn flagged_categories_come_first_and_a_few_near_misses_follow() {
        let verdict = sample(Decision::Block);
        let ids: Vec<_> = shown_categories(&verdict.categories).iter().map(|category| category.id.clone()).collect();
        assert_eq!(ids, ["S2", "S3", "S1"]);
    }

    #[test]
    fn a_verdict_is_one_json_object_with_its_id_first() {
        let mut out = Vec::new();
        let id = RawValue::from_string("\"a\"".into()).unwrap();
        json_verdict(&mut out, Some(&id), &sample(Decision::Review)).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.matches('\n').count(), 1);
        assert!(text.starts_with(
            r#"{"id":"a","decision":"review","tier":"attention","flagged":true,"score":0.25,"categories":["#
        ));
        let value: Value = serde_json::from_str(&text).unwrap();
        for key in ["evidence", "reasoning", "notes", "usage"] {
            assert!(value.get(key).is_some(), "{key}");
        }

        let mut lasting = Vec::new();
        json_lasting(&mut lasting, Some(&id), &sample(Decision::Review)).unwrap();
        let lasting = String::from_utf8(lasting).unwrap();
        let (shared, usage) = text.split_once(r#","usage":{"#).unwrap();
        assert!(usage.ends_with("}}\n"));
        assert_eq!(lasting, format!("{shared}}}\n"));
    }
}

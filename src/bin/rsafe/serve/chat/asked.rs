//! What a chat request says, and whether it may go up.

use rsafe::{Message, Role};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::judge::{Judge, Stop};
use super::transcript::{Run, Spoken, runs_of};
use crate::serve::errors::Problem;
use crate::serve::messages::Speaker;
use crate::serve::options::Settings;
use crate::serve::walk::{Piece, Unreadable, as_read, by_field, plainly, side_by_side, walk};

/// Runs that nobody remembers are judged together up to so many characters: one check reads a page of short messages in the
/// time of two.
const PAGE: usize = 600;

pub struct Asked {
    /// The conversation as a model reads it, and all that is said in each of its messages.
    pub messages: Vec<Message>,
    spoken: Vec<Spoken>,
    /// The texts of the fields beside it.
    beside: Vec<Vec<String>>,
    pub streams: bool,
    pub choices: usize,
}

impl Asked {
    /// # Errors
    /// `bad_input` for what is no chat, or cannot be judged.
    pub fn read(body: &Map<String, Value>, settings: &Settings) -> Result<Self, Problem> {
        let messages = match body.get("messages") {
            Some(Value::Array(messages)) if !messages.is_empty() => messages,
            _ => {
                let message = "messages must be an array of at least one message";
                return Err(Problem::bad_input(message).about("messages"));
            }
        };
        let pass = &settings.pass_fields;
        let read = messages.iter().enumerate().map(|(at, message)| read(message, &format!("messages[{at}]"), settings));
        let (messages, spoken): (Vec<_>, Vec<_>) = read.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        if !messages.iter().any(|message| message.role == Role::User) {
            return Err(Problem::bad_input("messages must hold a message of the user").about("messages"));
        }
        let (streams, choices) = options(body, settings.max_choices)?;
        let mut beside = body.clone();
        beside.shift_remove("messages");
        let beside = walk(&beside, "", pass).map_err(unreadable)?;
        let beside = by_field(&beside).into_iter().map(|pieces| side_by_side(&pieces)).collect();
        Ok(Self { messages, spoken, beside, streams, choices })
    }

    /// Judges all of it.
    ///
    /// # Errors
    /// For what does not pass.
    pub async fn judge(&self, judge: &Judge) -> Result<(), Stop> {
        // What a rule of the policy is written for, as it stands.
        let last = self.messages.iter().rfind(|message| message.role == Role::User);
        if let Some(last) = last {
            judge.asked(std::slice::from_ref(&last.content)).await?;
        }
        let runs = runs_of(&self.spoken);
        for run in &runs {
            match run {
                Run::Given { pieces } => judge.gave(pieces).await?,
                Run::Answered { at, pieces } => {
                    judge.answered(&self.messages[..*at], as_read(pieces.iter().cloned())).await?;
                }
                Run::Asked { .. } => {}
            }
        }
        self.pages(judge, &runs).await?;
        for pieces in &self.beside {
            judge.asked(pieces).await?;
        }
        Ok(())
    }

    /// Judges what nobody remembers of the caller's runs, short ones together. A page has no gap in it: what it reads stands
    /// side by side.
    async fn pages(&self, judge: &Judge, runs: &[Run]) -> Result<(), Stop> {
        let mut page = Page::default();
        for run in runs {
            let Run::Asked { before, pieces } = run else { continue };
            let own: Vec<String> = before.iter().chain(pieces).cloned().collect();
            let known = judge.knows(&own);
            if !known {
                page.pieces.extend(if page.runs.is_empty() { own.clone() } else { pieces.clone() });
                page.runs.push(own);
            }
            if known || page.pieces.iter().map(|piece| piece.chars().count()).sum::<usize>() >= PAGE {
                std::mem::take(&mut page).judge(judge).await?;
            }
        }
        page.judge(judge).await
    }
}

/// Runs that are judged as one text.
#[derive(Default)]
struct Page {
    runs: Vec<Vec<String>>,
    pieces: Vec<String>,
}

impl Page {
    async fn judge(self, judge: &Judge) -> Result<(), Stop> {
        if self.runs.is_empty() {
            return Ok(());
        }
        judge.asked(&self.pieces).await?;
        self.runs.iter().for_each(|run| judge.remember_asked(run));
        Ok(())
    }
}

/// One of OpenAI's messages as a model reads it, and all that is said in it, save by those whom the owner trusts.
fn read(message: &Value, place: &str, settings: &Settings) -> Result<(Message, Spoken), Problem> {
    let wrong = |message: &str, field: &str| Problem::bad_input(message).about(format!("{place}{field}"));
    let Value::Object(fields) = message else { return Err(wrong("expected an object with a role and content", "")) };
    let role = fields.get("role").unwrap_or(&Value::Null);
    let speaker = Speaker::deserialize(role).map_err(|error| wrong(&error.to_string(), ".role"))?;
    let content = match fields.get("content") {
        None | Some(Value::Null) if speaker == Speaker::Assistant => {
            fields.get("refusal").and_then(Value::as_str).unwrap_or_default().to_owned()
        }
        None | Some(Value::Null) => {
            return Err(wrong("content is missing; only an assistant's message may come without", ".content"));
        }
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => {
            let parts = parts.iter().enumerate().map(|(at, part)| {
                text_of(part).ok_or_else(|| {
                    let message = "expected a text part such as {\"type\": \"text\", \"text\": \"…\"}; nothing else can be judged";
                    wrong(message, &format!(".content[{at}]"))
                })
            });
            as_read(parts.collect::<Result<Vec<_>, _>>()?)
        }
        Some(_) => return Err(wrong("expected a string or an array of text parts", ".content")),
    };
    let role = Role::from(speaker);
    let pieces = if settings.trusted_roles.contains(&speaker) {
        Vec::new()
    } else {
        let mut pieces = walk(fields, place, &settings.pass_fields).map_err(unreadable)?;
        pieces.iter_mut().filter(|piece| is_arguments(piece)).for_each(|piece| piece.text = plainly(&piece.text));
        side_by_side(&pieces)
    };
    Ok((Message::new(role, content), Spoken { role, pieces }))
}

/// The text of a part, where it is one.
fn text_of(part: &Value) -> Option<String> {
    let field = match part.get("type")?.as_str()? {
        "text" | "input_text" | "output_text" => "text",
        "refusal" => "refusal",
        _ => return None,
    };
    part.get(field)?.as_str().map(str::to_owned)
}

/// Whether it is the arguments of a call, which are JSON as text.
fn is_arguments(piece: &Piece) -> bool {
    piece.place.ends_with(".arguments")
}

fn unreadable(Unreadable { path, what, .. }: Unreadable) -> Problem {
    Problem::bad_input(format!("{path} {what}; leave it out")).about(path)
}

/// Whether a stream is asked for and how many choices.
///
/// # Errors
/// `bad_input` for options that would bring back what cannot be judged.
fn options(body: &Map<String, Value>, most: usize) -> Result<(bool, usize), Problem> {
    let given = |field: &str| body.get(field).filter(|value| !value.is_null());
    let wrong = |message: &str, field: &str| Err(Problem::bad_input(message).about(field));
    let streams = match given("stream") {
        None => false,
        Some(Value::Bool(streams)) => *streams,
        Some(_) => return wrong("stream must be true or false", "stream"),
    };
    if given("audio").is_some() {
        return wrong("audio cannot be judged; ask for text only", "audio");
    }
    let is_text = |kinds: &Value| kinds.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text"));
    if given("modalities").is_some_and(|kinds| !is_text(kinds)) {
        return wrong("modalities must be [\"text\"]: nothing else can be judged", "modalities");
    }
    match given("n").map(|n| n.as_u64().and_then(|n| usize::try_from(n).ok()).unwrap_or_default()) {
        None => Ok((streams, 1)),
        Some(n) if (1..=most).contains(&n) => Ok((streams, n)),
        Some(_) => wrong(&format!("n must be a whole number from 1 to {most}"), "n"),
    }
}

/// Reads the names of roles that the owner trusts.
pub fn trusted(role: &str) -> Result<Speaker, String> {
    match role {
        "system" | "developer" | "tool" | "function" => {
            Speaker::deserialize(&Value::from(role)).map_err(|error| error.to_string())
        }
        _ => Err("expected system, developer, tool or function".into()),
    }
}

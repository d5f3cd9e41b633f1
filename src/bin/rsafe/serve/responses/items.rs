//! The items of a response: what a model says in them.

use std::collections::HashSet;

use serde_json::Value;

use crate::serve::errors::Problem;
use crate::serve::relay::{Fields, Kind, Said};
use crate::serve::walk::{Piece, Unreadable, walk, walk_spoken};

/// The call of a tool.
#[derive(Default)]
pub struct Call {
    pub name: String,
    pub given: String,
}

impl Call {
    /// That of an item, where it is one.
    pub fn of(item: &Fields) -> Option<Self> {
        let is_call = kind_of(item).ends_with("_call");
        let name = item.get("name").filter(|name| is_call && !name.is_null())?;
        Some(Self { name: text_of(name), given: given_in(item) })
    }

    /// What it says, at a place of its own.
    pub fn said(self, place: &str) -> Vec<Said> {
        let part = |text: String, field: &str| Said {
            place: place.to_owned(),
            path: format!("{place}.{field}"),
            text,
            kind: Kind::Call,
        };
        let parts = [part(self.name, "name"), part(self.given, "given")];
        parts.into_iter().filter(|part| !part.text.is_empty()).collect()
    }
}

/// The field with what the tool of a call is given.
pub fn field_given(fields: &Fields) -> &'static str {
    let is_there = |field: &&str| fields.get(*field).is_some_and(|given| !given.is_null());
    ["arguments", "input"].into_iter().find(is_there).unwrap_or("arguments")
}

pub fn given_in(fields: &Fields) -> String {
    fields.get(field_given(fields)).filter(|given| !given.is_null()).map(text_of).unwrap_or_default()
}

/// A text, or something as it is written.
pub fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Those of a response.
///
/// # Errors
/// `upstream` for what is no list of them.
pub fn items_in(response: &Fields) -> Result<impl Iterator<Item = &Value>, Problem> {
    match response.get("output") {
        None | Some(Value::Null) => Ok([].iter()),
        Some(Value::Array(items)) => Ok(items.iter()),
        Some(_) => Err(misshapen("items that are no list")),
    }
}

/// Something that is not of the API's shape.
pub fn misshapen(what: &str) -> Problem {
    Problem::upstream(format!("the upstream sent {what}, which cannot be judged"))
}

pub fn kind_of(fields: &Fields) -> &str {
    fields.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// What something says save in the fields of these names.
///
/// # Errors
/// `upstream`, which names what cannot be judged in words of ours.
pub fn said_in(value: &Fields, place: &str, but: &[&str], pass: &HashSet<String>) -> Result<Vec<Said>, Problem> {
    let mut value = value.clone();
    value.retain(|field, _| !but.contains(&field.as_str()));
    let pieces = walk_spoken(&value, place, pass).map_err(unreadable)?;
    Ok(pieces.into_iter().map(Said::from).collect())
}

/// What an item says beside the call that it is.
///
/// # Errors
/// As those of [`said_in`]; for pictures that a tool has made as well.
pub fn said_beside(item: &Fields, place: &str, pass: &HashSet<String>) -> Result<Vec<Said>, Problem> {
    let is_picture = kind_of(item) == "image_generation_call" && item.get("result").is_some_and(|it| !it.is_null());
    if is_picture {
        return Err(unjudged(place, "is a picture, which cannot be judged"));
    }
    let call = ["name", field_given(item)];
    said_in(item, place, if Call::of(item).is_some() { &call } else { &[] }, pass)
}

/// What a response holds beside its items, and does not repeat of the request.
///
/// # Errors
/// As those of [`said_in`].
pub fn pieces_beside(
    response: &Fields,
    body: &Fields,
    at: &str,
    pass: &HashSet<String>,
) -> Result<Vec<Piece>, Problem> {
    let mut beside = response.clone();
    beside.retain(|field, value| field != "output" && body.get(field) != Some(value));
    walk(&beside, at, pass).map_err(unreadable)
}

fn unreadable(Unreadable { place, what, .. }: Unreadable) -> Problem {
    unjudged(&place, &what)
}

fn unjudged(place: &str, what: &str) -> Problem {
    Problem::upstream(format!("the upstream answered with `{place}`, which {what}"))
}

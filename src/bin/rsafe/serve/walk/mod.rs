//! The walk: every string of a JSON value at every depth, the names of fields among them, save what the allow-list lets
//! pass. The same for requests and answers, whole and in pieces, as at the edge.

mod names;
mod reading;

use std::collections::HashSet;

use indexmap::IndexMap;
use serde_json::{Map, Value};

pub use names::{is_identifier, passes};
use names::{is_media, is_opaque, is_partial_picture, knows, may_list, may_list_numbers};
pub use reading::{EDGE, as_read, ends, is_long, is_wordless, last, plainly};

/// Deeper values, and values with more pieces, are refused.
const MAX_DEPTH: usize = 48;
const MAX_PIECES: usize = 8192;

/// A string that must be judged.
#[derive(Debug, Clone)]
pub struct Piece {
    /// Where it stands, in words of ours: known names, `[]` for an item of a list, `*` for a name of the sender's own.
    /// Pieces of one place are parts of one text, in their order.
    pub place: String,
    /// Where it stands exactly, and so which of a stream's pieces continue each other. It may quote the sender.
    pub path: String,
    pub text: String,
    /// Whether it is the name of a field.
    pub named: bool,
}

/// Something that is not text, or that nobody can say it is not.
#[derive(Debug)]
pub struct Unreadable {
    pub place: String,
    /// As a caller wrote it.
    pub path: String,
    /// What is wrong there, without a word of the sender.
    pub what: String,
}

/// The pieces of an object, in its order. `at` is where it stands: a name such as `messages[0]`, or empty. The contents of
/// the fields named in `pass` are not looked at.
///
/// # Errors
/// For pictures, sounds and files, lists of numbers, and what is too deep or too much.
pub fn walk(fields: &Map<String, Value>, at: &str, pass: &HashSet<String>) -> Result<Vec<Piece>, Unreadable> {
    let mut walk = Walk { pass, trusts_names: false, pieces: Vec::new() };
    walk.fields(fields, at, at, at, 0)?;
    Ok(walk.pieces)
}

/// What a model says in an object of an API whose names are trusted to be its own: all but what stands under names that no
/// model writes under.
///
/// # Errors
/// As those of [`walk`].
pub fn walk_spoken(fields: &Map<String, Value>, at: &str, pass: &HashSet<String>) -> Result<Vec<Piece>, Unreadable> {
    let mut walk = Walk { pass, trusts_names: true, pieces: Vec::new() };
    walk.fields(fields, at, at, at, 0)?;
    Ok(walk.pieces)
}

struct Walk<'w> {
    pass: &'w HashSet<String>,
    trusts_names: bool,
    pieces: Vec<Piece>,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value, name: &str, place: &str, path: &str, depth: usize) -> Result<(), Unreadable> {
        let refused = |what: String| Err(Unreadable { place: place.to_owned(), path: path.to_owned(), what });
        let is_media = is_media(name) || (self.trusts_names && is_partial_picture(name));
        if !value.is_null() && is_media {
            return refused("cannot be judged, only text".into());
        }
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::String(text) if is_data_address(text) => {
                refused("is a data: address, which cannot be judged".into())
            }
            Value::String(text) if text.is_empty() || (!self.trusts_names && passes(name, text)) => Ok(()),
            Value::String(text) => self.add(place, path, text, false),
            Value::Array(_) | Value::Object(_) if depth >= MAX_DEPTH => {
                refused(format!("is nested more than {MAX_DEPTH} deep"))
            }
            Value::Array(items)
                if items.iter().any(Value::is_number) && (self.trusts_names || !may_list_numbers(name)) =>
            {
                refused("is a list of numbers, which may stand for text".into())
            }
            Value::Array(items) => {
                let name = if !self.trusts_names && may_list(name) { name } else { "" };
                for (at, item) in items.iter().enumerate() {
                    let path = format!("{path}[{}]", position_of(item, at));
                    self.value(item, name, &format!("{place}[]"), &path, depth + 1)?;
                }
                Ok(())
            }
            Value::Object(fields) => self.fields(fields, name, place, path, depth),
        }
    }

    fn fields(
        &mut self,
        fields: &Map<String, Value>,
        under: &str,
        place: &str,
        path: &str,
        depth: usize,
    ) -> Result<(), Unreadable> {
        for (field, inner) in fields {
            if self.pass.contains(field) || (self.trusts_names && is_opaque(field)) {
                continue;
            }
            let known = knows(field, under);
            let in_place = join(place, if known { field } else { "*" });
            let in_path = join(path, field);
            if !known && !self.trusts_names && !is_wordless(field) {
                self.add(&format!("{in_place}{{}}"), &in_path, field, true)?;
            }
            self.value(inner, if known || self.trusts_names { field } else { "" }, &in_place, &in_path, depth + 1)?;
        }
        Ok(())
    }

    fn add(&mut self, place: &str, path: &str, text: &str, named: bool) -> Result<(), Unreadable> {
        let (place, path) = (place.to_owned(), path.to_owned());
        if self.pieces.len() >= MAX_PIECES {
            return Err(Unreadable { place, path, what: format!("is one of more than {MAX_PIECES} texts") });
        }
        self.pieces.push(Piece { place, path, text: text.to_owned(), named });
        Ok(())
    }
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place}.{name}") }
}

/// An item of a stream's list says itself which one it continues.
fn position_of(item: &Value, at: usize) -> u64 {
    item.get("index").and_then(Value::as_u64).unwrap_or(at as u64)
}

/// `data:`, a kind, and a comma before any blank.
fn is_data_address(text: &str) -> bool {
    let text = text.trim_start();
    let rest = text.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).map(|_| &text[5..]);
    rest.is_some_and(|rest| {
        rest.find(|c: char| c == ',' || c.is_whitespace()).is_some_and(|at| rest[at..].starts_with(','))
    })
}

/// The texts of pieces that stand side by side: names of fields first, so that neither break up the others.
pub fn side_by_side(pieces: &[Piece]) -> Vec<String> {
    let (named, others): (Vec<&Piece>, Vec<&Piece>) = pieces.iter().partition(|piece| piece.named);
    named.into_iter().chain(others).map(|piece| piece.text.clone()).collect()
}

/// The pieces by their outermost field. Fields that nobody knows count as one.
pub fn by_field(pieces: &[Piece]) -> Vec<Vec<Piece>> {
    let outermost = |piece: &Piece| piece.place.split(['.', '[', '{']).next().unwrap_or_default().to_owned();
    grouped(pieces, outermost)
}

/// Pieces by what they have in common, in the order in which that first came.
pub fn grouped<P: Clone>(pieces: &[P], by: impl Fn(&P) -> String) -> Vec<Vec<P>> {
    let mut groups: IndexMap<String, Vec<P>> = IndexMap::new();
    for piece in pieces {
        groups.entry(by(piece)).or_default().push(piece.clone());
    }
    groups.into_values().collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pieces(value: &Value) -> Result<Vec<Piece>, Unreadable> {
        walk(value.as_object().unwrap(), "", &HashSet::from(["trace".to_owned()]))
    }

    #[test]
    fn every_string_and_every_name_that_no_api_has_is_a_piece_with_its_place() {
        let value = json!({
            "model": "gpt-4o", "model ": "x", "temperature": 1, "stop": ["one", "two"], "trace": "unseen",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "three", "odd one": {"deep": "four"}}]}],
        });
        let found: Vec<_> =
            pieces(&value).unwrap().into_iter().map(|piece| (piece.place, piece.path, piece.text)).collect();
        let expected = [
            ("*{}", "model ", "model "),
            ("*", "model ", "x"),
            ("stop[]", "stop[0]", "one"),
            ("stop[]", "stop[1]", "two"),
            ("messages[].content[].text", "messages[0].content[0].text", "three"),
            ("messages[].content[].*{}", "messages[0].content[0].odd one", "odd one"),
            ("messages[].content[].*.*{}", "messages[0].content[0].odd one.deep", "deep"),
            ("messages[].content[].*.*", "messages[0].content[0].odd one.deep", "four"),
        ];
        let expected = expected.map(|(place, path, text)| (place.to_owned(), path.to_owned(), text.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn where_names_are_an_apis_own_only_what_a_model_writes_is_a_piece() {
        let value = json!({
            "id": "pick it", "type": "message", "own": "one", "encrypted_content": "aGk=", "model": "two", "trace": "unseen",
            "content": [{"text": "three", "logprobs": [{"token": "x"}], "odd one": "four", "empty": ""}],
        });
        let found = walk_spoken(value.as_object().unwrap(), "item", &HashSet::from(["trace".to_owned()])).unwrap();
        let found: Vec<_> = found.iter().map(|piece| (piece.place.as_str(), piece.text.as_str())).collect();
        let expected =
            [("item.*", "one"), ("item.model", "two"), ("item.content[].text", "three"), ("item.content[].*", "four")];
        assert_eq!(found, expected);
        for picture in [json!({"partial_image_b64": "AA"}), json!({"own": [1, 2]}), json!({"own": "data:x,y"})] {
            assert!(walk_spoken(picture.as_object().unwrap(), "", &HashSet::new()).is_err(), "{picture}");
        }
    }

    #[test]
    fn what_may_hold_something_other_than_text_is_refused_by_its_place() {
        let deep = (0..60).fold(json!("x"), |inner, _| json!({ "content": inner }));
        let many: Vec<Value> = (0..9000).map(|at| json!(format!("text {at}"))).collect();
        for (value, place) in [
            (json!({"audio": {}}), "audio"),
            (json!({"content": [{"image_url": "x"}]}), "content[].image_url"),
            (json!({"content": " DATA:text/plain,x"}), "content"),
            (json!({"prompt": [1, 2]}), "prompt"),
            (json!({"stop": many}), "stop[]"),
        ] {
            assert_eq!(pieces(&value).unwrap_err().place, place, "{value}");
        }
        assert!(pieces(&deep).unwrap_err().what.contains("48 deep"));
        for value in [json!({"audio": null}), json!({"stop_token_ids": [1]}), json!({"content": "data: see, below"})] {
            assert!(pieces(&value).is_ok(), "{value}");
        }
    }
}

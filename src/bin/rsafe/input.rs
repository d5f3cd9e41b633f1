//! What `check` reads: plain text or JSON lines, never more than a bound of either in memory.

use std::fmt;
use std::io::{self, BufRead, Cursor, Read};

use rsafe::{Conversation, Error, Message, Role, Target};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The longest text or line that is read, in bytes.
pub const MAX_BYTES: usize = 8 << 20;

/// How much of a parser's complaint is repeated; it may quote the whole line.
const MAX_COMPLAINT: usize = 400;

/// Looks at the first line that is not blank and says whether it opens a JSON object, with a reader that
/// starts over. A broken first row must count as a row, so the brace alone decides.
pub fn sniff<R: BufRead>(mut reader: R) -> io::Result<(bool, impl BufRead)> {
    let mut head = Vec::new();
    let mut is_json = false;
    while head.len() <= MAX_BYTES {
        let start = head.len();
        if reader.by_ref().take((MAX_BYTES + 1) as u64).read_until(b'\n', &mut head)? == 0 {
            break;
        }
        let line = without_bom(&head[start..]).trim_ascii();
        if !line.is_empty() {
            is_json = line[0] == b'{';
            break;
        }
    }
    Ok((is_json, Cursor::new(head).chain(reader)))
}

/// Everything as one text.
pub fn read_text(reader: impl Read) -> rsafe::Result<String> {
    let mut bytes = Vec::new();
    reader.take((MAX_BYTES + 1) as u64).read_to_end(&mut bytes).map_err(Error::io("standard input"))?;
    if bytes.len() > MAX_BYTES {
        return Err(Error::BadInput(format!("the text is longer than {MAX_BYTES} bytes; split it")));
    }
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(error.utf8_error()))?;
    // An empty text has a verdict; but where nothing came at all, something else went wrong.
    if text.is_empty() {
        return Err(Error::BadInput("nothing to check: standard input is empty".into()));
    }
    Ok(text)
}

/// What a row is called: any JSON value, as it was written. As a number it could be rounded.
pub type Id = Box<RawValue>;

/// Where a row stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Place {
    /// `None`: standard input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// From 1; of a table the row.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.file.as_ref().map_or(Ok(()), |file| write!(f, "{file}, "))?;
        write!(f, "line {}", self.line)
    }
}

/// A row that could be read: what it is called and what is to be judged.
pub struct Row {
    pub id: Option<Id>,
    pub conversation: Conversation,
}

/// A row that could not be read, with its name if that could.
pub struct BadRow {
    pub id: Option<Id>,
    pub error: Error,
}

/// The keys that are looked at; rows of data sets carry more.
#[derive(Deserialize)]
struct Keys {
    id: Option<Id>,
    prompt: Option<String>,
    response: Option<String>,
    messages: Option<Vec<Message>>,
    level: Option<Target>,
}

/// What is left of a row that makes no sense.
#[derive(Deserialize)]
struct Named {
    id: Option<Id>,
}

/// Reads a row; `None` for a blank line. `target` wins over the row's own `level`.
pub fn parse_row(line: &[u8], target: Option<Target>) -> Option<Result<Row, BadRow>> {
    let line = without_bom(line).trim_ascii();
    if line.is_empty() {
        return None;
    }
    let text = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => return Some(Err(BadRow { id: None, error: not_utf8(error) })),
    };
    Some(parse_object(text, target))
}

/// What a row that makes no sense is called, if it says.
pub fn id(row: &[u8]) -> Option<Id> {
    serde_json::from_slice::<Named>(row).ok()?.id
}

fn parse_object(text: &str, target: Option<Target>) -> Result<Row, BadRow> {
    match serde_json::from_str::<Keys>(text) {
        Ok(Keys { id, prompt, response, messages, level }) => {
            match conversation(prompt, response, messages, target.or(level)) {
                Ok(conversation) => Ok(Row { id, conversation }),
                Err(error) => Err(BadRow { id, error }),
            }
        }
        Err(error) => {
            let complaint: String = error.to_string().chars().take(MAX_COMPLAINT).collect();
            Err(BadRow {
                id: id(text.as_bytes()),
                error: Error::BadInput(format!(
                    "expected {{\"prompt\", \"response\"?}} or {{\"messages\": [{{\"role\", \"content\"}}]}}: {complaint}"
                )),
            })
        }
    }
}

/// A text alone: a prompt, or with [`Target::Response`] an answer whose prompt is not known.
pub fn lone_text(text: String, target: Option<Target>) -> Conversation {
    match target.unwrap_or(Target::Prompt) {
        Target::Prompt => Conversation::prompt(text),
        Target::Response => {
            Conversation { messages: vec![Message::new(Role::Assistant, text)], target: Target::Response }
        }
    }
}

fn conversation(
    prompt: Option<String>,
    response: Option<String>,
    messages: Option<Vec<Message>>,
    target: Option<Target>,
) -> rsafe::Result<Conversation> {
    let mut conversation = match (prompt, response, messages) {
        (None, None, Some(messages)) => Conversation::of(messages),
        // What was answered later says nothing about the prompt.
        (Some(prompt), Some(_), None) if target == Some(Target::Prompt) => Conversation::prompt(prompt),
        (Some(prompt), Some(response), None) => Conversation::response(prompt, response),
        (Some(prompt), None, None) => Conversation::prompt(prompt),
        (None, Some(_), None) => return Err(Error::BadInput("\"response\" needs its \"prompt\"".into())),
        (None, None, None) => {
            return Err(Error::BadInput("expected \"prompt\" or \"messages\", found neither".into()));
        }
        (_, _, Some(_)) => {
            return Err(Error::BadInput("expected \"prompt\" or \"messages\", found both".into()));
        }
    };
    if let Some(target) = target {
        conversation.target = target;
    }
    let (judged, name) = match conversation.target {
        Target::Prompt => (Role::User, "user"),
        Target::Response => (Role::Assistant, "assistant"),
    };
    if !conversation.messages.iter().any(|message| message.role == judged) {
        return Err(Error::BadInput(format!("nothing to judge: the row has no message of the {name}")));
    }
    Ok(conversation)
}

fn not_utf8(error: std::str::Utf8Error) -> Error {
    Error::BadInput(format!("expected UTF-8, found another byte at offset {}", error.valid_up_to()))
}

fn without_bom(line: &[u8]) -> &[u8] {
    line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(line: &str) -> Result<Row, BadRow> {
        parse_row(line.as_bytes(), None).unwrap()
    }

    fn complaint(line: &str) -> String {
        row(line).err().unwrap().error.to_string()
    }

    #[test]
    fn the_brace_of_the_first_line_decides_and_nothing_is_lost() {
        for (text, expected) in [("hello", false), ("\n \n{\"prompt\"", true), ("\u{feff}{}", true), ("", false)] {
            let (is_json, mut reader) = sniff(text.as_bytes()).unwrap();
            let mut again = String::new();
            reader.read_to_string(&mut again).unwrap();
            assert_eq!((is_json, again.as_str()), (expected, text));
        }
    }

    #[test]
    fn rows_of_data_sets_go_in_as_they_are() {
        let line = r#"{"id":"a-1","source":"a","level":"prompt","prompt":"hi","response":null,"label":"safe","categories":[],"lang":"en","split":"test"}"#;
        let row = row(line).ok().unwrap();
        assert_eq!(row.id.unwrap().get(), "\"a-1\"");
        assert_eq!(row.conversation, Conversation::prompt("hi"));
    }

    #[test]
    fn the_option_wins_over_the_level_and_the_level_over_the_last_speaker() {
        let line =
            r#"{"level":"prompt","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;
        assert_eq!(row(line).ok().unwrap().conversation.target, Target::Prompt);
        let forced = parse_row(line.as_bytes(), Some(Target::Response)).unwrap().ok().unwrap();
        assert_eq!(forced.conversation.target, Target::Response);
        let later = parse_row(br#"{"prompt":"a","response":"b"}"#, Some(Target::Prompt)).unwrap().ok().unwrap();
        assert_eq!(later.conversation, Conversation::prompt("a"));
    }

    #[test]
    fn a_bad_row_keeps_its_id_and_says_what_was_expected() {
        let bad = row(r#"{"id":7,"prompt":3}"#).err().unwrap();
        assert_eq!(bad.id.unwrap().get(), "7");
        assert!(bad.error.to_string().contains("expected"));
        assert!(complaint("{}").contains("neither"));
        assert!(complaint(r#"{"prompt":"a","messages":[]}"#).contains("both"));
        assert!(complaint(r#"{"messages":[]}"#).contains("no message of the user"));
        assert!(complaint(r#"{"prompt":"a","level":"response"}"#).contains("no message of the assistant"));
        assert!(complaint(r#"{"response":"a"}"#).contains("needs"));
        // Two values for one key: another reader of the row might take the other one.
        assert!(complaint(r#"{"prompt":"a","prompt":"b"}"#).contains("duplicate"));
    }
}

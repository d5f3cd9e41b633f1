//! What is judged: messages, who wrote them, and which side is on trial.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Who wrote a message. OpenAI's `developer` is read as [`Role::System`], its old `function` as [`Role::Tool`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    #[serde(alias = "developer")]
    System,
    User,
    Assistant,
    #[serde(alias = "function")]
    Tool,
}

/// One turn of a conversation.
///
/// Read from OpenAI's shape: `content` is a string, an array of `{"type": "text", "text"}` parts (joined by line
/// breaks), or null where an assistant only called tools. Other parts are an error: the guard cannot see into an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "WireMessage")]
pub struct Message {
    pub role: Role,
    pub content: String,
}

impl Message {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }

    /// Whether it says nothing: no text, or white space alone, as where an assistant only calls tools.
    pub fn is_empty(&self) -> bool {
        self.content.trim().is_empty()
    }
}

#[derive(Deserialize)]
struct WireMessage {
    role: Role,
    content: Option<WireContent>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "content must be a string or an array of {\"type\": \"text\", \"text\": …} parts")]
enum WireContent {
    Text(String),
    Parts(Vec<WirePart>),
}

#[derive(Deserialize)]
struct WirePart {
    #[serde(rename = "type")]
    kind: String,
    text: Option<String>,
}

impl TryFrom<WireMessage> for Message {
    type Error = String;

    fn try_from(wire: WireMessage) -> Result<Self, String> {
        let content = match wire.content {
            None if wire.role == Role::Assistant => String::new(),
            None => return Err("content is missing; only an assistant's message may come without".into()),
            Some(WireContent::Text(text)) => text,
            Some(WireContent::Parts(parts)) => {
                let texts: Result<Vec<String>, String> = parts.into_iter().map(WirePart::into_text).collect();
                texts?.join("\n")
            }
        };
        Ok(Self { role: wire.role, content })
    }
}

impl WirePart {
    fn into_text(self) -> Result<String, String> {
        match (self.kind.as_str(), self.text) {
            ("text" | "input_text" | "output_text", Some(text)) => Ok(text),
            ("text" | "input_text" | "output_text", None) => Err("a text part has no `text`".into()),
            (kind, _) => Err(format!(
                "a part of type `{kind}` cannot be judged, only `text`; leave it out or check it elsewhere"
            )),
        }
    }
}

/// Which side of the conversation is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The last message of the user.
    Prompt,
    /// The last message of the assistant, in the light of what came before.
    Response,
}

/// A conversation and the side of it that is judged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    pub messages: Vec<Message>,
    pub target: Target,
}

impl Conversation {
    /// A lone user prompt, judged as [`Target::Prompt`].
    pub fn prompt(text: impl Into<String>) -> Self {
        Self { messages: vec![Message::new(Role::User, text)], target: Target::Prompt }
    }

    /// A user prompt and the assistant's answer, judged as [`Target::Response`].
    pub fn response(prompt: impl Into<String>, response: impl Into<String>) -> Self {
        Self {
            messages: vec![Message::new(Role::User, prompt), Message::new(Role::Assistant, response)],
            target: Target::Response,
        }
    }

    /// Messages as they stand; the side on trial is the side that spoke last.
    pub fn of(messages: Vec<Message>) -> Self {
        let target = match messages.last() {
            Some(Message { role: Role::Assistant, .. }) => Target::Response,
            _ => Target::Prompt,
        };
        Self { messages, target }
    }

    /// The index of the message on trial: the last of the user or of the assistant that is not
    /// [empty](Message::is_empty), so that nobody hides a message behind an empty one. What an assistant said before the
    /// user's last words was another answer. Where there is none, the last message of that side, with nothing to judge.
    ///
    /// # Errors
    /// [`Error::BadInput`] if there is none.
    pub fn target_index(&self) -> Result<usize> {
        let (role, name, other) = match self.target {
            Target::Prompt => (Role::User, "user", "response"),
            Target::Response => (Role::Assistant, "assistant", "prompt"),
        };
        if self.messages.is_empty() {
            return Err(Error::BadInput("the conversation has no messages; send at least one".into()));
        }
        let last = |from: usize, to: usize, role: Role, any: bool| {
            let said = |message: &Message| message.role == role && (any || !message.is_empty());
            self.messages[from..to].iter().rposition(said).map(|at| from + at)
        };
        let end = last(0, self.messages.len(), role, true).ok_or_else(|| {
            Error::BadInput(format!(
                "none of the {} messages is from the {name}, whose side is to be judged; \
                 add one or judge the {other} instead",
                self.messages.len()
            ))
        })?;
        let start = match self.target {
            Target::Prompt => 0,
            Target::Response => last(0, end, Role::User, false).unwrap_or(0),
        };
        Ok(last(start, end + 1, role, false).unwrap_or(end))
    }

    /// Checks that there is something to judge.
    ///
    /// # Errors
    /// [`Error::BadInput`] if there are no messages or none of the side on trial.
    pub fn validate(&self) -> Result<()> {
        self.target_index().map(|_| ())
    }
}

impl FromIterator<Message> for Conversation {
    fn from_iter<I: IntoIterator<Item = Message>>(messages: I) -> Self {
        Self::of(messages.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> serde_json::Result<Message> {
        serde_json::from_str(json)
    }

    #[test]
    fn messages_come_in_the_shapes_of_openai() {
        assert_eq!(
            read(r#"{"role": "user", "content": "Hi", "name": "Ann"}"#).unwrap(),
            Message::new(Role::User, "Hi")
        );
        assert_eq!(read(r#"{"role": "developer", "content": "Hi"}"#).unwrap().role, Role::System);
        assert_eq!(read(r#"{"role": "assistant", "content": null}"#).unwrap().content, "");
        let parts = r#"{"role": "tool", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}"#;
        assert_eq!(read(parts).unwrap(), Message::new(Role::Tool, "a\nb"));
        assert_eq!(read(r#"{"role": "user", "content": "\ud83d\ude42"}"#).unwrap().content, "🙂");
    }

    #[test]
    fn what_the_guard_cannot_see_is_an_error() {
        let image = read(r#"{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}"#);
        assert!(image.unwrap_err().to_string().contains("image_url"));
        for role in ["user", "system", "tool"] {
            let silent = read(&format!(r#"{{"role": "{role}"}}"#));
            assert!(silent.unwrap_err().to_string().contains("content"), "{role}");
        }
        let empty = read(r#"{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text"}]}"#);
        assert!(empty.unwrap_err().to_string().contains("no `text`"));
        assert!(read(r#"{"role": "wizard", "content": "x"}"#).unwrap_err().to_string().contains("wizard"));
        assert!(read(r#"{"role": "user", "content": 5}"#).unwrap_err().to_string().contains("array"));
    }

    #[test]
    fn an_empty_message_hides_none_of_its_side() {
        let at = |target, said: &[(Role, &str)]| {
            let messages = said.iter().map(|(role, text)| Message::new(*role, *text)).collect();
            Conversation { messages, target }.target_index().unwrap()
        };
        let (user, assistant) = (Role::User, Role::Assistant);
        assert_eq!(at(Target::Prompt, &[(user, "a"), (user, " \n")]), 0);
        assert_eq!(at(Target::Prompt, &[(user, "a"), (assistant, "Sure:"), (user, "")]), 0);
        assert_eq!(at(Target::Response, &[(user, "a"), (assistant, "b"), (Role::Tool, "c"), (assistant, "")]), 1);
        let again = [(user, "a"), (assistant, "b"), (user, "c"), (assistant, "\t"), (assistant, "")];
        assert_eq!(at(Target::Response, &again), 4, "the answer before was another one");
        assert_eq!(at(Target::Prompt, &[(Role::System, "a"), (user, ""), (user, "")]), 2);
    }

    #[test]
    fn the_side_on_trial_must_have_spoken() {
        assert_eq!(Conversation::response("a", "b").target_index().unwrap(), 1);
        assert_eq!(
            Conversation { target: Target::Prompt, ..Conversation::response("a", "b") }.target_index().unwrap(),
            0
        );
        let silent = Conversation { target: Target::Response, ..Conversation::prompt("a") };
        assert!(silent.validate().unwrap_err().to_string().contains("judge the prompt instead"));
        assert_eq!(Conversation::of(vec![]).validate().unwrap_err().code(), "bad_input");
    }
}

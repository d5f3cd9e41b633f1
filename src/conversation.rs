//! What is judged: messages, who wrote them, and which side is on trial.

use serde::{Deserialize, Serialize};

/// Who wrote a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub role: Role,
    pub content: String,
}

impl Message {
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }
}

/// Which side of the conversation is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The last message of the user.
    Prompt,
    /// The last message of the assistant, in the light of what came before.
    Response,
}

/// A conversation and the side of it that is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
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
}

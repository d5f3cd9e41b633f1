//! Texts and conversations as callers send them. All text in them is judged; what could hold text that is not looked at
//! is refused by name.

use rsafe::{Message, Role};
use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::errors::Problem;
use super::walk::{as_read, is_identifier};

/// A text, or text parts that are read together.
#[derive(Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a string or an array of text parts such as {\"type\": \"text\", \"text\": \"…\"}; \
                               nothing else can be judged"
)]
pub enum Text {
    Whole(String),
    Parts(Vec<Part>),
}

#[derive(Deserialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Part {
    Text { text: String },
    InputText { text: String },
    OutputText { text: String },
    Refusal { refusal: String },
}

impl Text {
    pub fn read(self) -> String {
        match self {
            Text::Whole(text) => text,
            Text::Parts(parts) => as_read(parts.into_iter().map(|part| match part {
                Part::Text { text } | Part::InputText { text } | Part::OutputText { text } => text,
                Part::Refusal { refusal } => refusal,
            })),
        }
    }
}

/// One of OpenAI's messages.
#[derive(Deserialize, ToSchema)]
pub struct Turn {
    role: Speaker,
    /// Only an assistant's message may come without.
    content: Option<Text>,
    name: Option<String>,
    refusal: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<Vec<ToolCall>>,
    tool_call_id: Option<String>,
    function_call: Option<Called>,
    /// Fields that are not known here: they must be empty.
    #[serde(flatten)]
    #[schema(ignore)]
    others: Map<String, Value>,
}

#[derive(Deserialize, ToSchema, Clone, Copy, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Speaker {
    System,
    Developer,
    User,
    Assistant,
    Tool,
    Function,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToolCall {
    /// That of a streamed call; says nothing here.
    #[expect(dead_code, reason = "clients send it along")]
    index: Option<u64>,
    id: Option<String>,
    #[expect(dead_code, reason = "there is only one, which is refused otherwise")]
    r#type: Option<CallType>,
    function: Called,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum CallType {
    Function,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Called {
    name: String,
    /// JSON as text.
    arguments: String,
}

/// OpenAI's `messages`.
///
/// # Errors
/// `bad_input` for a message that is not one, or not all of whose text would be judged.
pub fn conversation(turns: Vec<Turn>) -> Result<Vec<Message>, Problem> {
    if turns.is_empty() {
        return Err(Problem::bad_input("messages must be an array of at least one message").about("messages"));
    }
    turns.into_iter().enumerate().map(|(at, turn)| turn.read(&format!("messages[{at}]"))).collect()
}

impl Turn {
    /// The message, with the text of its other fields behind its content.
    fn read(self, place: &str) -> Result<Message, Problem> {
        if let Some((field, _)) = self.others.iter().find(|(_, value)| !is_empty(value)) {
            let message = format!("the field {field:?} is not known here, and would go unjudged; leave it out");
            return Err(Problem::bad_input(message).about(place));
        }
        let content = match (self.content, self.role) {
            (Some(text), _) => text.read(),
            (None, Speaker::Assistant) => String::new(),
            (None, _) => {
                let message = "content is missing; only an assistant's message may come without";
                return Err(Problem::bad_input(message).about(format!("{place}.content")));
            }
        };
        let is_odd = |id: &String| !is_identifier(id);
        let mut pieces = vec![content];
        pieces.extend([self.name, self.refusal, self.reasoning_content].into_iter().flatten());
        pieces.extend(self.tool_call_id.filter(is_odd));
        for ToolCall { id, function, .. } in self.tool_calls.unwrap_or_default() {
            pieces.extend(id.filter(is_odd));
            pieces.extend([function.name, function.arguments]);
        }
        pieces.extend(self.function_call.into_iter().flat_map(|call| [call.name, call.arguments]));
        pieces.retain(|piece| !piece.is_empty());
        Ok(Message::new(self.role.into(), as_read(pieces)))
    }
}

impl From<Speaker> for Role {
    fn from(speaker: Speaker) -> Self {
        match speaker {
            Speaker::System | Speaker::Developer => Role::System,
            Speaker::User => Role::User,
            Speaker::Assistant => Role::Assistant,
            Speaker::Tool | Speaker::Function => Role::Tool,
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

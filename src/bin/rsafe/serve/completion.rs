//! A chat completion as it is read from an upstream and told to a caller. It is written anew from what is known here, so
//! that nothing goes through that nobody judged: fields that are not known are left out, or refused where text may be.

use std::time::{SystemTime, UNIX_EPOCH};

use rsafe::Verdict;
use rsafe::verdict::shape;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::errors::Problem;
use super::messages::{as_read, is_empty, is_identifier};

#[derive(Deserialize)]
pub struct Completion {
    pub choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
pub struct Choice {
    message: Spoken,
    finish_reason: Option<Finish>,
}

#[derive(Deserialize, Serialize)]
struct Usage {
    prompt_tokens: u64,
    completion_tokens: u64,
    total_tokens: u64,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Finish {
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

#[derive(Deserialize)]
struct Spoken {
    #[expect(dead_code, reason = "it is the assistant's, whatever it says")]
    role: Option<Value>,
    content: Option<String>,
    refusal: Option<String>,
    reasoning: Option<String>,
    reasoning_content: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Deserialize)]
struct Call {
    id: String,
    #[expect(dead_code, reason = "there is only one, which is refused otherwise")]
    r#type: Option<CallType>,
    function: Called,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum CallType {
    Function,
}

#[derive(Deserialize, Serialize)]
struct Called {
    name: String,
    arguments: String,
}

impl Completion {
    /// # Errors
    /// `upstream` for what is no completion of at most so many choices, or holds what cannot be judged.
    pub fn read(bytes: &[u8], most: usize) -> Result<Self, Problem> {
        let unread =
            |_| Problem::upstream("the upstream answered with something that is no chat completion known here");
        let answer: Self = serde_json::from_slice(bytes).map_err(unread)?;
        if answer.choices.is_empty() || answer.choices.len() > most {
            let found = answer.choices.len();
            return Err(Problem::upstream(format!("the upstream sent {found} choices where {most} were asked for")));
        }
        // Notes beside the text, of which nothing is told.
        let left_out = |field: &str| field == "annotations";
        let others = answer.choices.iter().flat_map(|choice| &choice.message.others);
        if others.into_iter().any(|(field, value)| !is_empty(value) && !left_out(field)) {
            return Err(Problem::upstream("the upstream sent a message with a field that is not known here"));
        }
        Ok(answer)
    }

    /// The completion with a choice for each verdict: `None` where it passed.
    pub fn told(self, model: &str, verdicts: &[Option<Verdict>]) -> Value {
        let choices = self.choices.into_iter().zip(verdicts).enumerate();
        let choices = choices.map(|(index, (choice, verdict))| match verdict {
            Some(_) => withheld(index),
            None => choice.told(index),
        });
        let mut body = whole(model, choices.collect(), json!(self.usage));
        let first = verdicts.iter().enumerate().find_map(|(index, verdict)| Some((index, verdict.as_ref()?)));
        if let Some((index, verdict)) = first {
            body["rsafe"] = note("response", index, verdict);
        }
        body
    }
}

impl Choice {
    /// Its texts as they are judged: each place for itself, and all of them side by side.
    pub fn texts(&self) -> Vec<String> {
        let Spoken { content, refusal, reasoning, reasoning_content, tool_calls, .. } = &self.message;
        let places = [reasoning, reasoning_content, content, refusal].into_iter().flatten().cloned();
        let mut texts: Vec<String> = places.chain(tool_calls.iter().flatten().map(Call::text)).collect();
        texts.retain(|text| !text.trim().is_empty());
        if texts.len() > 1 {
            texts.push(as_read(texts.clone()));
        }
        texts
    }

    fn told(self, index: usize) -> Value {
        let Spoken { content, refusal, reasoning, reasoning_content, tool_calls, .. } = self.message;
        let mut message = json!({"role": "assistant", "content": content, "refusal": refusal});
        for (field, text) in [("reasoning", reasoning), ("reasoning_content", reasoning_content)] {
            if let Some(text) = text {
                message[field] = text.into();
            }
        }
        if let Some(calls) = tool_calls {
            let calls = calls
                .into_iter()
                .map(|Call { id, function, .. }| json!({"id": id, "type": "function", "function": function}));
            message["tool_calls"] = calls.collect();
        }
        json!({"index": index, "message": message, "logprobs": null, "finish_reason": self.finish_reason})
    }
}

impl Call {
    /// Its name and arguments, their JSON written plainly: letters may come as their numbers.
    fn text(&self) -> String {
        let Called { name, arguments } = &self.function;
        let plain =
            serde_json::from_str::<Value>(arguments).map_or_else(|_| arguments.clone(), |value| value.to_string());
        let odd = (!is_identifier(&self.id)).then(|| self.id.clone());
        as_read(odd.into_iter().chain([name.clone(), plain]))
    }
}

/// The answer to a prompt that does not pass: that of a model that was filtered, which clients of OpenAI know.
pub fn refused(model: &str, verdict: &Verdict) -> Value {
    let usage = Usage { prompt_tokens: 0, completion_tokens: 0, total_tokens: 0 };
    let mut body = whole(model, vec![withheld(0)], json!(usage));
    body["rsafe"] = note("prompt", 0, verdict);
    body
}

fn whole(model: &str, choices: Vec<Value>, usage: Value) -> Value {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = format!("chatcmpl-{:x}", since.as_nanos());
    let created = since.as_secs();
    json!({"id": id, "object": "chat.completion", "created": created, "model": model, "choices": choices, "usage": usage})
}

fn withheld(index: usize) -> Value {
    let message = json!({"role": "assistant", "content": "", "refusal": null});
    json!({"index": index, "message": message, "logprobs": null, "finish_reason": "content_filter"})
}

/// Why something is withheld. It quotes nothing of the text.
fn note(target: &str, choice: usize, verdict: &Verdict) -> Value {
    let shown = json!(shape::Verdict::of(verdict, &[]));
    let mut note = json!({"target": target, "choice": choice});
    for field in ["decision", "tier", "flagged", "score", "categories", "rule", "failure", "usage"] {
        if let Some(value) = shown.get(field) {
            note[field] = value.clone();
        }
    }
    note
}

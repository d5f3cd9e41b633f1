//! What the owner of the server sets: arguments and the environment, read once and checked.

use std::env;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use axum::http::HeaderValue;
use reqwest::Url;
use rsafe::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

use super::messages::Speaker;
use super::settings::{Key, Settings, digest};
use super::upstream::{self, Limits, Upstream};
use crate::library::{GuardArgs, Loaded};

pub const ENVIRONMENT: &str = "\
Environment:
  RSAFE_API_KEY  what callers must show as `Authorization: Bearer …`; several keys between blanks, so that a new one can
                 take an old one's place. Without it whoever reaches the address may ask
  RSAFE_UPSTREAM_KEY  what the upstream is shown as `Authorization: Bearer …`. Without it that of the caller is passed on,
                 and the upstream says who may chat

Routes: POST /v1/check, POST /v1/moderations, POST /v1/chat/completions and POST /v1/responses (with --upstream),
GET /v1/models, GET /metrics, GET /healthz, GET /openapi.json, which describes them. SIGTERM and Ctrl-C end it when the
requests that came have been answered; a second one ends it at once.

Exit codes:
  0  it was told to end, and every request was answered
  2  an error, or requests were cut off";

#[derive(clap::Args)]
// In front of traffic a score is what is waited for; who wants reasons asks for them.
#[command(mut_arg("reasoning", |reasoning| reasoning.default_value("never")))]
pub struct ServeArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8787")]
    pub listen: SocketAddr,
    #[command(flatten)]
    guard: GuardArgs,
    /// The model behind the server, whose chats are judged up and down: a base (https://api.example.com/v1), or the address
    /// of its chat completions [default: none]
    #[arg(long, value_name = "URL", value_parser = upstream::base)]
    upstream: Option<Url>,
    /// Milliseconds that the upstream may be silent
    #[arg(long, value_name = "MS", default_value = "30000")]
    upstream_ms: NonZeroUsize,
    /// Bytes of an upstream's whole answer, or of one event of a stream
    #[arg(long, value_name = "N", default_value = "1048576")]
    max_answer_bytes: NonZeroUsize,
    /// Choices (`n`) of a chat
    #[arg(long, value_name = "N", default_value = "4")]
    max_choices: NonZeroUsize,
    /// Chats that are relayed at the same time; beyond, a request is a 429
    #[arg(long, value_name = "N", default_value = "32")]
    max_chats: NonZeroUsize,
    /// Texts of chats that passed and are remembered, by digests, so that a growing chat costs what is new in it; 0: none
    #[arg(long, value_name = "N", default_value_t = 4096)]
    max_remembered: usize,
    /// Roles of a chat (system, developer, tool, function) whose messages go up unread; only where callers cannot write them
    #[arg(long, value_name = "ROLE", value_delimiter = ',', value_parser = trusted)]
    trusted_roles: Vec<Speaker>,
    /// Names of fields of a chat whose contents pass unread, up and down
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    pass_fields: Vec<String>,
    /// Texts that are judged at the same time [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
    /// Texts that wait to be judged; beyond, a request is a 429
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_queued: usize,
    /// Texts of one moderation request
    #[arg(long, value_name = "N", default_value = "32")]
    max_inputs: NonZeroUsize,
    /// Bytes of a request
    #[arg(long, value_name = "N", default_value = "1048576")]
    max_body_bytes: NonZeroUsize,
    /// Tokens that one check may read, as `max_work` of the library counts them
    #[arg(long, value_name = "N", default_value = "16384")]
    max_work: NonZeroUsize,
    /// Milliseconds that a text may wait, and then that its check may take
    #[arg(long, value_name = "MS", default_value = "10000")]
    check_ms: NonZeroUsize,
    /// Milliseconds that open requests have to end once the server is told to
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    drain_ms: u64,
    /// Whether requests may bring policies of their own: they cost time of this machine. Built-in ones are always taken
    #[arg(long)]
    allow_policies: bool,
    /// The origin whose pages may call the server (https://app.example.com), or * [default: none]
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    allow_origin: Option<HeaderValue>,
}

impl ServeArgs {
    /// # Errors
    /// [`Error::BadInput`] for settings under which no request could be served.
    pub fn settings(&self, workers: usize) -> Result<Settings> {
        let (places, inputs) = (workers + self.max_queued, self.max_inputs.get());
        if places < inputs {
            let message = format!(
                "--max-queued {}: expected room for the {inputs} texts of one request (--max-inputs), found {places} \
                 places; raise the one or lower the other",
                self.max_queued
            );
            return Err(Error::BadInput(message));
        }
        Ok(Settings {
            keys: keys()?,
            max_queued: self.max_queued,
            max_inputs: inputs,
            max_body_bytes: self.max_body_bytes.get(),
            max_choices: self.max_choices.get(),
            max_chats: self.max_chats.get(),
            max_remembered: self.max_remembered,
            trusted_roles: self.trusted_roles.iter().copied().collect(),
            pass_fields: self.pass_fields.iter().cloned().collect(),
            check: Duration::from_millis(self.check_ms.get() as u64),
            drain: Duration::from_millis(self.drain_ms),
            allow_policies: self.allow_policies,
            allow_origin: self.allow_origin.clone(),
        })
    }

    /// # Errors
    /// [`Error::BadInput`] for a key that cannot be sent.
    pub fn upstream(&self, settings: &Settings) -> Result<Option<Upstream>> {
        let Some(address) = self.upstream.clone() else { return Ok(None) };
        let silence = Duration::from_millis(self.upstream_ms.get() as u64);
        let limits = Limits { silence, bytes: self.max_answer_bytes.get() };
        Upstream::new(address, upstream_key()?, &settings.keys, limits).map(Some)
    }

    pub fn load(&self) -> Result<Loaded> {
        self.guard.load_with(|options| options.max_work(self.max_work.get()))
    }
}

/// The digests of what callers may show.
fn keys() -> Result<Vec<Key>> {
    let Some(given) = env::var_os("RSAFE_API_KEY") else { return Ok(Vec::new()) };
    let keys: Vec<_> = given.to_str().unwrap_or_default().split_whitespace().map(digest).collect();
    // Set and yet no key: whoever did that did not mean to let everybody in.
    if keys.is_empty() {
        return Err(Error::BadInput(
            "RSAFE_API_KEY: expected a key, found none that is text; unset it or set one".into(),
        ));
    }
    Ok(keys)
}

/// The header with the owner's key for the upstream.
fn upstream_key() -> Result<Option<HeaderValue>> {
    let Some(given) = env::var_os("RSAFE_UPSTREAM_KEY") else { return Ok(None) };
    let key = given.to_str().map(str::trim).filter(|key| !key.is_empty());
    let value = key.and_then(|key| HeaderValue::from_str(&format!("Bearer {key}")).ok());
    let mut value = value.ok_or_else(|| {
        Error::BadInput("RSAFE_UPSTREAM_KEY: expected a key, found none that can be sent; unset it or set one".into())
    })?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn origin(text: &str) -> Result<HeaderValue, String> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let is_origin = host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']));
    match HeaderValue::from_str(text) {
        Ok(value) if text == "*" || is_origin => Ok(value),
        _ => Err("expected * or an origin such as https://app.example.com".into()),
    }
}

/// Reads the names of roles that the owner trusts.
fn trusted(role: &str) -> Result<Speaker, String> {
    match role {
        "system" | "developer" | "tool" | "function" => {
            Speaker::deserialize(&Value::from(role)).map_err(|error| error.to_string())
        }
        _ => Err("expected system, developer, tool or function".into()),
    }
}

//! The model behind the server: how it is asked, how long it may be silent, and what of its refusals is told.

use std::collections::HashSet;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use rsafe::{Error, Result};
use serde_json::{Map, Value};

use super::errors::Problem;
use super::judge::Judge;
use super::settings::{Key, digest};

/// Headers of the caller that the upstream may want.
const PASSED: [HeaderName; 2] =
    [HeaderName::from_static("openai-organization"), HeaderName::from_static("openai-project")];
/// Characters of an upstream's own error message that are told, if they pass.
const MOST_OF_MESSAGE: usize = 300;

pub struct Upstream {
    client: Client,
    /// Below which its routes lie.
    base: Url,
    /// The owner's key there.
    key: Option<HeaderValue>,
    /// What opens this server, and never goes up.
    keys: HashSet<Key>,
    limits: Limits,
}

/// What an upstream may do.
#[derive(Clone, Copy)]
pub struct Limits {
    /// How long it may be silent.
    pub silence: Duration,
    /// Bytes of a whole answer, or of one event of a stream.
    pub bytes: usize,
}

impl Upstream {
    /// # Errors
    /// [`Error::Unsupported`] where no client can be made, as without the system's certificates.
    pub fn new(base: Url, key: Option<HeaderValue>, keys: &[Key], limits: Limits) -> Result<Self> {
        // It fails only where one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(Policy::none()).connect_timeout(limits.silence).build();
        let client = client.map_err(|error| Error::Unsupported(format!("--upstream: no client: {error}")))?;
        Ok(Self { client, base, key, keys: keys.iter().copied().collect(), limits })
    }

    /// Whether the owner's key is used there: then callers must show ours. Else the upstream says who may.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// Asks at a path below its base, by GET where there is no body. What is sent is what was judged, written anew: another
    /// parser might read the caller's bytes another way.
    ///
    /// # Errors
    /// `upstream` (its own 4xx, else 502) and `timeout` (504). What it says itself is told where `judge` lets it pass.
    pub async fn ask(
        &self,
        path: &str,
        body: Option<&Map<String, Value>>,
        caller: &HeaderMap,
        judge: &Judge,
    ) -> Result<Answered, Problem> {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        let request = match body {
            Some(body) => self.client.post(url).body(serde_json::to_string(body).map_err(|_| Problem::internal())?),
            None => self.client.get(url),
        };
        let response = in_time(self.limits, request.headers(self.headers(caller)).send()).await?;
        let answered = Answered { response, limits: self.limits };
        if answered.response.status().is_success() { Ok(answered) } else { Err(answered.refusal(judge).await) }
    }

    fn headers(&self, caller: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for name in PASSED {
            headers.extend(caller.get(&name).map(|value| (name, value.clone())));
        }
        let shown = caller.get(header::AUTHORIZATION).filter(|shown| !self.opens_us(shown));
        headers.extend(self.key.as_ref().or(shown).map(|key| (header::AUTHORIZATION, key.clone())));
        headers
    }

    fn opens_us(&self, shown: &HeaderValue) -> bool {
        let words = shown.to_str().unwrap_or_default().split_whitespace();
        words.map(digest).any(|word| self.keys.contains(&word))
    }
}

/// An answer whose body has not been read.
pub struct Answered {
    response: Response,
    limits: Limits,
}

impl Answered {
    /// Whether the body is a stream of events.
    pub fn streams(&self) -> bool {
        let kind = self.response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        kind.is_some_and(|kind| kind.to_ascii_lowercase().starts_with("text/event-stream"))
    }

    /// The whole body.
    pub async fn whole(mut self) -> Result<Map<String, Value>, Problem> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if bytes.len() + chunk.len() > self.limits.bytes {
                let message = format!("the upstream's answer has more than {} bytes", self.limits.bytes);
                return Err(Problem::upstream(message));
            }
            bytes.extend_from_slice(&chunk);
        }
        let unread = |_| Problem::upstream("the upstream answered with something that is not a JSON object");
        serde_json::from_slice(&bytes).map_err(unread)
    }

    /// Bytes that a whole answer, or one event of a stream, may have.
    pub fn limit(&self) -> usize {
        self.limits.bytes
    }

    /// More of the body; none at its end.
    pub async fn chunk(&mut self) -> Result<Option<axum::body::Bytes>, Problem> {
        in_time(self.limits, self.response.chunk()).await
    }

    /// The caller's mistakes keep their status, the upstream's own become 502.
    async fn refusal(self, judge: &Judge) -> Problem {
        let status = self.response.status();
        let retry = self.response.headers().get(header::RETRY_AFTER).filter(|value| is_time(value)).cloned();
        let body = self.whole().await.unwrap_or_default();
        let told = if status.is_client_error() { status } else { StatusCode::BAD_GATEWAY };
        let message = format!("the upstream answered {}{}", status.as_u16(), message_in(&body, judge).await);
        let problem = Problem::new(told, "upstream", message);
        match retry {
            Some(retry) => problem.with(header::RETRY_AFTER, retry),
            None => problem,
        }
    }
}

/// What an error object says, shortened; nothing where that does not pass, or cannot be judged.
pub async fn message_in(body: &Map<String, Value>, judge: &Judge) -> String {
    let error = &body.get("error").unwrap_or(&Value::Null);
    let Some(message) = error.get("message").unwrap_or(error).as_str() else { return String::new() };
    let told: String = message.chars().take(MOST_OF_MESSAGE).collect();
    match judge.answered(&[], told.clone()).await {
        Ok(()) => format!(": {told}"),
        Err(_) => String::new(),
    }
}

/// When to come again, if it is a time and nothing else.
fn is_time(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    let seconds = (1..=6).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_digit);
    let date = bytes.len() == 29
        && bytes.ends_with(b" GMT")
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b" ,:".contains(byte));
    seconds || date
}

/// Errors of the network in our words; its own may name hosts.
async fn in_time<T>(limits: Limits, work: impl Future<Output = reqwest::Result<T>>) -> Result<T, Problem> {
    match tokio::time::timeout(limits.silence, work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) if !error.is_timeout() => {
            Err(Problem::upstream("the upstream could not be reached, or broke off"))
        }
        _ => {
            let message = format!("the upstream was silent for {} ms", limits.silence.as_millis());
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message))
        }
    }
}

/// The base of an API (`https://api.example.com/v1`), also from the address of its chat completions.
pub fn base(text: &str) -> Result<Url, String> {
    let wrong = || "expected an http(s) address such as https://api.example.com/v1".to_owned();
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong());
    }
    let path = url.path().trim_end_matches('/').trim_end_matches("/chat/completions").to_owned();
    url.set_path(if path.is_empty() { "/v1" } else { &path });
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_base_or_that_of_chat_completions() {
        for (given, expected) in [
            ("https://api.example.com", "https://api.example.com/v1"),
            ("https://api.example.com/v1/", "https://api.example.com/v1"),
            ("http://127.0.0.1:1234/api/v1/chat/completions", "http://127.0.0.1:1234/api/v1"),
            ("https://x.example/openai?api-version=1", "https://x.example/openai?api-version=1"),
        ] {
            assert_eq!(base(given).unwrap().as_str(), expected);
        }
        for wrong in ["api.example.com", "ftp://api.example.com/v1", "https://user:word@api.example.com/v1", ""] {
            assert!(base(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_time_to_come_again_is_a_number_or_a_date() {
        let is = |text: &'static str| is_time(&HeaderValue::from_static(text));
        assert!(is("7") && is("Wed, 21 Oct 2015 07:28:00 GMT"));
        assert!(!is("") && !is("soon, when they sleep") && !is("1234567"));
    }
}

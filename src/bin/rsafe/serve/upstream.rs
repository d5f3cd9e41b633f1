//! The model behind the server: how it is asked, how long it may be silent, and what of its refusals is told.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use rsafe::{Error, Result};
use serde_json::{Map, Value};

use super::errors::Problem;

/// Headers of the caller that the upstream may want.
const PASSED: [HeaderName; 2] =
    [HeaderName::from_static("openai-organization"), HeaderName::from_static("openai-project")];

pub struct Upstream {
    client: Client,
    chat: Url,
    /// The owner's key there.
    key: Option<HeaderValue>,
    /// Whether the caller's own key goes up: only where it opens nothing here.
    passes_key: bool,
    silence: Duration,
    most: usize,
}

impl Upstream {
    /// # Errors
    /// [`Error::Unsupported`] where no client can be made, as without the system's certificates.
    pub fn new(
        chat: Url,
        key: Option<HeaderValue>,
        passes_key: bool,
        (silence, most): (Duration, usize),
    ) -> Result<Self> {
        // It fails only where one is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().redirect(Policy::none()).connect_timeout(silence).build();
        let client = client.map_err(|error| Error::Unsupported(format!("--upstream: no client: {error}")))?;
        let passes_key = passes_key && key.is_none();
        Ok(Self { client, chat, key, passes_key, silence, most })
    }

    /// The answer to a chat that was judged. What is sent is what was judged, written anew: another parser might read the
    /// caller's bytes another way.
    ///
    /// # Errors
    /// `upstream` (its own 4xx, else 502) and `timeout` (504). None of them quotes the upstream.
    pub async fn chat(&self, body: &Map<String, Value>, caller: &HeaderMap) -> Result<Vec<u8>, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        for name in PASSED {
            headers.extend(caller.get(&name).map(|value| (name, value.clone())));
        }
        let own = caller.get(header::AUTHORIZATION).filter(|_| self.passes_key);
        headers.extend(self.key.as_ref().or(own).map(|key| (header::AUTHORIZATION, key.clone())));
        let body = Value::Object(body.clone()).to_string();
        let asked = self.client.post(self.chat.clone()).headers(headers).body(body).send();
        let mut response = self.in_time(asked).await?;
        let status = response.status();
        if !status.is_success() {
            let told = if status.is_client_error() { status } else { StatusCode::BAD_GATEWAY };
            return Err(Problem::new(told, "upstream", format!("the upstream answered {}", status.as_u16())));
        }
        self.whole(&mut response).await
    }

    async fn whole(&self, response: &mut Response) -> Result<Vec<u8>, Problem> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.in_time(response.chunk()).await? {
            if bytes.len() + chunk.len() > self.most {
                return Err(Problem::upstream(format!("the upstream's answer has more than {} bytes", self.most)));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Errors of the network in our words; its own may name hosts.
    async fn in_time<T>(&self, work: impl Future<Output = reqwest::Result<T>>) -> Result<T, Problem> {
        match tokio::time::timeout(self.silence, work).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) if !error.is_timeout() => {
                Err(Problem::upstream("the upstream could not be reached, or broke off"))
            }
            _ => {
                let message = format!("the upstream was silent for {} ms", self.silence.as_millis());
                Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message))
            }
        }
    }
}

/// Where chats are asked: from a base (`https://api.example.com/v1`), or the address of its chat completions.
pub fn address(text: &str) -> Result<Url, String> {
    let wrong = || "expected an http(s) address such as https://api.example.com/v1".to_owned();
    let mut url = Url::parse(text).map_err(|_| wrong())?;
    if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
        return Err(wrong());
    }
    let path = url.path().trim_end_matches('/').trim_end_matches("/chat/completions");
    let path = if path.is_empty() { "/v1" } else { path };
    let path = format!("{path}/chat/completions");
    url.set_path(&path);
    Ok(url)
}

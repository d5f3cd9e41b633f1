//! What crosses to JavaScript, in its shapes: camelCase, and places in UTF-16 units.

use js_sys::{JSON, Reflect};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;

use crate::error::Error;
use crate::policy;
use crate::policy::RuleLimits;
pub use crate::verdict::shape::Verdict;

/// Whose limits a policy's rules have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Limits {
    #[default]
    Owner,
    Caller,
}

impl From<Limits> for RuleLimits {
    fn from(limits: Limits) -> Self {
        match limits {
            Limits::Owner => RuleLimits::OWNER,
            Limits::Caller => RuleLimits::CALLER,
        }
    }
}

/// A JavaScript value as a Rust one.
pub fn from_js<T: DeserializeOwned>(value: JsValue) -> Result<T, JsValue> {
    // The error is a JavaScript one; as text it would name its class, too.
    let message = |e| js_sys::Error::from(JsValue::from(e)).message().into();
    serde_wasm_bindgen::from_value(value).map_err(|e| error(Error::BadInput(message(e))))
}

/// A Rust value as a plain JavaScript one: objects rather than maps, nothing rather than null where nothing is.
pub fn to_js(value: &impl Serialize) -> Result<JsValue, JsValue> {
    let serializer = Serializer::json_compatible().serialize_missing_as_null(true);
    value.serialize(&serializer).map_err(|e| error(Error::BadInput(e.to_string())))
}

/// JSON text as a JavaScript value.
pub fn json(text: &str) -> Result<JsValue, JsValue> {
    JSON::parse(text)
}

/// An `Error` with `code`, and `findings` for a bad policy.
pub fn error(error: Error) -> JsValue {
    let thrown = js_sys::Error::new(&error.to_string());
    let set = |key: &str, value: &JsValue| drop(Reflect::set(&thrown, &key.into(), value));
    set("code", &error.code().into());
    if let Error::BadPolicy(error) = &error {
        let findings: Vec<Finding> = error.findings.iter().map(Finding::of).collect();
        if let Ok(findings) = to_js(&findings) {
            set("findings", &findings);
        }
    }
    thrown.into()
}

#[derive(Serialize)]
pub struct Finding<'f> {
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    path: &'f str,
    expected: &'f str,
    found: &'f str,
    #[serde(skip_serializing_if = "Option::is_none")]
    help: Option<&'f str>,
    message: String,
}

impl<'f> Finding<'f> {
    pub fn of(finding: &'f policy::Finding) -> Self {
        Self {
            severity: match finding.severity {
                policy::Severity::Error => "error",
                policy::Severity::Warning => "warning",
            },
            line: finding.location.map(|at| at.line),
            column: finding.location.and_then(|at| at.column),
            path: &finding.path,
            expected: &finding.expected,
            found: &finding.found,
            help: finding.help.as_deref(),
            message: finding.to_string(),
        }
    }
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Event<'e> {
    Reading,
    Reasoning { text: &'e str },
    Verdict { verdict: Verdict<'e> },
}

impl<'e> Event<'e> {
    /// `texts` are the contents of the conversation's messages.
    pub fn of(event: &'e crate::guard::Event, texts: &[&str]) -> Self {
        match event {
            crate::guard::Event::Reading => Event::Reading,
            crate::guard::Event::Reasoning(text) => Event::Reasoning { text },
            crate::guard::Event::Verdict(verdict) => Event::Verdict { verdict: Verdict::of(verdict, texts) },
        }
    }
}

#[derive(Serialize)]
pub struct Released<'r> {
    released: &'r str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<Verdict<'r>>,
    blocked: bool,
}

impl<'r> Released<'r> {
    /// `texts` are the contents of the messages answered, and the response.
    pub fn of(released: &'r crate::monitor::Released, texts: &[&str]) -> Self {
        Self {
            released: &released.text,
            verdict: released.verdict.as_ref().map(|verdict| Verdict::of(verdict, texts)),
            blocked: released.blocked,
        }
    }
}

//! What crosses to JavaScript, in its shapes: camelCase, and places in UTF-16 units.

use js_sys::{JSON, Reflect};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_wasm_bindgen::Serializer;
use wasm_bindgen::prelude::*;

use crate::policy::RuleLimits;
use crate::verdict::{CategoryScore, Note, Usage};
use crate::{Decision, Error, Tier, policy};

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
    pub fn of(event: &'e crate::Event, texts: &[&str]) -> Self {
        match event {
            crate::Event::Reading => Event::Reading,
            crate::Event::Reasoning(text) => Event::Reasoning { text },
            crate::Event::Verdict(verdict) => Event::Verdict { verdict: Verdict::of(verdict, texts) },
        }
    }
}

#[derive(Serialize)]
pub struct Verdict<'v> {
    decision: Decision,
    tier: Tier,
    flagged: bool,
    score: f64,
    categories: Vec<Category<'v>>,
    evidence: Vec<Evidence<'v>>,
    reasoning: Option<&'v str>,
    unreadable: f64,
    notes: &'v [Note],
    rule: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<&'v str>,
    usage: JsUsage,
}

#[derive(Serialize)]
struct Category<'v> {
    id: &'v str,
    name: &'v str,
    score: f64,
    threshold: f64,
    flagged: bool,
}

impl<'v> Category<'v> {
    fn of(category: &'v CategoryScore) -> Self {
        let CategoryScore { id, name, score, threshold, flagged } = category;
        Self { id, name, score: decimal(*score), threshold: decimal(*threshold), flagged: *flagged }
    }
}

/// The number that JavaScript prints as Rust does: 0.7 and not 0.699999988079071.
fn decimal(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(value))
}

#[derive(Serialize)]
struct Evidence<'v> {
    message: usize,
    start: usize,
    end: usize,
    quote: &'v str,
    category: Option<&'v str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effect: Option<f64>,
}

/// [`Usage`] with the names of JavaScript.
#[derive(Serialize)]
#[serde(remote = "Usage", rename_all = "camelCase")]
struct UsageFields {
    prompt_tokens: usize,
    cached_tokens: usize,
    answer_tokens: usize,
    first_token_ms: f64,
    verdict_ms: f64,
}

#[derive(Serialize)]
#[serde(transparent)]
struct JsUsage(#[serde(with = "UsageFields")] Usage);

impl<'v> Verdict<'v> {
    /// `texts` are the contents of the messages that evidence may quote.
    pub fn of(verdict: &'v crate::Verdict, texts: &[&str]) -> Self {
        let evidence = verdict.evidence.iter().map(|evidence| {
            let units = |bytes: usize| {
                let before = texts.get(evidence.message).and_then(|text| text.get(..bytes)).unwrap_or_default();
                before.encode_utf16().count()
            };
            Evidence {
                message: evidence.message,
                start: units(evidence.start),
                end: units(evidence.end),
                quote: &evidence.quote,
                category: evidence.category.as_deref(),
                effect: evidence.effect.map(decimal),
            }
        });
        Self {
            decision: verdict.decision,
            tier: verdict.tier,
            flagged: verdict.flagged,
            score: decimal(verdict.score),
            categories: verdict.categories.iter().map(Category::of).collect(),
            evidence: evidence.collect(),
            reasoning: verdict.reasoning.as_deref(),
            unreadable: decimal(verdict.unreadable),
            notes: &verdict.notes,
            rule: verdict.rule.as_deref(),
            failure: verdict.failure.as_deref(),
            usage: JsUsage(verdict.usage),
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
    pub fn of(released: &'r crate::Released, texts: &[&str]) -> Self {
        Self {
            released: &released.text,
            verdict: released.verdict.as_ref().map(|verdict| Verdict::of(verdict, texts)),
            blocked: released.blocked,
        }
    }
}

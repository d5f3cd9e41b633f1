//! The bindings for browsers, workers and Node: they translate, and decide nothing.
//!
//! `www/src/wasm.ts` describes them to TypeScript, which makes the package's API of them. Errors are thrown as `Error`s
//! with the stable `code` of [`Error::code`](crate::Error::code).

mod device;
mod monitor;
mod policies;
mod reader;
mod task;
mod values;

use std::rc::Rc;
use std::sync::Arc;

use js_sys::{Function, Promise};
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::bundle::Bundle;
use crate::conversation::{Conversation, Message, Target};
use crate::guard::{Event, Guard, LoadOptions, MAX_WORK, Reasoning, Request};
use crate::policy::{Format, Policy, lint};
use crate::verdict::OnError;
use policies::Policies;
use reader::JsReader;
use task::promise;
use values::{Limits, from_js, json, to_js};

/// A loaded guard.
#[wasm_bindgen]
pub struct WasmGuard {
    guard: Rc<Guard>,
    policies: Rc<Policies>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    on_error: OnError,
    max_work: Option<usize>,
    allow_untested: bool,
}

#[derive(Deserialize)]
struct CheckRequest {
    messages: Vec<Message>,
    policy: Option<String>,
    target: Option<Target>,
    reasoning: Reasoning,
    strictness: Option<f32>,
    #[serde(default, rename = "policyLimits")]
    policy_limits: Limits,
}

#[wasm_bindgen]
impl WasmGuard {
    /// Loads a bundle: its manifest, and a function that gives its other files by name.
    #[wasm_bindgen(unchecked_return_type = "Promise<WasmGuard>")]
    pub fn load(manifest: Vec<u8>, read: Function, options: JsValue) -> Promise {
        promise(async move {
            let Options { on_error, max_work, allow_untested } = from_js(options)?;
            let reader = Arc::new(JsReader::new(read));
            let bundle = Bundle::from_reader(&manifest, reader.clone()).map_err(values::error)?;
            let device = device::open().await.map_err(values::error)?;
            let max_work = max_work.unwrap_or(MAX_WORK);
            let options = LoadOptions { on_error, max_work, allow_untested, ..LoadOptions::on(device) };
            let guard = Guard::load(bundle, options).await.and_then(|guard| device::alive().map(|()| guard));
            // What the function threw says more than that it did.
            let guard = Rc::new(guard.map_err(|error| reader.thrown().unwrap_or_else(|| values::error(error)))?);
            Ok(JsValue::from(WasmGuard { guard, policies: Rc::default() }))
        })
    }

    #[wasm_bindgen(getter)]
    pub fn model(&self) -> String {
        self.guard.model().to_owned()
    }

    /// How the model did in its bundle's self-test; null for one without.
    #[wasm_bindgen(js_name = selfTest)]
    pub fn self_test(&self) -> Result<JsValue, JsValue> {
        to_js(&self.guard.tested())
    }

    /// The bundle's own policy.
    pub fn policy(&self) -> Result<JsValue, JsValue> {
        json(&self.guard.policy().to_json())
    }

    /// Judges. `on_event` gets each event; what it returns is awaited, and `false` ends the check.
    pub fn check(&self, request: JsValue, on_event: Option<Function>) -> Promise {
        let (guard, policies) = (self.guard.clone(), self.policies.clone());
        promise(async move {
            let CheckRequest { messages, policy, target, reasoning, strictness, policy_limits } = from_js(request)?;
            let policy = policy.map(|json| policies.parse(json, policy_limits)).transpose()?;
            let conversation = conversation(messages, target);
            let request = Request { conversation, policy: policy.as_deref(), reasoning, strictness };
            let texts: Vec<&str> = request.conversation.messages.iter().map(|it| it.content.as_str()).collect();
            let mut session = guard.start(&request).map_err(values::error)?;
            while let Some(event) = session.next().await.map_err(values::error)? {
                device::alive().map_err(values::error)?;
                let shown = to_js(&values::Event::of(&event, &texts))?;
                if let Some(on_event) = &on_event {
                    let answer = on_event.call1(&JsValue::NULL, &shown)?;
                    if JsFuture::from(Promise::resolve(&answer)).await? == false {
                        return Ok(JsValue::UNDEFINED);
                    }
                }
                if let Event::Verdict(verdict) = event {
                    return to_js(&values::Verdict::of(&verdict, &texts));
                }
            }
            Err(values::error(crate::error::Error::BadModel("the check ended without a verdict".into())))
        })
    }
}

fn conversation(messages: Vec<Message>, target: Option<Target>) -> Conversation {
    let conversation = Conversation::of(messages);
    Conversation { target: target.unwrap_or(conversation.target), ..conversation }
}

/// Reads a policy file's text; the name helps to tell the format. Its rules have the owner's limits if no others are named.
#[wasm_bindgen(js_name = parsePolicy)]
pub fn parse_policy(text: &str, file_name: Option<String>, limits: JsValue) -> Result<JsValue, JsValue> {
    let limits: Option<Limits> = from_js(limits)?;
    let policy = Policy::detect_within(text, file_name.as_deref(), limits.unwrap_or_default().into())
        .map_err(|error| values::error(error.into()))?;
    json(&policy.to_json())
}

/// A policy that comes with the library.
#[wasm_bindgen(js_name = builtinPolicy)]
pub fn builtin_policy(name: &str) -> Result<JsValue, JsValue> {
    let policy = Policy::builtin(name).map_err(|error| values::error(error.into()))?;
    json(&policy.to_json())
}

/// Every mistake and every doubtful place of a policy file's text.
#[wasm_bindgen(js_name = lintPolicy)]
pub fn lint_policy(text: &str, file_name: Option<String>) -> Result<JsValue, JsValue> {
    let findings = lint(text, Format::detect(text, file_name.as_deref()));
    to_js(&findings.iter().map(values::Finding::of).collect::<Vec<_>>())
}

//! A growing response under judgement, one call at a time.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::Promise;
use serde::Deserialize;
use wasm_bindgen::prelude::*;

use super::task::promise;
use super::values::{self, from_js, to_js};
use super::{CheckRequest, WasmGuard, device};
use crate::{Error, Guard, Monitor, MonitorOptions, Released, Result};

/// `None` while a call is at work.
#[wasm_bindgen]
pub struct WasmMonitor(Rc<RefCell<Option<Monitor<Rc<Guard>>>>>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pace {
    check_every: usize,
    hold_back: usize,
    release_on_review: bool,
}

#[wasm_bindgen]
impl WasmGuard {
    /// Starts judging a response that grows: the request's `messages` are what it answers.
    pub fn monitor(&self, request: JsValue, pace: JsValue) -> Result<WasmMonitor, JsValue> {
        let CheckRequest { messages, policy, reasoning, strictness, policy_limits, .. } = from_js(request)?;
        let Pace { check_every, hold_back, release_on_review } = from_js(pace)?;
        let policy =
            policy.map(|json| self.policies.parse(json, policy_limits)).transpose()?.map(|policy| (*policy).clone());
        let options = MonitorOptions {
            check_every,
            hold_back,
            release_on_review,
            reasoning,
            strictness,
            ..MonitorOptions::default()
        };
        let monitor = Monitor::new(self.guard.clone(), messages, policy, options).map_err(values::error)?;
        Ok(WasmMonitor(Rc::new(RefCell::new(Some(monitor)))))
    }
}

#[wasm_bindgen]
impl WasmMonitor {
    /// More of the response: what may be shown now.
    pub fn push(&self, text: String) -> Promise {
        self.with(async move |monitor| monitor.push(&text).await)
    }

    /// The end of the response: the rest of it, and the verdict on all of it.
    pub fn finish(&self) -> Promise {
        self.with(async |monitor| monitor.finish().await)
    }

    fn with(&self, work: impl AsyncFnOnce(&mut Monitor<Rc<Guard>>) -> Result<Released> + 'static) -> Promise {
        let cell = self.0.clone();
        promise(async move {
            let taken = cell.borrow_mut().take();
            let Some(mut monitor) = taken else {
                let what = "the monitor is still at work; await a push before the next";
                return Err(values::error(Error::BadInput(what.into())));
            };
            let released = work(&mut monitor).await.and_then(|released| device::alive().map(|()| released));
            let value = released.map_err(values::error).and_then(|released| {
                let texts: Vec<&str> = monitor.texts().collect();
                to_js(&values::Released::of(&released, &texts))
            });
            *cell.borrow_mut() = Some(monitor);
            value
        })
    }
}

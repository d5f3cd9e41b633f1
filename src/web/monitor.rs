//! A growing response under judgement, one call at a time.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Function, Promise};
use serde::Deserialize;
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use super::task::promise;
use super::values::{self, from_js, to_js};
use super::{CheckRequest, WasmGuard, device};
use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::monitor::{Monitor, MonitorOptions, Pace, Released};

/// `None` while a call is at work.
#[wasm_bindgen]
pub struct WasmMonitor(Rc<RefCell<Option<Monitor<Rc<Guard>>>>>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MonitorPace {
    check_every: usize,
    hold_back: usize,
    pace: Pace,
    release_on_review: bool,
}

#[wasm_bindgen]
impl WasmGuard {
    /// Starts judging a response that grows: the request's `messages` are what it answers.
    pub fn monitor(&self, request: JsValue, pace: JsValue) -> Result<WasmMonitor, JsValue> {
        let CheckRequest { messages, policy, reasoning, strictness, policy_limits, .. } = from_js(request)?;
        let MonitorPace { check_every, hold_back, pace, release_on_review } = from_js(pace)?;
        let policy =
            policy.map(|json| self.policies.parse(json, policy_limits)).transpose()?.map(|policy| (*policy).clone());
        let options = MonitorOptions {
            check_every,
            hold_back,
            pace,
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
    /// More of the response: what may be shown now. What `on_reading` returns is awaited between the steps of reading;
    /// where it throws, the call ends with that and the monitor is closed.
    pub fn push(&self, text: String, on_reading: Option<Function>) -> Promise {
        let pause = JsPause::new(on_reading);
        self.with(pause.clone(), async move |monitor| monitor.push_pausing(&text, async || pause.take().await).await)
    }

    /// What may be shown now without more of it: what is new is checked before its sentence has ended.
    #[wasm_bindgen(js_name = checkNow)]
    pub fn check_now(&self, on_reading: Option<Function>) -> Promise {
        let pause = JsPause::new(on_reading);
        self.with(pause.clone(), async move |monitor| monitor.check_now_pausing(async || pause.take().await).await)
    }

    /// The end of the response: the rest of it, and the verdict on all of it.
    pub fn finish(&self, on_reading: Option<Function>) -> Promise {
        let pause = JsPause::new(on_reading);
        self.with(pause.clone(), async move |monitor| monitor.finish_pausing(async || pause.take().await).await)
    }

    fn with(
        &self,
        pause: JsPause,
        work: impl AsyncFnOnce(&mut Monitor<Rc<Guard>>) -> Result<Released> + 'static,
    ) -> Promise {
        let cell = self.0.clone();
        promise(async move {
            let taken = cell.borrow_mut().take();
            let Some(mut monitor) = taken else {
                let what = "the monitor is still at work; await a push before the next";
                return Err(values::error(Error::BadInput(what.into())));
            };
            let released = work(&mut monitor).await.and_then(|released| device::alive().map(|()| released));
            // What the function threw says more than that it did.
            let failed = |error| pause.thrown.take().unwrap_or_else(|| values::error(error));
            let value = released.map_err(failed).and_then(|released| {
                let texts: Vec<&str> = monitor.texts().collect();
                to_js(&values::Released::of(&released, &texts))
            });
            *cell.borrow_mut() = Some(monitor);
            value
        })
    }
}

/// A JavaScript function that is awaited between steps, and what it threw.
#[derive(Clone)]
struct JsPause {
    call: Option<Function>,
    thrown: Rc<RefCell<Option<JsValue>>>,
}

impl JsPause {
    fn new(call: Option<Function>) -> Self {
        Self { call, thrown: Rc::default() }
    }

    async fn take(&self) -> Result<()> {
        let Some(call) = &self.call else { return Ok(()) };
        let failed = |thrown| {
            self.thrown.replace(Some(thrown));
            Error::BadInput("the call was given up".into())
        };
        let promise = call.call0(&JsValue::NULL).map_err(failed)?;
        JsFuture::from(Promise::resolve(&promise)).await.map_err(failed)?;
        Ok(())
    }
}

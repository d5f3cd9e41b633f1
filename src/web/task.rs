//! Promises whose work may trap: what ends the work ends the promise, too.
//!
//! `wasm_bindgen_futures::spawn_local` polls in a microtask of its own. A trap there (memory gone, a panic) surfaces as
//! an unhandled rejection, and the promise that a caller awaits stays open for ever. Here each poll is a step of a
//! promise chain whose failure rejects the caller's promise.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use js_sys::{Function, Promise};
use wasm_bindgen::prelude::*;

type Work = Pin<Box<dyn Future<Output = Result<JsValue, JsValue>>>>;

#[wasm_bindgen]
extern "C" {
    /// `Promise`'s methods with plain functions: a closure of this instance could not run after a trap.
    type Chain;
    #[wasm_bindgen(method)]
    fn then(this: &Chain, step: &Function) -> Chain;
    #[wasm_bindgen(method)]
    fn catch(this: &Chain, failed: &Function) -> Chain;
}

struct Task {
    /// `None` while it is polled and when it is done.
    work: RefCell<Option<Work>>,
    resolve: Function,
    reject: Function,
}

/// Wakes a task. WebAssembly without threads has one thread, so nothing is ever shared.
struct Waking(Rc<Task>);

// SAFETY: the web builds have no threads (no `atomics` target feature), so neither a move nor a share between them can
// happen; `Wake` asks for both because other targets could.
unsafe impl Send for Waking {}
unsafe impl Sync for Waking {}

impl Wake for Waking {
    fn wake(self: Arc<Self>) {
        schedule(self.0.clone());
    }
}

/// Starts the work in the next microtask and gives its promise.
pub fn promise(work: impl Future<Output = Result<JsValue, JsValue>> + 'static) -> Promise {
    let mut work = Some(work);
    Promise::new(&mut |resolve, reject| {
        if let Some(work) = work.take() {
            schedule(Rc::new(Task { work: RefCell::new(Some(Box::pin(work))), resolve, reject }));
        }
    })
}

fn schedule(task: Rc<Task>) {
    let reject = task.reject.clone();
    let step = Closure::once_into_js(move || poll(&task));
    let start: Chain = Promise::resolve(&JsValue::UNDEFINED).unchecked_into();
    start.then(step.unchecked_ref()).catch(&reject);
}

fn poll(task: &Rc<Task>) {
    // Woken again while or after it ran: nothing to do.
    let Some(mut work) = task.work.borrow_mut().take() else { return };
    let waker = Waker::from(Arc::new(Waking(task.clone())));
    match work.as_mut().poll(&mut Context::from_waker(&waker)) {
        Poll::Pending => *task.work.borrow_mut() = Some(work),
        // Calling a promise's own function cannot fail.
        Poll::Ready(Ok(value)) => drop(task.resolve.call1(&JsValue::NULL, &value)),
        Poll::Ready(Err(error)) => drop(task.reject.call1(&JsValue::NULL, &error)),
    }
}

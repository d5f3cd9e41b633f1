//! A bundle's files, read through a JavaScript function.

use std::cell::RefCell;

use js_sys::{Function, Promise, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::bundle::{FileBytes, ReadFile};
use crate::error::Error;

/// `(name: string) => Promise<Uint8Array>`, and what it threw.
pub struct JsReader {
    read: Function,
    thrown: RefCell<Option<JsValue>>,
}

impl JsReader {
    pub fn new(read: Function) -> Self {
        Self { read, thrown: RefCell::default() }
    }

    /// What the function threw, if it did: an error of the package's own, with its code.
    pub fn thrown(&self) -> Option<JsValue> {
        self.thrown.take()
    }
}

impl ReadFile for JsReader {
    fn read<'r>(&'r self, name: &'r str) -> FileBytes<'r> {
        Box::pin(async move {
            let failed = |thrown| {
                self.thrown.replace(Some(thrown));
                Error::BadInput(format!("`{name}` could not be read"))
            };
            let promise = self.read.call1(&JsValue::NULL, &name.into()).map_err(failed)?;
            let bytes = JsFuture::from(Promise::resolve(&promise)).await.map_err(failed)?;
            let bytes: Uint8Array =
                bytes.dyn_into().map_err(|_| Error::BadInput(format!("the reader of `{name}` gave no Uint8Array")))?;
            Ok(bytes.to_vec())
        })
    }
}

//! Policies that requests brought as text: parsing one compiles its rules, so the last few are kept.

use std::cell::RefCell;
use std::rc::Rc;

use wasm_bindgen::JsValue;

use super::values;
use crate::Policy;
use crate::policy::Format;

const KEPT: usize = 8;

/// The latest used last.
#[derive(Default)]
pub struct Policies(RefCell<Vec<(String, Rc<Policy>)>>);

impl Policies {
    /// The policy of this JSON text.
    ///
    /// # Errors
    /// `bad_policy`, with its findings.
    pub fn parse(&self, json: String) -> Result<Rc<Policy>, JsValue> {
        let mut kept = self.0.borrow_mut();
        let entry = match kept.iter().position(|(text, _)| *text == json) {
            Some(at) => kept.remove(at),
            None => {
                let policy = Policy::parse(&json, Format::Json).map_err(|error| values::error(error.into()))?;
                (json, Rc::new(policy))
            }
        };
        let policy = entry.1.clone();
        kept.push(entry);
        if kept.len() > KEPT {
            kept.remove(0);
        }
        Ok(policy)
    }
}

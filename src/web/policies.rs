//! Policies that requests brought as text: parsing one compiles its rules, so the last few are kept.

use std::cell::RefCell;
use std::rc::Rc;

use wasm_bindgen::JsValue;

use super::values::{self, Limits};
use crate::policy::{Format, Policy};

const KEPT: usize = 8;

/// The latest used last.
#[derive(Default)]
pub struct Policies(RefCell<Vec<(Key, Rc<Policy>)>>);

/// A policy's JSON text, and within which limits its rules were compiled.
type Key = (String, Limits);

impl Policies {
    /// The policy of this JSON text, its rules within limits.
    ///
    /// # Errors
    /// `bad_policy`, with its findings.
    pub fn parse(&self, json: String, limits: Limits) -> Result<Rc<Policy>, JsValue> {
        let key = (json, limits);
        let mut kept = self.0.borrow_mut();
        let entry = match kept.iter().position(|(known, _)| *known == key) {
            Some(at) => kept.remove(at),
            None => {
                let policy = Policy::parse_within(&key.0, Format::Json, limits.into());
                (key, Rc::new(policy.map_err(|error| values::error(error.into()))?))
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

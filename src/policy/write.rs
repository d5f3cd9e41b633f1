//! A policy written back: canonical YAML and JSON, serde, and the fingerprint that caches go by.

use std::fmt::Write;

use serde::de::Error as _;
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::limits::RuleLimits;
use super::{Category, Policy, json, read};

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct(
            "Policy",
            3 + usize::from(!self.rules.is_empty()) + usize::from(self.unreadable.is_some()),
        )?;
        fields.serialize_field("name", &self.name)?;
        fields.serialize_field("version", &self.version)?;
        fields.serialize_field("categories", &self.categories)?;
        if !self.rules.is_empty() {
            fields.serialize_field("rules", &self.rules)?;
        }
        if let Some(unreadable) = &self.unreadable {
            fields.serialize_field("unreadable", unreadable)?;
        }
        fields.end()
    }
}

/// The two lists of a category's `examples`.
#[derive(Serialize)]
struct Examples<'c> {
    #[serde(rename = "unsafe", skip_serializing_if = "<[String]>::is_empty")]
    unsafe_examples: &'c [String],
    #[serde(rename = "safe", skip_serializing_if = "<[String]>::is_empty")]
    safe_examples: &'c [String],
}

impl Serialize for Category {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { unsafe_examples, safe_examples, .. } = self;
        let has_definition = !self.definition.is_empty();
        let has_examples = !unsafe_examples.is_empty() || !safe_examples.is_empty();
        let optional = [has_definition, has_examples, self.threshold.is_some()];
        let count = 3 + optional.iter().filter(|it| **it).count();
        let mut fields = serializer.serialize_struct("Category", count)?;
        fields.serialize_field("id", &self.id)?;
        fields.serialize_field("name", &self.name)?;
        if has_definition {
            fields.serialize_field("definition", &self.definition)?;
        }
        if has_examples {
            fields.serialize_field("examples", &Examples { unsafe_examples, safe_examples })?;
        }
        fields.serialize_field("action", &self.action)?;
        if let Some(threshold) = self.threshold {
            fields.serialize_field("threshold", &threshold)?;
        }
        fields.end()
    }
}

/// Reads the canonical form from any serde format, with the same checks as [`Policy::parse`].
impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?.to_string();
        json::parse(&json)
            .and_then(|root| read::policy(&root, RuleLimits::default()).into_result())
            .map_err(D::Error::custom)
    }
}

/// Reads one category of the canonical form, with the same checks as [`Policy::parse`].
impl<'de> Deserialize<'de> for Category {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?.to_string();
        json::parse(&json).and_then(|root| read::category(&root)).map_err(D::Error::custom)
    }
}

impl Policy {
    /// The canonical JSON: every field that matters, in a fixed order, indented by two spaces.
    pub fn to_json(&self) -> String {
        // Strings, finite numbers and lists alone: none of them can fail. A threshold that is not finite becomes `null`.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// The canonical YAML, with the same fields in the same order as [`to_json`](Self::to_json).
    pub fn to_yaml(&self) -> String {
        // As in `to_json`, nothing of a policy can fail to be written.
        serde_saphyr::to_string(self).unwrap_or_default()
    }

    /// 64 hexadecimal digits that two policies share exactly if they are equal: SHA-256 of the compact canonical JSON.
    pub fn fingerprint(&self) -> String {
        // Fails as little as `to_json`.
        let json = serde_json::to_vec(self).unwrap_or_default();
        Sha256::digest(json).iter().fold(String::with_capacity(64), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })
    }
}

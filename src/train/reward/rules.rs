//! The rules of a rewards file, each optional: one that is not there does not count.

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    Accuracy, Agreement, Asymmetric, Budget, Categories, Contradiction, Evidence, Format, Length, OverRefusal,
};

/// A rewards file.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    #[serde(deserialize_with = "rule", skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<Accuracy>,
    #[serde(deserialize_with = "rule", skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    #[serde(deserialize_with = "rule", skip_serializing_if = "Option::is_none")]
    pub category: Option<Categories>,
    #[serde(deserialize_with = "rule", skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
    #[serde(deserialize_with = "rule", skip_serializing_if = "Option::is_none")]
    pub contradiction: Option<Contradiction>,
    #[serde(deserialize_with = "rule", skip_serializing_if = "Option::is_none")]
    pub agreement: Option<Agreement>,
    #[serde(deserialize_with = "rule", skip_serializing_if = "Option::is_none")]
    pub asymmetric: Option<Asymmetric>,
    #[serde(deserialize_with = "rule", skip_serializing_if = "Option::is_none")]
    pub budget: Option<Budget>,
    #[serde(deserialize_with = "rule", skip_serializing_if = "Option::is_none")]
    pub over_refusal: Option<OverRefusal>,
    #[serde(deserialize_with = "rule", skip_serializing_if = "Option::is_none")]
    pub length: Option<Length>,
}

/// A rule that is named has its options: an empty entry is a slip of the pen, not a rule that is off.
fn rule<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

//! Numbers of a rewards file, checked where they are read, so that the error names the place.

use serde::{Deserialize, Serialize};

/// A finite number, at least 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Amount(pub(super) f32);

impl Amount {
    pub fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f32> for Amount {
    type Error = String;

    fn try_from(value: f32) -> Result<Self, String> {
        match value.is_finite() && value >= 0.0 {
            true => Ok(Self(value)),
            false => Err(format!("expected a finite number of at least 0, found {value}")),
        }
    }
}

impl From<Amount> for f32 {
    fn from(amount: Amount) -> f32 {
        amount.0
    }
}

/// A number above 0 and below 1.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f32", into = "f32")]
pub struct Share(pub(super) f32);

impl Share {
    pub fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f32> for Share {
    type Error = String;

    fn try_from(value: f32) -> Result<Self, String> {
        match value > 0.0 && value < 1.0 {
            true => Ok(Self(value)),
            false => Err(format!("expected a number above 0 and below 1, found {value}")),
        }
    }
}

impl From<Share> for f32 {
    fn from(share: Share) -> f32 {
        share.0
    }
}

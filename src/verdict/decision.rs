//! What is done with a text.

use serde::{Deserialize, Serialize};

/// What to do with the text, from harmless to severe. A `match` in your code needs an arm for decisions to come: let it
/// block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Decision {
    Allow,
    Review,
    Block,
}

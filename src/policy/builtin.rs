//! The policies that come with the library, as data files.

use super::{Format, Policy};
use crate::finding::{Finding, PolicyError, quoted, suggestion};

const FILES: [(&str, &str); 5] = [
    ("rsafe", include_str!("builtin/rsafe.yaml")),
    ("mlcommons", include_str!("builtin/mlcommons.yaml")),
    ("openai", include_str!("builtin/openai.yaml")),
    ("general", include_str!("builtin/general.yaml")),
    ("agents", include_str!("builtin/agents.yaml")),
];

impl Policy {
    /// A built-in policy: `rsafe` (RSafe's 18 categories), `mlcommons` (S1 to S14 of the MLCommons hazards), `openai`
    /// (the categories of OpenAI's moderation endpoint under their own ids), `general` (broad categories by name
    /// alone and one for any other harm, rsafe-mini's own), or `agents` (what endangers assistants that use tools).
    ///
    /// # Errors
    /// If there is no policy of that name.
    pub fn builtin(name: &str) -> Result<Self, PolicyError> {
        let Some((name, text)) = FILES.iter().find(|(known, _)| *known == name) else {
            let expected = format!("a built-in policy, one of `{}`", Self::builtin_names().join("`, `"));
            let mut finding = Finding::error("", expected, quoted(name));
            finding.help = suggestion(name, Self::builtin_names());
            return Err(PolicyError::of(finding));
        };
        Self::parse(text, Format::Yaml).map_err(|error| error.with_origin(*name))
    }

    /// The names that [`builtin`](Self::builtin) knows.
    pub fn builtin_names() -> [&'static str; FILES.len()] {
        FILES.map(|(name, _)| name)
    }
}

//! What is wrong with a policy, and where: one [`Finding`] a mistake, and the error that carries them.

use std::fmt;

use serde::Serialize;

/// How bad a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy works, but probably not as its owner means it.
    Warning,
    /// The policy is refused.
    Error,
}

/// A place in a policy's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Location {
    /// The line, counted from 1.
    pub line: usize,
    /// The column in characters, counted from 1, where it is known.
    pub column: Option<usize>,
}

impl Location {
    pub(crate) fn new(line: usize, column: usize) -> Self {
        Self { line, column: Some(column) }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}", self.line)?;
        self.column.map_or(Ok(()), |column| write!(f, ", column {column}"))
    }
}

/// One mistake or doubt: where it is, what was expected, what came, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    pub severity: Severity,
    /// Where in the source; `None` for a policy that was built in code.
    pub location: Option<Location>,
    /// The field, e.g. `categories[2].threshold`; empty for the policy as a whole.
    pub path: String,
    pub expected: String,
    pub found: String,
    /// What to do about it, where that is not obvious.
    pub help: Option<String>,
}

impl Finding {
    pub(crate) fn error(path: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            location: None,
            path: path.into(),
            expected: expected.into(),
            found: found.into(),
            help: None,
        }
    }

    pub(crate) fn warning(path: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(path, expected, found) }
    }

    pub(crate) fn at(mut self, location: Location) -> Self {
        self.location = Some(location);
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = &self.location {
            write!(f, "{location}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "expected {}, found {}", self.expected, self.found)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

/// Why a policy was refused: every mistake that could be told apart, in the order of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyError {
    /// The file or built-in policy that the source came from, where there is one.
    pub origin: Option<String>,
    /// At least one; all of them [`Severity::Error`].
    pub findings: Vec<Finding>,
}

impl PolicyError {
    pub(crate) fn new(findings: Vec<Finding>) -> Self {
        Self { origin: None, findings }
    }

    pub(crate) fn of(finding: Finding) -> Self {
        Self::new(vec![finding])
    }

    /// Names the file or built-in policy that the source came from.
    pub(crate) fn with_origin(mut self, origin: impl Into<String>) -> Self {
        self.origin = Some(origin.into());
        self
    }
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bad policy")?;
        if let Some(origin) = &self.origin {
            write!(f, " {origin}")?;
        }
        match &self.findings[..] {
            [finding] => write!(f, ": {finding}"),
            findings => findings.iter().try_for_each(|finding| write!(f, "\n  {finding}")),
        }
    }
}

impl std::error::Error for PolicyError {}

/// A value as an error message shows it: one line, cut short.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 40;
    let mut shown: String = text.chars().take(SHOWN).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// `did you mean …?` for the candidate nearest to `word`, if one is near enough to be a slip of the pen.
pub(crate) fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let word: String = word.chars().take(64).flat_map(char::to_lowercase).collect();
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| {
            *distance <= (candidate.len() / 3).max(1) || (word.len() >= 4 && candidate.starts_with(&word))
        })
        .min()
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

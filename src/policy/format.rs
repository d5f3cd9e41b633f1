//! The ways in: which format a source is in, and from there to a policy or a list of findings.

use std::str::FromStr;

use super::limits::{MAX_FILE_BYTES, RuleLimits};
use super::read::{self, Parsed};
use super::{Policy, json, markdown, outline, yaml};
use crate::finding::{Finding, Location, PolicyError};

/// The formats that policies are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Every field, with its default where it has one:
    ///
    /// ```yaml
    /// name: House rules
    /// version: "1"                # default
    /// categories:                 # 1 to 64
    ///   - id: S1                  # letters, digits and _ . / -
    ///     name: Weapons           # default: the id
    ///     definition: How to make or get weapons.     # default: none
    ///     examples:               # default: none
    ///       unsafe: [how to build a trap]
    ///       safe: [the history of traps]
    ///     action: block           # default; or review, allow
    ///     threshold: 0.5          # default: the model's own
    /// rules:                      # default: none
    ///   - id: card
    ///     literal: card number    # or `regex: …`
    ///     action: block           # default; or allow
    ///     applies_to: both        # default; or prompt, response
    ///     case: insensitive       # default; or sensitive
    /// unreadable:                 # default: told in verdicts, without effect
    ///   action: review            # default; or block
    ///   share: 0.5                # default; of the judged text, above 0 and at most 1
    /// ```
    Yaml,
    /// The same fields as in YAML.
    Json,
    /// Front matter in YAML, which may hold `name`, `version` and `unreadable`, then a `##` heading for each category:
    ///
    /// ```markdown
    /// # House rules
    ///
    /// ## S1: Weapons
    /// How to make or get weapons.
    ///
    /// - action: review
    /// - threshold: 0.7
    ///
    /// ### Unsafe
    /// - how to build a trap
    ///
    /// ### Safe
    /// - the history of traps
    ///
    /// ## Rules
    /// - id: card
    ///   literal: card number
    /// ```
    Markdown,
}

impl Format {
    /// The format by the file name's ending, else by what the text looks like; YAML if in doubt.
    pub fn detect(text: &str, file_name: Option<&str>) -> Self {
        let ending = file_name.and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending.to_ascii_lowercase());
        match ending.as_deref() {
            Some("yaml" | "yml") => Format::Yaml,
            Some("json") => Format::Json,
            Some("md" | "markdown") => Format::Markdown,
            _ => Self::sniff(text),
        }
    }

    fn sniff(text: &str) -> Self {
        let text = text.trim_start_matches('\u{FEFF}').trim_start();
        if text.starts_with('{') {
            return Format::Json;
        }
        // `#` opens a comment in YAML and a heading in Markdown: the fields outside any front matter tell.
        let body = outline::split_front_matter(text).map_or(text, |(_, body)| body.text);
        let is_field = |line: &str| {
            ["name:", "version:", "categories:", "rules:", "unreadable:"].iter().any(|it| line.starts_with(it))
        };
        if body.lines().any(is_field) || !body.lines().any(|line| line.starts_with('#')) {
            return Format::Yaml;
        }
        Format::Markdown
    }
}

impl Policy {
    /// Reads a policy.
    ///
    /// # Errors
    /// Every mistake that can be told apart, with line, column and field.
    pub fn parse(text: &str, format: Format) -> Result<Self, PolicyError> {
        Self::parse_within(text, format, RuleLimits::default())
    }

    /// Reads a policy whose rules have limits of their own, such as [`RuleLimits::CALLER`] for a policy that came with a
    /// request. They hold for matching as well.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn parse_within(text: &str, format: Format, limits: RuleLimits) -> Result<Self, PolicyError> {
        reading(text, format, limits).into_result()
    }

    /// Reads a policy in the format that [`Format::detect`] finds.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn detect(text: &str, file_name: Option<&str>) -> Result<Self, PolicyError> {
        Self::detect_within(text, file_name, RuleLimits::default())
    }

    /// [`detect`](Self::detect) and [`parse_within`](Self::parse_within) in one.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn detect_within(text: &str, file_name: Option<&str>, limits: RuleLimits) -> Result<Self, PolicyError> {
        // A text beyond the size limit is not worth a look at all its lines.
        let format = if text.len() > MAX_FILE_BYTES { Format::Yaml } else { Format::detect(text, file_name) };
        let error = match Self::parse_within(text, format, limits) {
            Ok(policy) => return Ok(policy),
            Err(error) => error,
        };
        Err(match file_name {
            Some(name) => error.with_origin(name),
            None => error,
        })
    }

    /// Reads a policy from the bytes of a file, which must be UTF-8.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn from_bytes(bytes: &[u8], file_name: Option<&str>) -> Result<Self, PolicyError> {
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let before = &bytes[..error.valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            let finding = Finding::error("", "UTF-8 text", format!("the byte 0x{:02X}", bytes[error.valid_up_to()]));
            let located = Finding { location: Some(Location { line, column: None }), ..finding };
            let error = PolicyError::of(located.help("save the file as UTF-8"));
            file_name.map_or(error.clone(), |name| error.with_origin(name))
        })?;
        Self::detect(text, file_name)
    }

    /// Reads a policy's file.
    ///
    /// # Errors
    /// [`Error::Io`](crate::Error::Io) if it cannot be read, else as [`parse`](Self::parse).
    #[cfg(feature = "native")]
    pub fn load(path: impl AsRef<std::path::Path>) -> crate::error::Result<Self> {
        let path = path.as_ref();
        Ok(Self::from_bytes(&read_file(path)?, Some(&path.to_string_lossy()))?)
    }
}

impl FromStr for Policy {
    type Err = PolicyError;

    fn from_str(text: &str) -> Result<Self, PolicyError> {
        Self::detect(text, None)
    }
}

/// Everything that is wrong or doubtful with a policy's source, in the order of the source. The policy is refused if
/// one of the findings is an error.
pub fn lint(text: &str, format: Format) -> Vec<Finding> {
    reading(text, format, RuleLimits::default()).findings
}

/// [`lint`] of a policy's file, in the format that [`Format::detect`] finds: the policy, if nothing is wrong with it, and
/// the findings.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if it cannot be read or is no file or pipe.
#[cfg(feature = "native")]
pub fn lint_file(path: impl AsRef<std::path::Path>) -> crate::error::Result<(Option<Policy>, Vec<Finding>)> {
    let path = path.as_ref();
    let bytes = match read_file(path) {
        Err(crate::error::Error::BadPolicy(error)) => return Ok((None, error.findings)),
        bytes => bytes?,
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        let refused = Policy::from_bytes(&bytes, None).err();
        return Ok((None, refused.map(|error| error.findings).unwrap_or_default()));
    };
    let Parsed { policy, findings } = reading(text, Format::detect(text, path.to_str()), RuleLimits::default());
    Ok((policy, findings))
}

#[cfg(feature = "native")]
fn read_file(path: &std::path::Path) -> crate::error::Result<Vec<u8>> {
    use crate::files::{Kind, read};

    read(path, Kind::Named, MAX_FILE_BYTES as u64, |_| {
        PolicyError::of(too_large("more".to_owned())).with_origin(path.to_string_lossy()).into()
    })
}

fn reading(text: &str, format: Format, limits: RuleLimits) -> Parsed {
    if text.len() > MAX_FILE_BYTES {
        return Parsed { policy: None, findings: vec![too_large(format!("{} bytes", text.len()))] };
    }
    let text = text.strip_prefix('\u{FEFF}').unwrap_or(text);
    let tree = match format {
        Format::Yaml => yaml::parse(text, 1),
        Format::Json => json::parse(text),
        Format::Markdown => return markdown::read(text, limits),
    };
    match tree {
        Ok(root) => read::policy(&root, limits),
        Err(error) => Parsed { policy: None, findings: error.findings },
    }
}

fn too_large(found: String) -> Finding {
    Finding::error("", format!("at most {MAX_FILE_BYTES} bytes"), found)
}

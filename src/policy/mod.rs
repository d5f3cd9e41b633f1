//! The owner's policy: categories that the model reads, and rules that are evaluated outside it.
//!
//! YAML, JSON and Markdown give the same [`Policy`]; a mistake gives a [`PolicyError`] that names line, field and what
//! was expected. What a file may hold and how a decision comes about stands below. The smallest policy is a name and a list
//! of categories:
//!
//! ```
//! use rsafe::{Action, Policy, policy::Format};
//!
//! let policy = Policy::parse(
//!     "name: house rules\ncategories:\n  - {id: S1, name: Weapons, definition: How to make or get weapons.}\n",
//!     Format::Yaml,
//! )?;
//! assert_eq!(policy.categories[0].action, Action::Block);
//!
//! let error = Policy::parse("name: x\ncategories:\n  - {id: S1, treshold: 0.5}\n", Format::Yaml).unwrap_err();
//! assert_eq!(error.findings[0].location.map(|at| at.line), Some(3));
//! assert_eq!(error.findings[0].help.as_deref(), Some("did you mean `threshold`?"));
//! # Ok::<(), rsafe::policy::PolicyError>(())
//! ```
#![doc = include_str!("README.md")]

mod bounds;
mod builtin;
mod check;
mod format;
mod json;
pub mod limits;
mod markdown;
mod node;
mod outline;
mod read;
mod rule;
mod rules;
mod write;
mod yaml;

use serde::{Deserialize, Serialize};

pub(crate) use crate::finding::quoted;
pub use crate::finding::{Finding, Location, PolicyError, Severity};
#[cfg(feature = "native")]
pub use format::lint_file;
pub use format::{Format, lint};
pub use limits::RuleLimits;
pub use rule::{AppliesTo, Case, Pattern, Rule, RuleAction};
pub use rules::{RuleHit, Rules};

/// What the guard does when a category applies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    #[default]
    Block,
    Review,
    Allow,
}

impl Action {
    /// The word that policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Block => "block",
            Action::Review => "review",
            Action::Allow => "allow",
        }
    }
}

/// One kind of content that the policy speaks about.
#[derive(Debug, Clone, PartialEq)]
pub struct Category {
    /// Unique in the policy whatever its case, `[A-Za-z0-9_./-]{1,64}`; what verdicts name, e.g. `S1`.
    pub id: String,
    /// A short human name on one line, unique in the policy whatever its case, e.g. `Weapons`.
    pub name: String,
    /// What falls under the category, in the owner's words; may be empty.
    pub definition: String,
    /// Short texts that fall under the category.
    pub unsafe_examples: Vec<String>,
    /// Short texts that look alike but do not.
    pub safe_examples: Vec<String>,
    pub action: Action,
    /// Score in [0, 1] from which the category applies; `None` leaves it to the model's bundle.
    pub threshold: Option<f32>,
}

impl Category {
    /// A category that blocks, without definition and examples. White space at the ends of texts is dropped here and
    /// by the methods below.
    pub fn new(id: impl AsRef<str>, name: impl AsRef<str>) -> Self {
        Self {
            id: trimmed(id),
            name: trimmed(name),
            definition: String::new(),
            unsafe_examples: Vec::new(),
            safe_examples: Vec::new(),
            action: Action::default(),
            threshold: None,
        }
    }

    pub fn definition(mut self, definition: impl AsRef<str>) -> Self {
        self.definition = trimmed(definition);
        self
    }

    /// Adds a text that falls under the category.
    pub fn unsafe_example(mut self, example: impl AsRef<str>) -> Self {
        self.unsafe_examples.push(trimmed(example));
        self
    }

    /// Adds a text that looks alike but does not fall under the category.
    pub fn safe_example(mut self, example: impl AsRef<str>) -> Self {
        self.safe_examples.push(trimmed(example));
        self
    }

    pub fn action(mut self, action: Action) -> Self {
        self.action = action;
        self
    }

    /// The score in [0, 1] from which the category applies.
    pub fn threshold(mut self, threshold: f32) -> Self {
        self.threshold = Some(threshold);
        self
    }
}

fn trimmed(text: impl AsRef<str>) -> String {
    text.as_ref().trim().to_owned()
}

/// What is done about a text of which too much is unreadable: ciphers, codes that could not be decoded, tokens at random;
/// or all of it, for it is in a language that the model does not read.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Unreadable {
    /// [`Action::Review`] or [`Action::Block`].
    pub action: Action,
    /// The share of the judged text's characters, above 0 and at most 1, from which the action applies.
    pub share: f32,
}

impl Default for Unreadable {
    /// Review from half of the text on.
    fn default() -> Self {
        Self { action: Action::Review, share: 0.5 }
    }
}

/// A policy. Parse once at the border, trust inside.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    pub name: String,
    pub version: String,
    pub categories: Vec<Category>,
    /// Evaluated outside the model, before it: what they decide, its verdict cannot change.
    pub rules: Rules,
    /// `None`: verdicts tell how much is unreadable, and nothing follows from it.
    pub unreadable: Option<Unreadable>,
}

impl Policy {
    /// A policy of version 1 without categories; add at least one, then [`validate`](Self::validate).
    pub fn new(name: impl AsRef<str>) -> Self {
        Self {
            name: trimmed(name),
            version: "1".to_owned(),
            categories: Vec::new(),
            rules: Rules::default(),
            unreadable: None,
        }
    }

    pub fn version(mut self, version: impl AsRef<str>) -> Self {
        self.version = trimmed(version);
        self
    }

    /// Adds a category.
    pub fn category(mut self, category: Category) -> Self {
        self.categories.push(category);
        self
    }

    /// Replaces the rules; [`Rules::compile`] makes them.
    pub fn rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// Sets what is done about text that cannot be read.
    pub fn unreadable(mut self, unreadable: Unreadable) -> Self {
        self.unreadable = Some(unreadable);
        self
    }

    /// Whether a model reads the same in both: the same categories, whatever is done about them and what the rules are.
    pub(crate) fn reads_like(&self, other: &Self) -> bool {
        fn read(category: &Category) -> (&str, &str, &str, &[String], &[String]) {
            let Category { id, name, definition, unsafe_examples, safe_examples, action: _, threshold: _ } = category;
            (id, name, definition, unsafe_examples, safe_examples)
        }
        self.categories.iter().map(read).eq(other.categories.iter().map(read))
    }

    /// The category of that id, whatever its case.
    pub fn find(&self, id: &str) -> Option<&Category> {
        self.categories.iter().find(|category| category.id.eq_ignore_ascii_case(id))
    }
}

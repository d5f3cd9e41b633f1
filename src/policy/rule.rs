//! One deterministic rule: a literal or a regex, and what a match decides.

use regex::{Regex, RegexBuilder};
use regex_automata::nfa::thompson;
use regex_automata::util::syntax;
use serde::Serialize;

use super::limits::{LITERAL_COST, MAX_PATTERN_CHARS, MAX_REGEX_BYTES, MAX_REGEX_NESTING};
use crate::conversation::Target;
use crate::error::Result;
use crate::finding::{Finding, PolicyError, quoted};

/// What a rule looks for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pattern {
    /// These characters, anywhere in the text.
    Literal(String),
    /// A regular expression in the `regex` crate's syntax: linear in the text, without look-around and back-references.
    Regex(String),
}

impl Pattern {
    /// The literal or the regex as it was written.
    pub fn as_str(&self) -> &str {
        match self {
            Pattern::Literal(text) | Pattern::Regex(text) => text,
        }
    }
}

/// What a matching rule decides.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    #[default]
    Block,
    Allow,
}

impl RuleAction {
    /// The word that policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            RuleAction::Block => "block",
            RuleAction::Allow => "allow",
        }
    }
}

/// Which side of a conversation a rule is matched against.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AppliesTo {
    Prompt,
    Response,
    #[default]
    Both,
}

impl AppliesTo {
    /// The word that policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            AppliesTo::Prompt => "prompt",
            AppliesTo::Response => "response",
            AppliesTo::Both => "both",
        }
    }

    /// Whether a text on that side of the conversation is concerned.
    pub fn includes(self, target: Target) -> bool {
        match self {
            AppliesTo::Both => true,
            AppliesTo::Prompt => target == Target::Prompt,
            AppliesTo::Response => target == Target::Response,
        }
    }
}

/// Whether upper and lower case differ to a rule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Case {
    Sensitive,
    /// Letters are compared by Unicode's simple case folding.
    #[default]
    Insensitive,
}

impl Case {
    /// The word that policies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Case::Sensitive => "sensitive",
            Case::Insensitive => "insensitive",
        }
    }
}

/// One deterministic rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Rule {
    /// Unique among the policy's rules, `[A-Za-z0-9_./-]{1,64}`; what verdicts name.
    pub id: String,
    #[serde(flatten)]
    pub pattern: Pattern,
    pub action: RuleAction,
    pub applies_to: AppliesTo,
    /// For literals and regexes alike.
    pub case: Case,
}

impl Rule {
    /// A rule that looks for a literal text: blocks, on both sides, whatever the case.
    pub fn literal(id: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(id, Pattern::Literal(text.into()))
    }

    /// A rule that looks for a regex: blocks, on both sides, whatever the case.
    pub fn regex(id: impl Into<String>, regex: impl Into<String>) -> Self {
        Self::new(id, Pattern::Regex(regex.into()))
    }

    fn new(id: impl Into<String>, pattern: Pattern) -> Self {
        let (action, applies_to, case) = Default::default();
        Self { id: id.into(), pattern, action, applies_to, case }
    }

    pub fn action(mut self, action: RuleAction) -> Self {
        self.action = action;
        self
    }

    pub fn applies_to(mut self, applies_to: AppliesTo) -> Self {
        self.applies_to = applies_to;
        self
    }

    pub fn case(mut self, case: Case) -> Self {
        self.case = case;
        self
    }

    /// The compiled pattern, or what is wrong with it; `path` is the rule's place in the policy.
    pub(super) fn compile(&self, path: &str) -> Result<Compiled, PolicyError> {
        let (field, source) = match &self.pattern {
            Pattern::Literal(text) => (format!("{path}.literal"), regex::escape(text)),
            Pattern::Regex(regex) => (format!("{path}.regex"), regex.clone()),
        };
        let chars = self.pattern.as_str().chars().count();
        if !(1..=MAX_PATTERN_CHARS).contains(&chars) {
            let expected = format!("1 to {MAX_PATTERN_CHARS} characters");
            return Err(PolicyError::of(Finding::error(field, expected, format!("{chars} characters"))));
        }
        let regex = RegexBuilder::new(&source)
            .case_insensitive(self.case == Case::Insensitive)
            .size_limit(MAX_REGEX_BYTES)
            .dfa_size_limit(MAX_REGEX_BYTES)
            .nest_limit(MAX_REGEX_NESTING)
            .build()
            .map_err(|error| PolicyError::of(regex_finding(&field, &error)))?;
        if regex.is_match("") {
            let finding = Finding::error(field, "a pattern that needs at least one character", quoted(&source));
            return Err(PolicyError::of(finding.help("as it stands it matches every text")));
        }
        let cost = match &self.pattern {
            Pattern::Literal(_) => LITERAL_COST,
            Pattern::Regex(_) => self.compiled_bytes(&source),
        };
        Ok(Compiled { regex, cost })
    }

    /// Bytes of the regex as the slowest of the engines that may have to match it visits them; [`MAX_REGEX_BYTES`] for one
    /// that cannot be measured.
    fn compiled_bytes(&self, source: &str) -> usize {
        let syntax =
            syntax::Config::new().case_insensitive(self.case == Case::Insensitive).nest_limit(MAX_REGEX_NESTING);
        let config = thompson::Config::new().nfa_size_limit(Some(MAX_REGEX_BYTES));
        let compiled = thompson::Compiler::new().syntax(syntax).configure(config).build(source);
        compiled.map_or(MAX_REGEX_BYTES, |nfa| nfa.memory_usage())
    }
}

/// A rule's regex, and what a byte of text may cost under it.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    pub regex: Regex,
    pub cost: usize,
}

fn regex_finding(field: &str, error: &regex::Error) -> Finding {
    match error {
        regex::Error::CompiledTooBig(limit) => {
            Finding::error(field, format!("a regex that compiles to at most {limit} bytes"), "a larger one")
                .help("use smaller repetition counts, or `[0-9]` and `[a-z]` in place of `\\d` and `\\w`")
        }
        // The parser's message draws the pattern over several lines; its last line says what is wrong.
        error => {
            let message = error.to_string();
            let reason = message.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            Finding::error(field, "a regex that the `regex` crate understands", reason)
        }
    }
}

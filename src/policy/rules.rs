//! A policy's rules, compiled and matched: outside the model, whose verdict cannot override them.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::bounds;
use super::limits::{MAX_RULES, RuleLimits};
use super::rule::{Compiled, Rule, RuleAction};
use crate::conversation::Target;
use crate::error::{Error, Result};
use crate::finding::{Finding, PolicyError};

/// The rule that decides a text, and where it matched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RuleHit {
    /// The rule's id.
    pub rule: String,
    pub action: RuleAction,
    /// The first match, in bytes of the text.
    pub range: Range<usize>,
}

/// A policy's rules, compiled. Two are equal if they were written the same and have the same limits.
#[derive(Clone, Default)]
pub struct Rules {
    rules: Vec<(Rule, Compiled)>,
    limits: RuleLimits,
}

impl Rules {
    /// Compiles rules within [`RuleLimits::OWNER`].
    ///
    /// # Errors
    /// Every bad id, repeated id, and pattern that does not compile or is too large, with paths `rules[i]`.
    pub fn compile(rules: impl IntoIterator<Item = Rule>) -> Result<Self, PolicyError> {
        Self::compile_within(rules, RuleLimits::default())
    }

    /// Compiles rules within limits, which hold for matching as well.
    ///
    /// # Errors
    /// As [`compile`](Self::compile).
    pub fn compile_within(rules: impl IntoIterator<Item = Rule>, limits: RuleLimits) -> Result<Self, PolicyError> {
        let mut findings = Vec::new();
        let mut compiler = RuleCompiler::new(limits);
        for (index, rule) in rules.into_iter().enumerate() {
            if let Err(error) = compiler.add(rule, &format!("rules[{index}]")) {
                findings.extend(error.findings);
                if compiler.is_full() {
                    break;
                }
            }
        }
        let rules = compiler.finish();
        if findings.is_empty() {
            findings = bounds::errors(bounds::rules(&bounds::numbered(rules.iter())));
        }
        if findings.is_empty() { Ok(rules) } else { Err(PolicyError::new(findings)) }
    }

    /// The rules in the order in which they were written.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter().map(|(rule, _)| rule)
    }

    pub fn len(&self) -> usize {
        self.rules.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule that decides `text`, if any matches. Blocking rules come before allowing ones, whatever their order;
    /// among rules of one action the first written wins. Linear in the text, and within [`RuleLimits::work`].
    ///
    /// # Errors
    /// [`Error::RuleWork`] where the rules could take longer than their limits allow; nothing was matched then.
    pub fn evaluate(&self, text: &str, target: Target) -> Result<Option<RuleHit>> {
        let concerned = || self.rules.iter().filter(|(rule, _)| rule.applies_to.includes(target));
        let cost: u64 = concerned().map(|(_, compiled)| compiled.cost as u64).sum();
        let needed = cost.saturating_mul(text.len() as u64);
        if needed > self.limits.work {
            return Err(Error::RuleWork { bytes: text.len(), needed, limit: self.limits.work });
        }
        let first = |action| {
            concerned()
                .filter(|(rule, _)| rule.action == action)
                .find_map(|(rule, compiled)| compiled.regex.find(text).map(|found| (rule, found)))
        };
        let hit = first(RuleAction::Block).or_else(|| first(RuleAction::Allow));
        Ok(hit.map(|(rule, found)| RuleHit { rule: rule.id.clone(), action: rule.action, range: found.range() }))
    }
}

/// Compiles rule after rule, as far as limits go.
pub(super) struct RuleCompiler {
    rules: Rules,
    /// What is left of [`RuleLimits::compiled_bytes`]; `None` once that was not enough.
    left: Option<usize>,
}

impl RuleCompiler {
    pub fn new(limits: RuleLimits) -> Self {
        Self { rules: Rules { rules: Vec::new(), limits }, left: Some(limits.compiled_bytes) }
    }

    /// Whether the limits are reached, so that no further rule is looked at.
    pub fn is_full(&self) -> bool {
        self.left.is_none()
    }

    /// # Errors
    /// What is wrong with the rule, or with all of them together; `path` is its place in the policy.
    pub fn add(&mut self, rule: Rule, path: &str) -> Result<(), PolicyError> {
        let Some(left) = self.left else { return Ok(()) };
        let RuleLimits { rules, compiled_bytes, .. } = self.rules.limits;
        // One more than the limit of all policies is left to the check that counts what was written.
        if self.rules.len() >= rules && rules < MAX_RULES {
            self.left = None;
            let finding = Finding::error("rules", format!("0 to {rules} rules"), "more");
            return Err(PolicyError::of(
                finding.help("policies that come with a request may have fewer than the owner's"),
            ));
        }
        let compiled = rule.compile(path)?;
        self.left = left.checked_sub(compiled.cost);
        if self.left.is_none() {
            let expected = format!("regexes that compile to at most {compiled_bytes} bytes together");
            let finding = Finding::error(path, expected, "more, with this one");
            return Err(PolicyError::of(finding.help("use smaller repetition counts, `[0-9]` for `\\d`, or literals")));
        }
        self.rules.rules.push((rule, compiled));
        Ok(())
    }

    pub fn finish(self) -> Rules {
        self.rules
    }
}

impl PartialEq for Rules {
    fn eq(&self, other: &Self) -> bool {
        self.limits == other.limits && self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Serialize for Rules {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

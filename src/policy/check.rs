//! What must hold for every policy, however it came to be, and what is probably a slip.

use std::collections::HashMap;

use super::bounds::{count, errors, id, line, numbered, repeated_ids, rules, text};
use super::limits::*;
use super::rule::{Rule, RuleAction};
use super::{Action, Category, Policy, Unreadable};
use crate::finding::{Finding, PolicyError, quoted};

impl Policy {
    /// Checks a policy that was built in code by the rules that parsed ones are held to.
    ///
    /// # Errors
    /// Every bound that is broken, with the path of its field.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let errors = errors(policy(self));
        if errors.is_empty() { Ok(()) } else { Err(PolicyError::new(errors)) }
    }
}

/// Checks a whole policy that numbers its parts from 0.
pub(super) fn policy(policy: &Policy) -> Vec<Finding> {
    let categories: Vec<_> =
        policy.categories.iter().enumerate().map(|(index, it)| (format!("categories[{index}]"), it)).collect();
    let mut findings = header(&policy.name, &policy.version);
    count(&mut findings, "categories", categories.len(), 1..=MAX_CATEGORIES, "categories");
    findings.extend(self::categories(&categories));
    let rules = numbered(policy.rules.iter());
    findings.extend(self::rules(&rules));
    findings.extend(unreadable(policy.unreadable.as_ref()));
    findings.extend(effect(&categories, &rules, policy.unreadable.as_ref()));
    findings
}

pub(super) fn header(name: &str, version: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    line(&mut findings, "name", name, 1);
    line(&mut findings, "version", version, 1);
    findings
}

pub(super) fn categories(categories: &[(String, &Category)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, category) in categories {
        self::category(&mut findings, path, category);
    }
    repeated_ids(&mut findings, categories.iter().map(|(path, category)| (path.as_str(), category.id.as_str())));
    repeated_names(&mut findings, categories);
    findings
}

fn category(findings: &mut Vec<Finding>, path: &str, category: &Category) {
    id(findings, &format!("{path}.id"), &category.id);
    line(findings, &format!("{path}.name"), &category.name, 1);
    let definition = format!("{path}.definition");
    text(findings, &definition, &category.definition, MAX_DEFINITION_CHARS);
    if category.definition.is_empty() {
        let finding = Finding::warning(definition, "a sentence that says what falls under the category", "nothing");
        findings.push(finding.help("without one the model judges by the name alone"));
    }
    let examples = [("unsafe", &category.unsafe_examples), ("safe", &category.safe_examples)];
    for (kind, examples) in examples {
        let path = format!("{path}.examples.{kind}");
        count(findings, &path, examples.len(), 0..=MAX_EXAMPLES, "examples");
        for (index, example) in examples.iter().enumerate() {
            let path = format!("{path}[{index}]");
            if example.is_empty() {
                findings.push(Finding::error(&path, "an example", "empty text"));
            }
            text(findings, &path, example, MAX_EXAMPLE_CHARS);
        }
    }
    for example in category.unsafe_examples.iter().filter(|it| category.safe_examples.contains(it)) {
        let path = format!("{path}.examples.safe");
        findings.push(Finding::warning(path, "examples that are not unsafe ones too", quoted(example)));
    }
    threshold(findings, path, category);
}

fn threshold(findings: &mut Vec<Finding>, path: &str, category: &Category) {
    let Some(threshold) = category.threshold else { return };
    let path = format!("{path}.threshold");
    if !(0.0..=1.0).contains(&threshold) {
        findings.push(Finding::error(path, "a number from 0 to 1", threshold.to_string()));
    } else if category.action == Action::Allow {
        let finding = Finding::warning(path, "no threshold where the action is `allow`", threshold.to_string());
        findings.push(finding.help("an allowed category never blocks, whatever its score"));
    } else if threshold == 0.0 {
        findings.push(Finding::warning(path, "a number above 0", "0").help("the category applies to every text"));
    } else if threshold == 1.0 {
        findings.push(Finding::warning(path, "a number below 1", "1").help("the category almost never applies"));
    }
}
/// Checks what is done about unreadable text.
pub(super) fn unreadable(unreadable: Option<&Unreadable>) -> Vec<Finding> {
    let Some(Unreadable { action, share }) = unreadable else { return Vec::new() };
    let mut findings = Vec::new();
    if *action == Action::Allow {
        let finding = Finding::error("unreadable.action", "`block` or `review`", "`allow`");
        findings.push(finding.help("without `unreadable`, nothing is done about it"));
    }
    if !(*share > 0.0 && *share <= 1.0) {
        findings.push(Finding::error("unreadable.share", "a number above 0, at most 1", share.to_string()));
    } else if *share < 0.1 {
        let finding = Finding::warning("unreadable.share", "0.1 or more", share.to_string());
        findings.push(finding.help("keys, hashes and names are a small share of many harmless texts"));
    }
    findings
}

/// Whether anything in the policy can flag a text.
pub(super) fn effect(
    categories: &[(String, &Category)],
    rules: &[(String, &Rule)],
    unreadable: Option<&Unreadable>,
) -> Option<Finding> {
    let idle = categories.iter().all(|(_, category)| category.action == Action::Allow)
        && rules.iter().all(|(_, rule)| rule.action == RuleAction::Allow)
        && unreadable.is_none();
    let finding = Finding::warning("categories", "a category or rule that blocks or reviews", "none");
    (idle && !categories.is_empty()).then(|| finding.help("the policy allows every text"))
}

/// Templates and answers tell categories apart by name, on one line and whatever the case.
fn repeated_names(findings: &mut Vec<Finding>, categories: &[(String, &Category)]) {
    let mut seen = HashMap::new();
    for (path, category) in categories {
        let name = category.name.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        // An empty name is a finding already.
        if name.is_empty() {
            continue;
        }
        // A category written twice is one mistake, which its id tells.
        let twin = seen.insert(name, (path, &category.id)).filter(|(_, id)| !id.eq_ignore_ascii_case(&category.id));
        if let Some((first, _)) = twin {
            let finding = Finding::error(format!("{path}.name"), "a name of its own", quoted(&category.name));
            let help = format!("`{first}` has it too; upper and lower case count as the same, and so does white space");
            findings.push(finding.help(help));
        }
    }
}

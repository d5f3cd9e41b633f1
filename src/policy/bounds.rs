//! The bounds of a policy's parts, and what holds for rules: nothing here knows a whole policy.

use std::collections::HashMap;

use super::limits::*;
use super::rule::{Case, Pattern, Rule, RuleAction};
use crate::finding::{Finding, Severity, quoted};

/// The findings that refuse a policy.
pub(super) fn errors(findings: Vec<Finding>) -> Vec<Finding> {
    findings.into_iter().filter(|finding| finding.severity == Severity::Error).collect()
}

/// Rules with their places in the policy.
pub(super) fn numbered<'r>(rules: impl Iterator<Item = &'r Rule>) -> Vec<(String, &'r Rule)> {
    rules.enumerate().map(|(index, rule)| (format!("rules[{index}]"), rule)).collect()
}

/// Checks rules whose patterns have been compiled.
pub(super) fn rules(rules: &[(String, &Rule)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    count(&mut findings, "rules", rules.len(), 0..=MAX_RULES, "rules");
    for (path, rule) in rules {
        id(&mut findings, &format!("{path}.id"), &rule.id);
        if let Pattern::Literal(literal) = &rule.pattern
            && literal.trim() != literal
        {
            let finding = Finding::warning(format!("{path}.literal"), "no white space at the ends", quoted(literal));
            findings.push(finding.help("it must stand in the text for the rule to match"));
        }
    }
    repeated_ids(&mut findings, rules.iter().map(|(path, rule)| (path.as_str(), rule.id.as_str())));
    let mut patterns: HashMap<_, (&String, &Rule)> = HashMap::new();
    for (path, rule) in rules {
        let pattern = match (&rule.pattern, rule.case) {
            (Pattern::Literal(literal), Case::Insensitive) => literal.to_lowercase(),
            (pattern, _) => pattern.as_str().to_owned(),
        };
        let key = (std::mem::discriminant(&rule.pattern), rule.case, rule.applies_to, pattern);
        if let Some((first, other)) = patterns.insert(key, (path, rule)) {
            let finding = Finding::warning(path, "a pattern of its own", quoted(rule.pattern.as_str()));
            let help = match rule.action == other.action {
                true => format!("`{first}` does the same"),
                false => format!("`{first}` has it too; {:?} wins", RuleAction::Block).to_lowercase(),
            };
            findings.push(finding.help(help));
        }
    }
    findings
}

/// Checks a count against its bounds.
pub(super) fn count(
    findings: &mut Vec<Finding>,
    path: &str,
    count: usize,
    bounds: std::ops::RangeInclusive<usize>,
    what: &str,
) {
    if !bounds.contains(&count) {
        let expected = format!("{} to {} {what}", bounds.start(), bounds.end());
        findings.push(Finding::error(path, expected, count.to_string()));
    }
}

pub(super) fn id(findings: &mut Vec<Finding>, path: &str, id: &str) {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    if id.is_empty() || id.chars().count() > MAX_ID_CHARS || !id.chars().all(allowed) {
        let expected = format!("1 to {MAX_ID_CHARS} of the characters A-Z a-z 0-9 _ . / -");
        let found = if id.is_empty() { "empty text".to_owned() } else { quoted(id) };
        findings.push(Finding::error(path, expected, found));
    }
}

pub(super) fn repeated_ids<'a>(findings: &mut Vec<Finding>, ids: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut seen = HashMap::new();
    for (path, id) in ids {
        if let Some(first) = seen.insert(id.to_ascii_lowercase(), path) {
            let finding = Finding::error(format!("{path}.id"), "an id of its own", quoted(id));
            findings.push(finding.help(format!("`{first}` has it too; upper and lower case count as the same")));
        }
    }
}

/// Checks a text that stands on one line of a prompt.
pub(super) fn line(findings: &mut Vec<Finding>, path: &str, line: &str, min: usize) {
    if line.chars().count() < min {
        findings.push(Finding::error(path, format!("1 to {MAX_NAME_CHARS} characters"), "empty text"));
    } else if line.contains(['\n', '\t']) {
        findings.push(Finding::error(path, "one line without tabs", quoted(line)));
    } else {
        text(findings, path, line, MAX_NAME_CHARS);
    }
}

pub(super) fn text(findings: &mut Vec<Finding>, path: &str, text: &str, max: usize) {
    let chars = text.chars().count();
    if chars > max {
        findings.push(Finding::error(path, format!("at most {max} characters"), format!("{chars} characters")));
    }
    if let Some(c) = text.chars().find(|&c| is_invisible(c)) {
        let found = format!("U+{:04X}", u32::from(c));
        findings.push(Finding::error(path, "text without control characters", found));
    }
    if text.trim() != text {
        findings.push(Finding::error(path, "text without white space at its ends", quoted(text)));
    }
}

/// Characters that a reader of the policy cannot see but a model can, or that change how the rest is read.
fn is_invisible(c: char) -> bool {
    let bidi = matches!(c, '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\n' && c != '\t') || bidi || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}')
}

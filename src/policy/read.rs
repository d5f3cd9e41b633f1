//! From a located tree to a policy: which fields there are, what each may hold, and what is assumed where one is missing.

use std::collections::HashMap;

use super::limits::*;
use super::node::{Node, Value};
use super::rule::{AppliesTo, Case, Rule, RuleAction};
use super::rules::{RuleCompiler, Rules};
use super::{Action, Category, Policy, Unreadable};
use super::{bounds, check};
use crate::finding::{Finding, Location, PolicyError, Severity, quoted, suggestion};

const POLICY_FIELDS: &[&str] = &["name", "version", "categories", "rules", "unreadable"];
const CATEGORY_FIELDS: &[&str] = &["id", "name", "definition", "examples", "action", "threshold"];
const UNREADABLE_FIELDS: &[&str] = &["action", "share"];
const EXAMPLE_FIELDS: &[&str] = &["unsafe", "safe"];
const RULE_FIELDS: &[&str] = &["id", "literal", "regex", "action", "applies_to", "case"];

/// Words that other policy formats use, and ours.
const SYNONYMS: &[(&str, &str)] = &[
    ("description", "definition"),
    ("title", "name"),
    ("label", "name"),
    ("key", "id"),
    ("pattern", "regex"),
    ("text", "literal"),
    ("target", "applies_to"),
    ("unsafe_examples", "examples"),
    ("safe_examples", "examples"),
];

/// What a source says: the policy, if nothing is wrong with it, and everything found on the way.
pub(super) struct Parsed {
    pub policy: Option<Policy>,
    pub findings: Vec<Finding>,
}

impl Parsed {
    /// The policy, or every mistake.
    pub fn into_result(self) -> Result<Policy, PolicyError> {
        self.policy.ok_or_else(|| PolicyError::new(bounds::errors(self.findings)))
    }
}

/// Reads a policy from a tree, its rules within limits.
pub(super) fn policy(root: &Node, limits: RuleLimits) -> Parsed {
    let mut reader = Reader { limits, ..Reader::default() };
    let draft = reader.policy(root);
    reader.finish(draft)
}

/// Reads a lone category, as serde hands one in.
pub(super) fn category(root: &Node) -> Result<Category, PolicyError> {
    let mut reader = Reader::default();
    let category = reader.category(root, "");
    if let Some(category) = &category {
        reader.checked(check::categories(&[("category".to_owned(), category)]));
    }
    let errors = bounds::errors(reader.findings);
    category.filter(|_| errors.is_empty()).ok_or(PolicyError::new(errors))
}

/// Collects findings, and where each field stood so that later checks can say it too.
#[derive(Default)]
struct Reader {
    findings: Vec<Finding>,
    places: HashMap<String, Location>,
    limits: RuleLimits,
}

/// The fields of a mapping by name.
struct Fields<'n> {
    at: Location,
    path: String,
    entries: Vec<(&'n str, &'n Node)>,
}

impl<'n> Fields<'n> {
    fn get(&self, name: &str) -> Option<&'n Node> {
        let found = self.entries.iter().find(|(key, _)| *key == name).map(|(_, node)| *node);
        found.filter(|node| !matches!(node.value, Value::Null))
    }

    fn path(&self, name: &str) -> String {
        join(&self.path, name)
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

impl Reader {
    fn policy(&mut self, root: &Node) -> Option<Policy> {
        let fields = self.fields(root, "", POLICY_FIELDS, "a mapping with `name` and `categories`")?;
        let name = self.required(&fields, "name");
        let version = self.text(&fields, "version").unwrap_or_else(|| "1".to_owned());
        let categories = self.categories(&fields);
        let (rule_paths, rules) = self.rules(&fields);
        let unreadable = self.unreadable(&fields);

        // A name that was missing or misshapen has its own finding already.
        self.checked(check::header(name.as_deref().unwrap_or("-"), &version));
        let read_categories: Vec<_> = categories.iter().map(|(path, category)| (path.clone(), category)).collect();
        let read_rules: Vec<_> = rule_paths.into_iter().zip(rules.iter()).collect();
        self.checked(check::categories(&read_categories));
        self.checked(bounds::rules(&read_rules));
        self.checked(check::unreadable(unreadable.as_ref()));
        self.checked(check::effect(&read_categories, &read_rules, unreadable.as_ref()));

        Some(Policy {
            name: name?,
            version,
            categories: categories.into_iter().map(|(_, category)| category).collect(),
            rules,
            unreadable,
        })
    }

    fn categories(&mut self, fields: &Fields) -> Vec<(String, Category)> {
        let Some(node) = fields.get("categories") else {
            let finding = Finding::error("categories", format!("1 to {MAX_CATEGORIES} categories"), "nothing");
            self.report(finding.at(fields.at).help("add a list of mappings with `id`, `name` and `definition`"));
            return Vec::new();
        };
        let items = self.list(node, "categories");
        let mut findings = Vec::new();
        bounds::count(&mut findings, "categories", items.len(), 1..=MAX_CATEGORIES, "categories");
        if matches!(node.value, Value::List(_)) {
            self.checked(findings);
        }
        let paths = (0..items.len().min(MAX_CATEGORIES)).map(|index| format!("categories[{index}]"));
        paths.zip(items).filter_map(|(path, item)| Some((path.clone(), self.category(item, &path)?))).collect()
    }

    fn category(&mut self, node: &Node, path: &str) -> Option<Category> {
        let fields = self.fields(node, path, CATEGORY_FIELDS, "a mapping with `id`, `name` and `definition`")?;
        let id = self.required(&fields, "id");
        let name = self.text(&fields, "name");
        let definition = self.text(&fields, "definition").unwrap_or_default();
        let (unsafe_examples, safe_examples) = self.examples(&fields);
        let actions = [("block", Action::Block), ("review", Action::Review), ("allow", Action::Allow)];
        let action = self.choice(&fields, "action", &actions).unwrap_or(Action::Block);
        let threshold = self.fraction(&fields, "threshold");
        let name = name.or_else(|| id.clone()).unwrap_or_default();
        Some(Category { id: id?, name, definition, unsafe_examples, safe_examples, action, threshold })
    }

    fn examples(&mut self, fields: &Fields) -> (Vec<String>, Vec<String>) {
        let Some(node) = fields.get("examples") else { return Default::default() };
        let path = fields.path("examples");
        let wanted = "a mapping with the lists `unsafe` and `safe`";
        let Some(fields) = self.fields(node, &path, EXAMPLE_FIELDS, wanted) else { return Default::default() };
        let mut read = |kind| {
            let path = fields.path(kind);
            let items = fields.get(kind).map(|node| self.list(node, &path)).unwrap_or_default();
            let paths = (0..items.len().min(MAX_EXAMPLES + 1)).map(|index| format!("{path}[{index}]"));
            paths.zip(items).filter_map(|(path, item)| self.trimmed(item, &path)).collect()
        };
        (read("unsafe"), read("safe"))
    }

    fn unreadable(&mut self, fields: &Fields) -> Option<Unreadable> {
        let node = fields.get("unreadable")?;
        let fields = self.fields(node, "unreadable", UNREADABLE_FIELDS, "a mapping with `action` and `share`")?;
        let actions = [("block", Action::Block), ("review", Action::Review)];
        let assumed = Unreadable::default();
        Some(Unreadable {
            action: self.choice(&fields, "action", &actions).unwrap_or(assumed.action),
            share: self.fraction(&fields, "share").unwrap_or(assumed.share),
        })
    }

    fn fraction(&mut self, fields: &Fields, name: &str) -> Option<f32> {
        let node = fields.get(name)?;
        let path = fields.path(name);
        self.places.insert(path.clone(), node.at);
        let (found, help) = match &node.value {
            Value::Scalar { text, plain: true } => match text.parse::<f32>() {
                Ok(number) if number.is_finite() => return Some(number),
                _ if text.ends_with('%') => (quoted(text), Some("write 0.5 for 50 %")),
                _ => (quoted(text), None),
            },
            Value::Scalar { text, plain: false } => {
                let help = text.parse::<f32>().is_ok().then_some("remove the quotes");
                (format!("the text {}", quoted(text)), help)
            }
            _ => (node.kind().to_owned(), None),
        };
        let mut finding = Finding::error(path, "a number from 0 to 1", found).at(node.at);
        finding.help = help.map(str::to_owned);
        self.report(finding);
        None
    }

    /// The rules, and the path of each.
    fn rules(&mut self, fields: &Fields) -> (Vec<String>, Rules) {
        let mut compiler = RuleCompiler::new(self.limits);
        let mut read = Vec::new();
        if let Some(node) = fields.get("rules") {
            // One more than allowed, so that the count is checked where all counts are.
            let items = self.list(node, "rules").iter().take(MAX_RULES + 1);
            for (index, item) in items.enumerate() {
                let path = format!("rules[{index}]");
                let Some(rule) = self.rule(item, &path) else { continue };
                match compiler.add(rule, &path) {
                    Ok(()) => read.push(path),
                    Err(error) => self.checked(error.findings),
                }
                if compiler.is_full() {
                    break;
                }
            }
        }
        (read, compiler.finish())
    }

    fn rule(&mut self, node: &Node, path: &str) -> Option<Rule> {
        let fields = self.fields(node, path, RULE_FIELDS, "a mapping with `id` and `literal` or `regex`")?;
        let id = self.required(&fields, "id");
        let actions = [("block", RuleAction::Block), ("allow", RuleAction::Allow)];
        let action = self.choice(&fields, "action", &actions).unwrap_or_default();
        let sides = [("prompt", AppliesTo::Prompt), ("response", AppliesTo::Response), ("both", AppliesTo::Both)];
        let applies_to = self.choice(&fields, "applies_to", &sides).unwrap_or_default();
        let cases = [("sensitive", Case::Sensitive), ("insensitive", Case::Insensitive)];
        let case = self.choice(&fields, "case", &cases).unwrap_or_default();
        let mut pattern = |name| fields.get(name).map(|node| self.scalar(node, &fields.path(name)));
        let rule = match (pattern("literal"), pattern("regex")) {
            (Some(literal), None) => literal.map(|literal| Rule::literal("", literal)),
            (None, Some(regex)) => regex.map(|regex| Rule::regex("", regex)),
            (literal, _) => {
                let found = if literal.is_some() { "both" } else { "neither" };
                self.report(Finding::error(path, "one of `literal` and `regex`", found).at(fields.at));
                None
            }
        };
        Some(Rule { id: id?, action, applies_to, case, ..rule? })
    }

    /// The fields of a mapping; unknown ones are reported with the nearest known name.
    fn fields<'n>(&mut self, node: &'n Node, path: &str, known: &[&str], wanted: &str) -> Option<Fields<'n>> {
        self.places.insert(path.to_owned(), node.at);
        let Value::Map(entries) = &node.value else {
            let found = match &node.value {
                Value::Scalar { text, .. } => quoted(text),
                _ => node.kind().to_owned(),
            };
            self.report(Finding::error(path, wanted, found).at(node.at));
            return None;
        };
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            let expected = format!("one of the fields `{}`", known.join("`, `"));
            let mut finding = Finding::error(path, expected, format!("the field {}", quoted(&entry.key)));
            let synonym = SYNONYMS.iter().find(|(word, ours)| *word == entry.key && known.contains(ours));
            finding.help = match synonym {
                Some((_, ours)) => Some(format!("did you mean `{ours}`?")),
                None => suggestion(&entry.key, known.iter().copied()),
            };
            self.report(finding.at(entry.at));
        }
        let entries = entries.iter().map(|entry| (entry.key.as_str(), &entry.value)).collect();
        Some(Fields { at: node.at, path: path.to_owned(), entries })
    }

    fn list<'n>(&mut self, node: &'n Node, path: &str) -> &'n [Node] {
        self.places.insert(path.to_owned(), node.at);
        if let Value::List(items) = &node.value {
            return items;
        }
        self.report(Finding::error(path, "a list", node.kind()).at(node.at));
        &[]
    }

    fn required(&mut self, fields: &Fields, name: &str) -> Option<String> {
        if fields.get(name).is_none() {
            self.report(Finding::error(fields.path(name), "a text", "nothing").at(fields.at));
        }
        self.text(fields, name)
    }

    fn text(&mut self, fields: &Fields, name: &str) -> Option<String> {
        fields.get(name).and_then(|node| self.trimmed(node, &fields.path(name)))
    }

    /// A text without the white space at its ends, which YAML's and Markdown's block forms leave there.
    fn trimmed(&mut self, node: &Node, path: &str) -> Option<String> {
        self.scalar(node, path).map(|text| text.trim().replace("\r\n", "\n"))
    }

    fn scalar(&mut self, node: &Node, path: &str) -> Option<String> {
        self.places.insert(path.to_owned(), node.at);
        if let Value::Scalar { text, .. } = &node.value {
            return Some(text.clone());
        }
        self.report(Finding::error(path, "a text", node.kind()).at(node.at));
        None
    }

    fn choice<T: Copy>(&mut self, fields: &Fields, name: &str, choices: &[(&str, T)]) -> Option<T> {
        let node = fields.get(name)?;
        let text = self.trimmed(node, &fields.path(name))?;
        if let Some((_, choice)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(*choice);
        }
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let mut finding = Finding::error(fields.path(name), format!("`{}`", words.join("` or `")), quoted(&text));
        finding.help = suggestion(&text, words);
        self.report(finding.at(node.at));
        None
    }

    fn report(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// Adds findings that know their field but not their line: the field's own, or that of what it belongs to.
    fn checked(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for mut finding in findings {
            let mut path = finding.path.as_str();
            finding.location = loop {
                match self.places.get(path) {
                    Some(place) => break Some(*place),
                    None if path.is_empty() => break None,
                    None => path = path.rfind(['.', '[']).map_or("", |end| &path[..end]),
                }
            };
            self.findings.push(finding);
        }
    }

    fn finish(mut self, policy: Option<Policy>) -> Parsed {
        self.findings.sort_by_key(|finding| finding.location);
        let refused = self.findings.iter().any(|finding| finding.severity == Severity::Error);
        Parsed { policy: policy.filter(|_| !refused), findings: self.findings }
    }
}

//! Markdown to a located tree.
//!
//! `# Title` names the policy if the front matter does not; text above the first `##` is for human readers. Under
//! `## ID: Name` (or `## ID` alone) stand paragraphs and lists that define the category, and one list of settings;
//! under `### Unsafe` and `### Safe` lists of examples. `## Rules` holds YAML, bare or in a fenced block.

use pulldown_cmark::HeadingLevel;

use super::limits::RuleLimits;
use super::node::{Entry, Node, Value};
use super::outline::{Block, Body, Outline, Section};
use super::read::{self, Parsed};
use super::yaml;
use crate::finding::{Finding, Location, PolicyError, quoted, suggestion};

/// Reads a whole document.
pub(super) fn read(text: &str, limits: RuleLimits) -> Parsed {
    let tree = Outline::of(text).and_then(|outline| outline.into_tree());
    match tree {
        Ok((root, findings)) => {
            let mut reading = read::policy(&root, limits);
            if !findings.is_empty() {
                reading.policy = None;
                reading.findings.extend(findings);
                reading.findings.sort_by_key(|finding| finding.location);
            }
            reading
        }
        Err(error) => Parsed { policy: None, findings: error.findings },
    }
}

impl Outline<'_> {
    /// The tree of the policy, and what is wrong with the document's shape.
    fn into_tree(self) -> Result<(Node, Vec<Finding>), PolicyError> {
        let top = Location::new(1, 1);
        let mut root = match self.front {
            None | Some(Node { value: Value::Null, .. }) => Node { at: top, value: Value::Map(Vec::new()) },
            Some(front) => front,
        };
        let mut shape = Shape::default();
        let first_line = self.body.line;
        for section in self.sections {
            match section.level {
                HeadingLevel::H1 => shape.title(section),
                HeadingLevel::H2 if section.title.eq_ignore_ascii_case("rules") => {
                    shape.rules(section, &self.body, first_line)?;
                }
                HeadingLevel::H2 => shape.category(section),
                HeadingLevel::H3 => shape.examples(section),
                _ => {
                    let found = format!("a deeper heading, {}", quoted(&section.title));
                    shape.findings.push(Finding::error("", "headings of level 1 to 3", found).at(section.at));
                }
            }
        }
        if let Value::Map(entries) = &mut root.value {
            let list = |nodes: Vec<Node>| Some(Node { at: nodes.first()?.at, value: Value::List(nodes) });
            let categories = list(shape.categories.into_iter().map(Draft::into_node).collect());
            let fields = [("categories", categories), ("rules", shape.rules)];
            for (key, value) in fields.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                if let Some(front) = entries.iter().find(|entry| entry.key == key) {
                    let expected = format!("`{key}` in the front matter or under headings");
                    let finding = Finding::error(key, expected, "both").at(value.at);
                    shape.findings.push(finding.help(format!("the front matter has them at {}", front.at)));
                } else {
                    entries.push(Entry { key: key.to_owned(), at: value.at, value });
                }
            }
            // The front matter's name is the more deliberate one.
            if let Some(title) = shape.title.filter(|_| !entries.iter().any(|entry| entry.key == "name")) {
                entries.push(Entry { key: "name".to_owned(), at: title.at, value: title });
            }
        }
        Ok((root, shape.findings))
    }
}

/// A category on its way from sections to a node.
struct Draft {
    at: Location,
    fields: Vec<Entry>,
    definition: Vec<String>,
    definition_at: Location,
    examples: Vec<Entry>,
}

impl Draft {
    fn field(&mut self, key: &str, at: Location, text: impl Into<String>, plain: bool) {
        self.fields.push(Entry { key: key.to_owned(), at, value: Node::scalar(at, text, plain) });
    }

    fn into_node(mut self) -> Node {
        if !self.definition.is_empty() {
            let definition = self.definition.join("\n");
            self.field("definition", self.definition_at, definition, false);
        }
        if let Some(first) = self.examples.first() {
            let at = first.at;
            let value = Node { at, value: Value::Map(self.examples) };
            self.fields.push(Entry { key: "examples".to_owned(), at, value });
        }
        Node { at: self.at, value: Value::Map(self.fields) }
    }
}

/// The parts of the policy that headings gave so far.
#[derive(Default)]
struct Shape {
    title: Option<Node>,
    categories: Vec<Draft>,
    rules: Option<Node>,
    findings: Vec<Finding>,
}

impl Shape {
    fn title(&mut self, section: Section) {
        if self.title.is_some() || !self.categories.is_empty() {
            let found = format!("another, {}", quoted(&section.title));
            let finding = Finding::error("name", "one `# Title`, above all categories", found).at(section.at);
            self.findings.push(finding.help("categories have `##` headings"));
            return;
        }
        self.title = Some(Node::scalar(section.at, section.title, false));
    }

    fn category(&mut self, section: Section) {
        let Section { at, title, blocks, .. } = section;
        let mut draft =
            Draft { at, fields: Vec::new(), definition: Vec::new(), definition_at: at, examples: Vec::new() };
        let parts = [": ", " - ", " – ", " — "].iter().filter_map(|separator| title.split_once(separator));
        // The leftmost separator ends the id: names may hold further ones.
        let (id, name) = parts.min_by_key(|(id, _)| id.len()).unwrap_or((&title, ""));
        draft.field("id", at, id.trim(), false);
        if !name.trim().is_empty() {
            draft.field("name", at, name.trim(), false);
        }
        for block in blocks {
            let at = match &block {
                Block::Text { at, .. } => *at,
                Block::List(items) => items.first().map_or(at, |(at, _)| *at),
            };
            if draft.definition.is_empty() {
                draft.definition_at = at;
            }
            match block {
                Block::Text { text, .. } => draft.definition.push(text),
                Block::List(items) if items.iter().any(|(_, item)| is_setting(item)) => {
                    items.into_iter().for_each(|(at, item)| self.setting(&mut draft, at, &item));
                }
                Block::List(items) => draft.definition.extend(items.into_iter().map(|(_, item)| format!("- {item}"))),
            }
        }
        self.categories.push(draft);
    }

    fn setting(&mut self, draft: &mut Draft, at: Location, item: &str) {
        let index = self.categories.len();
        let path = format!("categories[{index}]");
        let (key, value) = item.split_once(':').unwrap_or((item, ""));
        let key = key.trim().to_lowercase();
        if !SETTINGS.contains(&key.as_str()) {
            let expected = "a setting, `action: …` or `threshold: …`";
            let mut finding = Finding::error(path, expected, quoted(item)).at(at);
            finding.help = suggestion(&key, SETTINGS.iter().copied())
                .or_else(|| Some("settings and other points need lists of their own".to_owned()));
            self.findings.push(finding);
        } else if draft.fields.iter().any(|entry| entry.key == key) {
            self.findings.push(Finding::error(format!("{path}.{key}"), "one value", "a second one").at(at));
        } else {
            draft.field(&key, at, value.trim(), true);
        }
    }

    fn examples(&mut self, section: Section) {
        let Section { at, title, blocks, .. } = section;
        let title = title.to_lowercase();
        let kind = title.trim_end_matches(':').trim_end_matches(" examples");
        let path = match self.categories.len() {
            0 => String::new(),
            count => format!("categories[{}].examples", count - 1),
        };
        let Some(draft) = self.categories.last_mut() else {
            let finding = Finding::error(path, "a category's `## ID: Name` before any `###` heading", quoted(&title));
            self.findings.push(finding.at(at));
            return;
        };
        if !["unsafe", "safe"].contains(&kind) {
            let mut finding = Finding::error(path, "`### Unsafe` or `### Safe`", quoted(&title)).at(at);
            finding.help = suggestion(kind, ["unsafe", "safe"]);
            self.findings.push(finding);
            return;
        }
        if draft.examples.iter().any(|entry| entry.key == kind) {
            self.findings
                .push(Finding::error(format!("{path}.{kind}"), "one heading of each kind", "a second one").at(at));
            return;
        }
        let mut examples = Vec::new();
        for block in blocks {
            match block {
                Block::List(items) => {
                    examples.extend(items.into_iter().map(|(at, item)| Node::scalar(at, item, false)));
                }
                Block::Text { at, text } => {
                    let finding = Finding::error(format!("{path}.{kind}"), "a list of examples", quoted(&text)).at(at);
                    self.findings.push(finding.help("begin each example with `- `"));
                }
            }
        }
        let value = Node { at, value: Value::List(examples) };
        draft.examples.push(Entry { key: kind.to_owned(), at, value });
    }

    /// The rules' section is YAML as it stands, fences left out.
    fn rules(&mut self, section: Section, body: &Body<'_>, first_line: usize) -> Result<(), PolicyError> {
        if self.rules.is_some() {
            self.findings.push(Finding::error("rules", "one `## Rules`", "a second one").at(section.at));
            return Ok(());
        }
        let source = &body.text[section.span.clone()];
        let line = first_line + body.text[..section.span.start].matches('\n').count();
        let is_fence = |line: &str| line.trim_start().starts_with("```") || line.trim_start().starts_with("~~~");
        // A fence becomes an empty line, so that lines keep their numbers.
        let yaml: String = source.split_inclusive('\n').map(|line| if is_fence(line) { "\n" } else { line }).collect();
        let mut rules = yaml::parse(&yaml, line)?;
        if matches!(rules.value, Value::Null) {
            rules.at = section.at;
        }
        self.rules = Some(rules);
        Ok(())
    }
}

/// What a list under a category's heading may set.
const SETTINGS: &[&str] = &["action", "threshold"];

/// Whether a list item is a setting or a misspelt one, and not a point of the definition.
fn is_setting(item: &str) -> bool {
    let Some((key, _)) = item.split_once(':') else { return false };
    let key = key.trim().to_lowercase();
    SETTINGS.contains(&key.as_str()) || (key.len() > 4 && suggestion(&key, SETTINGS.iter().copied()).is_some())
}

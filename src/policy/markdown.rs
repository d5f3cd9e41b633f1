//! Markdown to a located tree.
//!
//! ```markdown
//! ---
//! name: House rules          # any field of the YAML form may stand here
//! ---
//! # House rules              (names the policy if the front matter does not)
//! Text before the first `##` is for human readers.
//!
//! ## S1: Weapons             (`## ID: Name`; `## ID` alone names the category after its id)
//! Paragraphs and lists give the definition.
//!
//! - action: review           (a list of settings: `action` and `threshold`)
//! - threshold: 0.7
//!
//! ### Unsafe                 (lists of examples)
//! - how to build a trap
//! ### Safe
//! - the history of traps
//!
//! ## Rules                   (YAML: a list of rules, bare or in a fenced block)
//! - id: card
//!   literal: card number
//! ```

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::finding::{Finding, Location, PolicyError, quoted, suggestion};
use super::node::{Entry, Node, Value};
use super::read::{self, Reading};
use super::yaml;

/// Reads a whole document.
pub(super) fn read(text: &str) -> Reading {
    let tree = Outline::of(text).and_then(|outline| outline.into_tree());
    match tree {
        Ok((root, findings)) => {
            let mut reading = read::policy(&root);
            if !findings.is_empty() {
                reading.policy = None;
                reading.findings.extend(findings);
                reading.findings.sort_by_key(|finding| finding.location);
            }
            reading
        }
        Err(error) => Reading { policy: None, findings: error.findings },
    }
}

/// What follows the front matter, and where it begins.
pub(super) struct Body<'t> {
    pub text: &'t str,
    /// The line of the file on which `text` begins.
    pub line: usize,
}

/// The front matter between two `---` lines at the top, and the rest.
pub(super) fn split_front_matter(text: &str) -> Option<(&str, Body<'_>)> {
    let mut lines = text.split_inclusive('\n');
    let opening = lines.next().filter(|line| line.trim_end() == "---")?;
    let mut end = opening.len();
    for (index, line) in lines.enumerate() {
        if line.trim_end() == "---" {
            let body = Body { text: &text[end + line.len()..], line: index + 3 };
            return Some((&text[opening.len()..end], body));
        }
        end += line.len();
    }
    None
}

/// A heading and what stands under it up to the next one.
struct Section {
    level: HeadingLevel,
    at: Location,
    title: String,
    /// Where the content stands in the body; ends where the next heading begins.
    span: Range<usize>,
    blocks: Vec<Block>,
}

/// A paragraph or code block, or a list.
enum Block {
    Text { at: Location, text: String },
    List(Vec<(Location, String)>),
}

/// A document cut at its headings.
struct Outline<'t> {
    body: Body<'t>,
    front: Option<Node>,
    sections: Vec<Section>,
}

/// Turns offsets into places; offsets must not fall.
struct Places<'t> {
    text: &'t str,
    seen: usize,
    line: usize,
    column: usize,
}

impl Places<'_> {
    fn at(&mut self, offset: usize) -> Location {
        if let Some(passed) = self.text.get(self.seen..offset) {
            for c in passed.chars() {
                (self.line, self.column) = if c == '\n' { (self.line + 1, 1) } else { (self.line, self.column + 1) };
            }
            self.seen = offset;
        }
        Location::new(self.line, self.column)
    }
}

impl<'t> Outline<'t> {
    fn of(text: &'t str) -> Result<Self, PolicyError> {
        let (front, body) = match split_front_matter(text) {
            Some((front, body)) => (Some(yaml::parse(front, 2)?), body),
            None => (None, Body { text, line: 1 }),
        };
        let mut places = Places { text: body.text, seen: 0, line: body.line, column: 1 };
        let mut sections: Vec<Section> = Vec::new();
        let mut text = String::new();
        let mut heading = false;
        let mut items = 0_usize; // how many list items are open
        let mut list: Vec<(Location, String)> = Vec::new();
        let mut start = Location::new(body.line, 1);
        for (event, span) in Parser::new_ext(body.text, Options::empty()).into_offset_iter() {
            match event {
                Event::Start(Tag::Heading { level, .. }) if items == 0 => {
                    let at = places.at(span.start);
                    if let Some(last) = sections.last_mut() {
                        last.span.end = span.start;
                    }
                    let span = span.end..body.text.len();
                    sections.push(Section { level, at, title: String::new(), span, blocks: Vec::new() });
                    heading = true;
                    text.clear();
                }
                Event::End(TagEnd::Heading(_)) if heading => {
                    heading = false;
                    if let Some(section) = sections.last_mut() {
                        section.title = std::mem::take(&mut text).trim().to_owned();
                    }
                }
                Event::Start(Tag::Item) => {
                    items += 1;
                    if items == 1 {
                        start = places.at(span.start);
                        text.clear();
                    } else {
                        text.push_str("\n- ");
                    }
                }
                Event::End(TagEnd::Item) => {
                    items = items.saturating_sub(1);
                    if items == 0 {
                        list.push((start, std::mem::take(&mut text).trim().to_owned()));
                    }
                }
                Event::End(TagEnd::List(_)) if items == 0 => {
                    let list = std::mem::take(&mut list);
                    push_block(&mut sections, Block::List(list));
                }
                Event::Start(Tag::Paragraph | Tag::CodeBlock(_) | Tag::HtmlBlock) if items == 0 => {
                    start = places.at(span.start);
                    text.clear();
                }
                Event::End(TagEnd::Paragraph | TagEnd::CodeBlock | TagEnd::HtmlBlock) if items == 0 => {
                    let text = std::mem::take(&mut text).trim().to_owned();
                    if !is_comment(&text) {
                        push_block(&mut sections, Block::Text { at: start, text });
                    }
                }
                Event::End(TagEnd::Paragraph | TagEnd::CodeBlock) => text.push('\n'),
                Event::Text(piece) | Event::Code(piece) | Event::Html(piece) | Event::InlineHtml(piece) => {
                    text.push_str(&piece);
                }
                Event::SoftBreak => text.push(' '),
                Event::HardBreak => text.push('\n'),
                _ => {}
            }
        }
        Ok(Self { body, front, sections })
    }

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

fn is_comment(html: &str) -> bool {
    html.starts_with("<!--") && html.ends_with("-->")
}

/// What stands before the first heading belongs to nobody: it is for human readers.
fn push_block(sections: &mut [Section], block: Block) {
    if let Some(section) = sections.last_mut() {
        section.blocks.push(block);
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

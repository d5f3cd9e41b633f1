//! YAML to a located tree. Works on parser events, so that scalars keep their spelling (`version: 1.0` stays `1.0`).

use std::collections::HashMap;

use serde_saphyr::granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span};

use super::node::{Budget, Entry, Node, Value, check_depth, check_field};
use crate::finding::{Finding, Location, PolicyError};

/// Reads one YAML document. `line` is the line of the file on which `text` begins.
pub(super) fn parse(text: &str, line: usize) -> Result<Node, PolicyError> {
    let mut options = Options::default();
    options.emit_comments = false;
    options.disallow_directives = true;
    let mut tree =
        Tree { first_line: line, budget: Budget::new(), open: Vec::new(), root: None, anchors: HashMap::new() };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(|error| syntax_error(&error, line))?;
        tree.take(event, &span)?;
    }
    Ok(tree.root.unwrap_or(Node { at: Location::new(line, 1), value: Value::Null }))
}

fn syntax_error(error: &ScanError, first_line: usize) -> PolicyError {
    let mark = error.marker();
    let at = Location::new(mark.line().max(1) + first_line - 1, mark.col() + 1);
    PolicyError::of(Finding::error("", "valid YAML", error.info()).at(at))
}

/// A collection whose end has not come yet.
struct Open {
    at: Location,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map { entries: Vec<Entry>, key: Option<(String, Location)> },
}

/// A value that aliases may repeat, and what a repetition costs.
struct Anchored {
    node: Node,
    nodes: usize,
    bytes: usize,
}

struct Tree {
    first_line: usize,
    budget: Budget,
    open: Vec<Open>,
    root: Option<Node>,
    anchors: HashMap<usize, Anchored>,
}

impl Tree {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), PolicyError> {
        let at = Location::new(span.start.line().max(1) + self.first_line - 1, span.start.col() + 1);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                refuse_tag(tag.is_some(), at)?;
                self.budget.spend(1, text.len(), at)?;
                let plain = style == ScalarStyle::Plain;
                let value = match &*text {
                    "" | "~" | "null" | "Null" | "NULL" if plain => Value::Null,
                    _ => Value::Scalar { text: text.into_owned(), plain },
                };
                self.close(Node { at, value }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), at)?;
                self.open(Open { at, anchor, content: Content::List(Vec::new()) })
            }
            Event::MappingStart(_, anchor, tag) => {
                refuse_tag(tag.is_some(), at)?;
                self.open(Open { at, anchor, content: Content::Map { entries: Vec::new(), key: None } })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { at, anchor, content }) = self.open.pop() else { return Ok(()) };
                let value = match content {
                    Content::List(items) => Value::List(items),
                    Content::Map { entries, .. } => Value::Map(entries),
                };
                self.close(Node { at, value }, anchor)
            }
            Event::Alias(anchor) => {
                let Some(known) = self.anchors.get(&anchor) else {
                    return Err(PolicyError::of(
                        Finding::error("", "an alias of a finished value", "an alias inside its own value").at(at),
                    ));
                };
                self.budget.spend(known.nodes, known.bytes, at)?;
                check_depth(self.open.len() + height(&known.node), at)?;
                self.attach(known.node.clone())
            }
            Event::DocumentStart(..) if self.root.is_some() => {
                let finding = Finding::error("", "one YAML document", "a second one").at(at);
                Err(PolicyError::of(finding.help("remove the `---` and what follows, or merge the two")))
            }
            _ => Ok(()),
        }
    }

    fn open(&mut self, open: Open) -> Result<(), PolicyError> {
        self.budget.spend(1, 0, open.at)?;
        check_depth(self.open.len() + 1, open.at)?;
        self.open.push(open);
        Ok(())
    }

    /// Puts a finished value where it belongs and remembers it if it has an anchor.
    fn close(&mut self, node: Node, anchor: usize) -> Result<(), PolicyError> {
        if anchor != 0 {
            let (nodes, bytes) = cost(&node);
            self.budget.spend(nodes, bytes, node.at)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), nodes, bytes });
        }
        self.attach(node)
    }

    fn attach(&mut self, node: Node) -> Result<(), PolicyError> {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, key }) => match key.take() {
                Some((key, at)) => entries.push(Entry { key, at, value: node }),
                None => {
                    let text = match node.value {
                        Value::Scalar { text, .. } => text,
                        Value::Null => "null".to_owned(),
                        _ => {
                            let finding = Finding::error("", "a field name", node.kind()).at(node.at);
                            return Err(PolicyError::of(finding));
                        }
                    };
                    check_field(entries, &text, node.at)?;
                    *key = Some((text, node.at));
                }
            },
        }
        Ok(())
    }
}

fn refuse_tag(tagged: bool, at: Location) -> Result<(), PolicyError> {
    if !tagged {
        return Ok(());
    }
    let finding = Finding::error("", "YAML without tags", "a tag").at(at);
    Err(PolicyError::of(finding.help("remove the `!…`, or quote the text if it begins with `!`")))
}

/// Values and bytes of text in a tree; its depth is bounded by `check_depth`.
fn cost(node: &Node) -> (usize, usize) {
    let sum = |(nodes, bytes), (n, b)| (nodes + n, bytes + b);
    match &node.value {
        Value::Null => (1, 0),
        Value::Scalar { text, .. } => (1, text.len()),
        Value::List(items) => items.iter().map(cost).fold((1, 0), sum),
        Value::Map(entries) => {
            entries.iter().map(|entry| sum(cost(&entry.value), (1, entry.key.len()))).fold((1, 0), sum)
        }
    }
}

fn height(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar { .. } => 0,
        Value::List(items) => 1 + items.iter().map(height).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| height(&entry.value)).max().unwrap_or(0),
    }
}

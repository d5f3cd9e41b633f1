//! A Markdown document cut at its headings: front matter, and the blocks of text and lists under each heading.

use std::ops::Range;

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::node::Node;
use super::yaml;
use crate::finding::{Location, PolicyError};

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
pub(super) struct Section {
    pub level: HeadingLevel,
    pub at: Location,
    pub title: String,
    /// Where the content stands in the body; ends where the next heading begins.
    pub span: Range<usize>,
    pub blocks: Vec<Block>,
}

/// A paragraph or code block, or a list.
pub(super) enum Block {
    Text { at: Location, text: String },
    List(Vec<(Location, String)>),
}

/// A document cut at its headings.
pub(super) struct Outline<'t> {
    pub body: Body<'t>,
    pub front: Option<Node>,
    pub sections: Vec<Section>,
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
    /// Cuts a document.
    ///
    /// # Errors
    /// If its front matter is not YAML.
    pub fn of(text: &'t str) -> Result<Self, PolicyError> {
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

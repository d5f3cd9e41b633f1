//! The page around charts and tables.

use maud::{DOCTYPE, Markup, PreEscaped, Render, html};

use super::Chart;

const STYLE: &str = include_str!("page.css");
/// The browser itself sees to it that a report asks nobody for anything.
const SECURITY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// A report: a title, what it is about, and sections. One HTML file without scripts, for light and dark, wide and narrow.
#[derive(Debug, Clone)]
pub struct Page {
    title: String,
    facts: Vec<(String, String)>,
    sections: Vec<(String, Markup)>,
}

impl Page {
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), facts: Vec::new(), sections: Vec::new() }
    }

    /// A line below the title that says what was done: the model, the policy, the seed.
    pub fn fact(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.facts.push((name.into(), value.into()));
        self
    }

    /// A part with a heading of its own; build `body` with [`html!`].
    pub fn section(mut self, heading: impl Into<String>, body: Markup) -> Self {
        self.sections.push((heading.into(), body));
        self
    }

    /// The whole file.
    pub fn html(&self) -> String {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(SECURITY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    h1 { (self.title) }
                    @if !self.facts.is_empty() {
                        dl { @for (name, value) in &self.facts { div { dt { (name) } dd { (value) } } } }
                    }
                    @for (heading, body) in &self.sections { section { h2 { (heading) } (body) } }
                }
            }
        }
        .into_string()
    }
}

/// Charts beside each other where there is room, below each other where there is none.
pub fn charts(charts: impl IntoIterator<Item = Chart>) -> Markup {
    html! { div.charts { @for chart in charts { (chart) } } }
}

/// A table whose first column names its rows. It scrolls by itself where the page is narrower.
#[derive(Debug, Clone)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new<T: Into<String>>(header: impl IntoIterator<Item = T>) -> Self {
        Self { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    pub fn row<T: Into<String>>(mut self, cells: impl IntoIterator<Item = T>) -> Self {
        self.rows.push(cells.into_iter().map(Into::into).collect());
        self
    }

    /// Several rows, each like [`row`](Self::row).
    pub fn rows(mut self, rows: impl IntoIterator<Item = Vec<String>>) -> Self {
        self.rows.extend(rows);
        self
    }
}

impl Render for Table {
    fn render(&self) -> Markup {
        html! {
            // Who has no pointer scrolls with the arrow keys, so the box takes the focus.
            div.table tabindex="0" {
                table {
                    thead { tr { @for name in &self.header { th scope="col" { (name) } } } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (at, cell) in row.iter().enumerate() {
                                    @if at == 0 { th scope="row" { (cell) } } @else { td { (cell) } }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_one_file_that_runs_nothing_and_asks_nobody() {
        let chart = Chart::new("Loss", "step", "nats").line("train", [(0.0, 1.0), (1.0, 0.5)]);
        let page = Page::new("A run").fact("model", "tiny").section("Curves", charts([chart])).html();
        for foreign in ["<script", "<link", "<img", "<iframe", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        // The namespace of SVG is a name, not an address that anybody opens.
        assert!(!page.replace("http://www.w3.org/2000/svg", "").contains("://"));
        assert!(page.contains("prefers-color-scheme") && page.contains("width=device-width"));
    }

    #[test]
    fn names_from_outside_stay_text() {
        let table = Table::new(["set"]).row(["<b>x</b>"]);
        let page = Page::new("<script>").fact("a", "<img>").section("<h1>", html! { (table) }).html();
        assert!(page.contains("&lt;b&gt;x") && !page.contains("<script>") && !page.contains("<img>"), "{page}");
    }
}

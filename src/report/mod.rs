//! Reports as web pages: one file each, with charts and tables in it, that opens anywhere and asks nobody for anything.
//!
//! It knows nothing of guards, rows or training: those who measure bring numbers and names.
//!
//! ```
//! use rsafe::report::{Chart, Page, Table, charts, html};
//!
//! let loss = Chart::new("Loss", "step", "nats").line("train", [(0.0, 1.0), (1.0, 0.5)]);
//! let table = Table::new(["set", "F1"]).row(["a", "0.81"]);
//! let page = Page::new("A run").section("Curves", charts([loss])).section("Sets", html! { p { "Two rows." } (table) });
//! assert!(page.html().starts_with("<!DOCTYPE html>"));
//! ```

mod chart;
mod page;

pub use chart::Chart;
/// Text in it is escaped; see [maud](https://maud.lambda.xyz).
pub use maud::{Markup, html};
pub use page::{Page, Table, charts};

//! How far an evaluation is.

use indicatif::{ProgressBar, ProgressStyle};

/// Visible on a terminal alone; indicatif sees to that.
pub fn progress_bar(name: &str, rows: usize) -> ProgressBar {
    let bar = ProgressBar::new(rows as u64);
    match ProgressStyle::with_template("{prefix}  {bar:30} {pos}/{len}  {per_sec}  {eta} left") {
        Ok(style) => bar.with_style(style).with_prefix(name.to_owned()),
        Err(_) => bar,
    }
}

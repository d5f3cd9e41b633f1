//! How far a run over rows is: a bar on a terminal, a line now and then elsewhere.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

use super::tally::Tally;

/// Between two lines.
const PAUSE: Duration = Duration::from_secs(10);

pub struct Progress {
    bar: ProgressBar,
    /// When the last line was said, where lines are.
    said: Option<Instant>,
    size: Option<u64>,
    started: Instant,
    from: Tally,
}

impl Progress {
    /// Of an input of `size` bytes, `from` what was done before. On a terminal a bar, if `bar` or asked for; elsewhere
    /// lines, if asked for.
    pub fn new(size: Option<u64>, from: Tally, asked: bool, bar: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let started = Instant::now();
        let bar = if terminal && (bar || asked) { visible(size) } else { ProgressBar::hidden() };
        Self { bar, said: (asked && !terminal).then_some(started), size, started, from }
    }

    /// Takes the bar away while something is written.
    pub fn hidden<R>(&self, write: impl FnOnce() -> R) -> R {
        self.bar.suspend(write)
    }

    pub fn show(&mut self, tally: &Tally) {
        self.bar.set_position(tally.read);
        if !self.bar.is_hidden() {
            self.bar.set_message(self.message(tally));
        }
        if self.said.is_some_and(|said| said.elapsed() >= PAUSE) {
            self.say(tally);
        }
    }

    pub fn end(mut self, tally: &Tally) {
        self.bar.finish_and_clear();
        if self.said.is_some() {
            self.say(tally);
        }
    }

    fn say(&mut self, tally: &Tally) {
        eprintln!("{}", self.message(tally));
        self.said = Some(Instant::now());
    }

    fn message(&self, tally: &Tally) -> String {
        let Tally { rows, flagged, failed, read } = tally;
        let took = self.started.elapsed();
        let speed = (rows - self.from.rows) as f64 / took.as_secs_f64().max(1e-3);
        let (done, size) = (read.saturating_sub(self.from.read), self.size.unwrap_or(0));
        let left = if done > 0 && size > *read {
            let left = took.mul_f64((size - read) as f64 / done as f64);
            format!(", {} left", HumanDuration(left))
        } else {
            String::new()
        };
        format!("{rows} rows, {flagged} flagged, {failed} errors, {speed:.1} rows/s{left}")
    }
}

fn visible(size: Option<u64>) -> ProgressBar {
    let (bar, template) = match size {
        Some(size) => (ProgressBar::new(size), "{bar:30} {percent:>3}%  {msg}"),
        None => (ProgressBar::no_length(), "{spinner} {msg}  {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

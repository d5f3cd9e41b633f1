//! A reader of a stream that comes at a steady speed through a monitor.

use std::time::Instant;

use pollster::block_on;
use rsafe::{Guard, Monitor, MonitorOptions, Reasoning, Released};

const TOKENS_A_SECOND: f64 = 50.0;
/// Characters of a token at most; most are words with the space before them.
const TOKEN: usize = 6;

/// What came of one response. Delays are in tokens, one for each character that was shown.
#[derive(Default)]
pub struct Reading {
    /// Characters that were shown.
    pub shown: usize,
    pub stopped: bool,
    /// Whether only the check of the whole stopped it.
    pub by_end: bool,
    /// How many characters the last check knew.
    pub known: usize,
    pub checks: usize,
    /// Tokens that the model read, those of its caches left out.
    pub tokens: usize,
    pub seconds: f64,
    held: Vec<f64>,
    late: Vec<f64>,
}

impl Reading {
    /// Between a character's arrival and the token that released it.
    pub fn held(&self) -> &[f64] {
        &self.held
    }

    /// The same with the time for judging.
    pub fn late(&self) -> &[f64] {
        &self.late
    }
}

pub fn read(guard: &Guard, options: MonitorOptions, text: &str) -> Reading {
    let mut monitor =
        Monitor::new(guard, Vec::new(), None, options.reasoning(Reasoning::Never)).expect("options within bounds");
    let mut reading = Reading::default();
    // Which token each character came with.
    let mut came = Vec::new();
    // In tokens since the beginning.
    let mut clock = 0.0f64;
    let tokens = tokens(text);
    for (at, token) in tokens.iter().map(Some).chain([None]).enumerate() {
        let start = Instant::now();
        let released = match token {
            Some(token) => block_on(monitor.push(token)),
            None => block_on(monitor.finish()),
        };
        let released = released.expect("the text can be judged");
        let seconds = start.elapsed().as_secs_f64();
        let arrived = at.min(tokens.len() - 1) as f64;
        came.extend(std::iter::repeat_n(arrived, token.map_or(0, |token| token.chars().count())));
        clock = clock.max(arrived) + seconds * TOKENS_A_SECOND;
        reading.seconds += seconds;
        reading.take(&released, &came, arrived, clock);
        if released.blocked {
            reading.stopped = true;
            reading.by_end = token.is_none();
            break;
        }
    }
    reading.known = monitor.curve().last().map_or(0, |(known, _)| *known);
    reading.checks = monitor.curve().len();
    reading
}

impl Reading {
    fn take(&mut self, released: &Released, came: &[f64], now: f64, clock: f64) {
        for at in &came[self.shown..self.shown + released.text.chars().count()] {
            self.held.push(now - at);
            self.late.push(clock - at);
            self.shown += 1;
        }
        let usage = released.verdict.as_ref().map(|verdict| verdict.usage);
        self.tokens += usage.map_or(0, |usage| usage.prompt_tokens - usage.cached_tokens);
    }
}

/// About what a language model writes at a time: a word with the space before it, a long one in parts.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for c in text.chars() {
        match tokens.last_mut().filter(|token| !c.is_whitespace() && token.chars().count() < TOKEN) {
            Some(token) => token.push(c),
            None => tokens.push(c.to_string()),
        }
    }
    tokens
}

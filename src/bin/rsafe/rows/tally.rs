//! What was said of rows so far, counted.

use crate::Outcome;

/// What was said so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tally {
    pub rows: u64,
    pub flagged: u64,
    pub failed: u64,
    /// Bytes of the input up to the last row.
    pub read: u64,
}

impl Tally {
    pub fn add(&mut self, outcome: Outcome, read: u64) {
        self.rows += 1;
        self.flagged += u64::from(outcome == Outcome::Flagged);
        self.failed += u64::from(outcome == Outcome::Incomplete);
        self.read = read;
    }

    pub fn outcome(&self) -> Outcome {
        match (self.failed, self.flagged) {
            (0, 0) => Outcome::Clean,
            (0, _) => Outcome::Flagged,
            _ => Outcome::Incomplete,
        }
    }
}

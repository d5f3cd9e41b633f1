//! How a command ends, and what its exit code says of it.

use std::io;
use std::process::ExitCode;

/// How a command that did not fail ended; `check` documents the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Clean,
    Flagged,
    /// Some of the input could not be judged, and was reported where it stood.
    Incomplete,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Clean => ExitCode::SUCCESS,
            Outcome::Flagged => ExitCode::from(1),
            Outcome::Incomplete => ExitCode::from(2),
        }
    }
}

/// Why a command stopped.
#[derive(Debug)]
pub enum Failure {
    Library(rsafe::Error),
    /// Standard output is gone or full.
    Output(io::Error),
}

impl From<rsafe::Error> for Failure {
    fn from(error: rsafe::Error) -> Self {
        Failure::Library(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

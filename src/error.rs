//! What can go wrong, said once for Rust, the command line's JSON and TypeScript.

use std::path::PathBuf;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with a stable [`code`](Error::code) and a message for the one who must act:
/// what was expected, what came, where, and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The policy cannot be read or makes no sense; see [`PolicyError`](crate::policy::PolicyError) for line and field.
    #[error(transparent)]
    BadPolicy(#[from] crate::finding::PolicyError),
    /// A request, a message or a data row is not what the guard can judge.
    #[error("bad input: {0}")]
    BadInput(String),
    /// A checkpoint, bundle, tokenizer or manifest is not one that rsafe can run.
    #[error("bad model: {0}")]
    BadModel(String),
    /// A file's size or sha256 differs from the manifest's.
    #[error("integrity: {0}")]
    Integrity(String),
    /// The model loaded but does not give the answers it gave when it was made.
    #[error("self-test failed: {0}")]
    SelfTest(String),
    /// The prompt does not fit into the model's context.
    #[error(
        "context length: the prompt has {needed} tokens or more, the model takes {limit}; shorten the conversation or the \
         policy"
    )]
    ContextLength { needed: usize, limit: usize },
    /// Judging would take more work than the guard's budget allows, see
    /// [`LoadOptions::max_work`](crate::LoadOptions::max_work). Nothing was read.
    #[error(
        "context length: judging this takes {needed} tokens of reading (each stretch of the text with every category), \
         the budget is {budget}; send a shorter text, use fewer or shorter categories, or raise the budget (`max_work`)"
    )]
    Work { needed: usize, budget: usize },
    /// A text has more bytes than any that the model can take, so that it was not even read.
    #[error("context length: the text has {bytes} bytes, at most {limit} are read; shorten the conversation")]
    TooManyBytes { bytes: usize, limit: usize },
    /// The policy's rules would take too long over a text as long as this.
    #[error(
        "context length: the policy's rules would cost {needed} units of work over a text of {bytes} bytes, their limit is \
         {limit}; shorten the text, or write fewer or simpler regexes"
    )]
    RuleWork { bytes: usize, needed: u64, limit: u64 },
    /// This build, device or template cannot do what was asked.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The device is gone; the next call rebuilds it.
    #[error("device lost: {0}")]
    DeviceLost(String),
    /// A file could not be read or written.
    #[error("{path}: {source}", path = .path.display())]
    Io { path: PathBuf, source: std::io::Error },
}

impl Error {
    /// The stable name of the kind of error, the same in Rust, JSON and TypeScript.
    pub fn code(&self) -> &'static str {
        match self {
            Error::BadPolicy(_) => "bad_policy",
            Error::BadInput(_) => "bad_input",
            Error::BadModel(_) => "bad_model",
            Error::Integrity(_) => "integrity",
            Error::SelfTest(_) => "self_test",
            Error::ContextLength { .. } | Error::Work { .. } | Error::TooManyBytes { .. } | Error::RuleWork { .. } => {
                "context_length"
            }
            Error::Unsupported(_) => "unsupported",
            Error::DeviceLost(_) => "device_lost",
            Error::Io { .. } => "io",
        }
    }

    /// An [`Error::Io`] that names its file.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.into();
        move |source| Error::Io { path, source }
    }
}

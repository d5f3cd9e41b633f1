//! Integration tests, one binary: each module holds the promises of one area.

mod bundle;
#[cfg(feature = "cli")]
mod cli;
#[cfg(all(unix, feature = "cli", feature = "embedded"))]
mod clusters;
#[cfg(all(feature = "embedded", feature = "native"))]
mod damage;
#[cfg(feature = "eval")]
mod dataset;
mod decoder;
#[cfg(feature = "train")]
mod decoder_rl;
#[cfg(all(feature = "embedded", feature = "native"))]
mod disguises;
#[cfg(feature = "train")]
mod dpo;
#[cfg(feature = "cli")]
mod eval_cli;
#[cfg(feature = "eval")]
mod eval_stats;
#[cfg(feature = "train")]
mod export;
mod grammar;
#[cfg(all(feature = "embedded", feature = "native"))]
mod guard;
mod kernels;
#[cfg(all(feature = "embedded", feature = "native"))]
mod lint;
#[cfg(all(unix, feature = "cli", feature = "embedded"))]
mod manual;
#[cfg(feature = "eval")]
mod metrics;
#[cfg(all(feature = "embedded", feature = "native"))]
mod monitor;
#[cfg(all(feature = "embedded", feature = "eval"))]
mod normalise;
#[cfg(all(feature = "embedded", feature = "native"))]
mod notes;
#[cfg(feature = "native")]
mod own_data;
mod policy;
mod prompt;
#[cfg(all(feature = "serve", feature = "embedded"))]
mod responses;
#[cfg(feature = "train")]
mod rewards;
#[cfg(feature = "train")]
mod rl;
#[cfg(feature = "train")]
mod rl_loss;
mod rooms;
#[cfg(all(feature = "cli", feature = "embedded"))]
mod rows_cli;
#[cfg(all(feature = "serve", feature = "embedded"))]
mod serve;
#[cfg(all(feature = "serve", feature = "embedded"))]
mod serve_responses;
#[cfg(all(feature = "serve", feature = "embedded"))]
mod serve_upstream;
#[cfg(all(feature = "serve", feature = "embedded"))]
mod server;
mod tokenizer;
#[cfg(feature = "train")]
mod train;
#[cfg(feature = "cli")]
mod train_cli;
#[cfg(all(feature = "serve", feature = "embedded"))]
mod upstream;
mod verdict;

/// The folder of a checkpoint that `golden/make_fixtures.py` made.
fn golden(checkpoint: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(checkpoint)
}

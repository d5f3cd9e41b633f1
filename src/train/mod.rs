//! Training on burn autodiff: labelled rows under sampled policies, and the loops that learn from them.

pub mod average;
mod batch;
pub mod calibrate;
mod checkpoint;
mod evidence;
mod examples;
pub mod export;
mod files;
mod init;
mod lessons;
mod own_policy;
mod owned;
mod padding;
mod panel;
mod policies;
mod pupil;
pub mod reward;
pub mod rl;
mod sample;
mod samples;
pub mod sft;
mod topics;
mod warm_start;

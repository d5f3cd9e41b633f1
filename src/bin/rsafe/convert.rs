//! `rsafe convert`: a Hugging Face checkpoint becomes a bundle.

use std::io::Write;
use std::path::PathBuf;

use crate::{Failure, Outcome, library};

#[derive(clap::Args)]
pub struct ConvertArgs {
    /// The checkpoint: config.json, tokenizer.json, *.safetensors
    #[arg(value_name = "HF_DIR")]
    pub checkpoint: PathBuf,
    /// The folder that the bundle is written to
    #[arg(value_name = "OUT")]
    pub out: PathBuf,
    /// How weights are stored: blocks of 8 or 4 bits, or half precision
    #[arg(long, value_enum, default_value_t = Dtype::Q8)]
    pub dtype: Dtype,
    /// The prompt format that the model was trained with [default: told from the checkpoint]
    #[arg(long, value_enum)]
    pub template: Option<TemplateArg>,
    /// Replace a bundle that is already there
    #[arg(long)]
    pub overwrite: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    Q8,
    Q4,
    F16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum TemplateArg {
    Rsafe,
    #[value(name = "llama-guard3")]
    LlamaGuard3,
    Qwen3guard,
}

pub fn run(args: ConvertArgs) -> Result<Outcome, Failure> {
    let mut out = anstream::stdout().lock();
    for line in library::convert(&args)? {
        writeln!(out, "{line}")?;
    }
    Ok(Outcome::Clean)
}

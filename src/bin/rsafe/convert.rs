//! `rsafe convert`: a Hugging Face checkpoint becomes a bundle.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::builder::TypedValueParser;
use pollster::block_on;
use rsafe::bundle::{self, Checkpoint, ConvertOptions, DefaultPolicy};
use rsafe::guard::{NOTABLE_SHIFT, largest_shift, renew_self_test};
use rsafe::kernels::Encoding;
use rsafe::prompt::Template;

use crate::library::{one_of, one_of_explained};
use crate::outcome::{Failure, Outcome};
use crate::output;

#[derive(clap::Args)]
pub struct ConvertArgs {
    /// The checkpoint: config.json, tokenizer.json, *.safetensors
    #[arg(value_name = "HF_DIR")]
    checkpoint: PathBuf,
    /// The folder that the bundle is written to
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// How weights are stored: blocks of 8 or 4 bits, or half precision
    #[arg(long, value_parser = one_of(&[Encoding::Q8, Encoding::Q4, Encoding::F16]), default_value = "q8")]
    dtype: Encoding,
    /// The prompt format that the model was trained with [default: told from the checkpoint]
    #[arg(long, value_parser = template())]
    template: Option<Template>,
    /// The bundle's name [default: the checkpoint folder's]
    #[arg(long)]
    name: Option<String>,
    /// Where the checkpoint comes from, for its provenance [default: the folder's name]
    #[arg(long)]
    source: Option<String>,
    /// The weights' licence, for their provenance [default: unknown]
    #[arg(long)]
    licence: Option<String>,
    /// What the model was trained on, for its provenance
    #[arg(long)]
    data: Option<String>,
    /// The built-in policy of requests that bring none [default: the template's own]
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Replace a bundle that is already there
    #[arg(long)]
    overwrite: bool,
    /// Do not compare the bundle's answers with the checkpoint's, which takes as much memory as the checkpoint's files
    #[arg(long)]
    no_compare: bool,
}

/// Takes a template by its word.
pub fn template() -> impl TypedValueParser<Value = Template> {
    one_of_explained(&[Template::Rsafe, Template::LlamaGuard3, Template::Qwen3guard, Template::Slots], |template| {
        (template == Template::Slots).then_some("What `rsafe train sft` trains")
    })
}

pub fn run(args: ConvertArgs) -> Result<Outcome, Failure> {
    let mut options = ConvertOptions::default().dtype(args.dtype).overwrite(args.overwrite);
    options.template = args.template;
    options.name = args.name;
    options.source = args.source;
    options.licence = args.licence;
    options.data = args.data;
    options.policy = args.policy.map(DefaultPolicy::Builtin);
    let converted = bundle::convert(&args.checkpoint, &args.out, &options)?;
    converted.warnings.iter().for_each(|told| output::warning(told));
    // The known answers are what the weights give as they are stored.
    let manifest = block_on(renew_self_test(&args.out))?;
    if !args.no_compare {
        compare(&args.checkpoint, &args.out, args.dtype)?;
    }
    let bytes: u64 = manifest.files.iter().map(|file| file.size).sum();
    let line = format!(
        "{}: {} ({}), {} files, {:.1} MB",
        args.out.display(),
        manifest.name,
        manifest.architecture,
        manifest.files.len(),
        bytes as f64 / 1e6
    );
    writeln!(anstream::stdout(), "{}", output::printable(&line))?;
    Ok(Outcome::Clean)
}

/// Warns where the weights as they are stored answer otherwise than the checkpoint's do.
fn compare(checkpoint: &Path, out: &Path, dtype: Encoding) -> Result<(), Failure> {
    let shift = block_on(largest_shift(&Checkpoint::open(checkpoint)?, out))?;
    let Some(shift) = shift.filter(|shift| shift.logits() >= NOTABLE_SHIFT) else { return Ok(()) };
    let scored = shift.category.as_ref().map_or_else(String::new, |category| format!(" for {category:?}"));
    let advice = match dtype {
        Encoding::Q4 => "; convert with --dtype q8",
        Encoding::Q8 => "; convert with --dtype f16",
        _ => "",
    };
    output::warning(&format!(
        "stored as {dtype}, the model answers otherwise than before: its score{scored} of {:?} is {:.2}, that of the \
         checkpoint is {:.2}, {:.1} logits away{advice}",
        shift.text,
        shift.bundle,
        shift.checkpoint,
        shift.logits(),
    ));
    Ok(())
}

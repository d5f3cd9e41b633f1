//! `rsafe self-test`: whether a bundle's model is whole on this machine, and known answers for one that has none.

use std::io::Write;
use std::path::PathBuf;

use pollster::block_on;
use rsafe::bundle::Bundle;
use rsafe::guard::{Guard, LoadOptions, renew_self_test};
use web_time::Instant;

use crate::outcome::{Failure, Outcome};
use crate::{library, output};

#[derive(clap::Args)]
pub struct SelfTestArgs {
    /// A bundle's folder [default: the embedded model]
    #[arg(value_name = "DIR")]
    bundle: Option<PathBuf>,
    /// First make the known answers anew, of the weights and the tokenizer as they are; only for files that you trust
    #[arg(long, requires = "bundle")]
    renew: bool,
}

pub fn run(args: SelfTestArgs) -> Result<Outcome, Failure> {
    if let (Some(folder), true) = (&args.bundle, args.renew) {
        block_on(renew_self_test(folder))?;
    }
    let bundle = args.bundle.map_or_else(library::embedded, Bundle::open)?;
    let name = bundle.manifest().name.clone();
    let begin = Instant::now();
    let guard = block_on(Guard::load(bundle, LoadOptions::default()))?;
    let seconds = begin.elapsed().as_secs_f64();
    if let Some(tested) = guard.tested() {
        let line = format!(
            "{name}: passed, {} values within {:.6} of {} allowed, loaded in {seconds:.2} s",
            tested.values, tested.difference, tested.tolerance
        );
        writeln!(anstream::stdout(), "{}", output::printable(&line))?;
    }
    Ok(Outcome::Clean)
}

//! `rsafe train calibrate`: a bundle's threshold and uncertain band, from rows held out of its training.

use std::io::Write;
use std::path::PathBuf;

use indicatif::{ProgressBar, ProgressStyle};
use pollster::block_on;
use rsafe::train::calibrate::calibrate;
use rsafe::train::recipe::Recipe;

use crate::{Failure, Outcome};

#[derive(clap::Args)]
pub struct CalibrateArgs {
    /// The bundle's folder; its manifest is rewritten
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// The recipe that the model was trained with
    #[arg(long, value_name = "FILE")]
    recipe: PathBuf,
    /// The folder of the data sets
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
}

pub fn run(args: CalibrateArgs) -> Result<Outcome, Failure> {
    let recipe = Recipe::load(&args.recipe)?;
    let progress = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    let found = block_on(calibrate(&args.bundle, &recipe, &args.data, |rows| {
        progress.set_message(format!("{rows} held-out rows"));
        progress.tick();
    }))?;
    progress.finish_and_clear();
    let [low, high] = found.thresholds.uncertain;
    writeln!(
        anstream::stdout(),
        "{} held-out rows: threshold {:.3} (F1 {:.3}), uncertain from {low:.3} to {high:.3}, AUROC {:.3}",
        found.rows,
        found.thresholds.global,
        found.f1,
        found.auroc.unwrap_or(f64::NAN)
    )?;
    Ok(Outcome::Clean)
}

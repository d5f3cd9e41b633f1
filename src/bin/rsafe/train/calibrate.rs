//! `rsafe train calibrate`: a bundle's thresholds, operating points and uncertain band, from rows held out of its training:
//! those of the recipe that made it, or those labelled by a policy that becomes its own.

use std::io::Write;
use std::path::PathBuf;

use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use rsafe::data::recipe::Recipe;
use rsafe::train::calibrate::{Calibration, Measured, adopt, calibrate};
use rsafe::verdict::OperatingCurve;

use crate::library;
use crate::outcome::{Failure, Outcome};

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["recipe", "policy"])))]
pub struct CalibrateArgs {
    /// The bundle's folder; its manifest is rewritten
    #[arg(value_name = "BUNDLE")]
    bundle: PathBuf,
    /// Held-out rows: with --recipe the folder of its sets, with --policy files or folders of rows
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// The recipe that the model was trained with
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// A policy (a file, or a built-in one's name) that becomes the bundle's own; a row's categories are its ids or names
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// Share of the rows to choose by, with --policy: the share that training kept out, or 1 if it saw none of them
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, conflicts_with = "recipe")]
    held_out: f64,
}

pub fn run(args: CalibrateArgs) -> Result<Outcome, Failure> {
    let progress = ProgressBar::new_spinner().with_style(ProgressStyle::default_spinner());
    let on_row = |rows: usize| {
        progress.set_message(format!("{rows} held-out rows"));
        progress.tick();
    };
    let found = match (args.recipe, args.policy) {
        (Some(recipe), _) => calibrate(&args.bundle, &Recipe::load(&recipe)?, Recipe::folder(&args.data)?, on_row)?,
        (None, Some(policy)) => adopt(&args.bundle, &library::policy(&policy)?, &args.data, args.held_out, on_row)?,
        (None, None) => unreachable!("the arguments' group is required"),
    };
    progress.finish_and_clear();
    write!(anstream::stdout(), "{}", summary(&found))?;
    Ok(Outcome::Clean)
}

/// What was chosen, and what it does to the rows that were held out.
fn summary(found: &Calibration) -> String {
    let thresholds = &found.thresholds;
    let [low, high] = thresholds.uncertain;
    let measure = |value: Option<f64>| value.map_or("–".to_owned(), |value| format!("{value:.3}"));
    let mut text = format!(
        "{} held-out rows: threshold {:.3} (F1 {:.3}), uncertain from {low:.3} to {high:.3}, AUROC {}\n",
        found.rows,
        thresholds.global,
        found.f1,
        measure(found.auroc)
    );
    for (names, measured) in [("seen in training", found.seen), ("never seen", found.unseen)] {
        if let (Some(custom), Some(Measured { rows, f1, auroc })) = (thresholds.custom, measured) {
            text += &format!(
                "{rows} rows under drawn policies, names {names}: threshold {custom:.3} (F1 {f1:.3}), AUROC {auroc:.3}\n"
            );
        }
    }
    text += "F1 where a quarter of the texts break the policy.\n\nOperating points\n";
    let mut points = Table::new();
    points.load_style(presets::ASCII_MARKDOWN);
    points.set_header(["FPR up to", "threshold", "recall", "drawn policies: threshold", "recall"]);
    for fpr in [0.01, 0.05, 0.1] {
        let at = |curve: &OperatingCurve| match curve.at_fpr(fpr) {
            Some(point) => [format!("{:.3}", point.threshold), format!("{:.3}", point.recall)],
            None => ["–".to_owned(), "–".to_owned()],
        };
        let (own, custom) = (at(&found.operating.own), at(&found.operating.custom));
        points.add_row([format!("{:.0} %", fpr * 100.0)].into_iter().chain(own).chain(custom));
    }
    text += &format!("{points}\n");
    if !thresholds.categories.is_empty() {
        let mut categories = Table::new();
        categories.load_style(presets::ASCII_MARKDOWN);
        categories.set_header(["category", "threshold"]);
        for (id, threshold) in &thresholds.categories {
            categories.add_row([id.clone(), format!("{threshold:.3}")]);
        }
        text += &format!("\nThresholds of categories, the others have {:.3}\n{categories}\n", thresholds.global);
    }
    text
}

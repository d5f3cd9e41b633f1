//! What several training commands are given: rows and the policies that they are judged under, and a bar to watch.

use std::io::Write;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use rsafe::Error;
use rsafe::guard::Steps;
use rsafe::train::rl::decoder::DecoderNetwork;
use rsafe::train::rl::{Setup, TaskSource};

use crate::library;
use crate::library::{STEPS, one_of};
use crate::outcome::Failure;

#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("source").required(true).args(["recipe", "policy"])))]
pub struct RowsArgs {
    /// Labelled rows: with --recipe the folder of its sets, with --policy files or folders of rows
    #[arg(long, value_name = "PATH", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// Judge rows under policies drawn from this training recipe
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Judge rows under this policy (a file, or a built-in one's name); a row's categories are the policy's ids or names
    #[arg(long, value_name = "POLICY")]
    policy: Option<String>,
    /// Share of tasks that are answered without reasoning, so that the verdict alone is trained, too [default: 0.25; for a
    /// decoder 0]
    #[arg(long, value_name = "SHARE")]
    answer_first: Option<f64>,
    /// Share of a recipe's tasks that are asked, where the labels decide it, under the own policy of the bundle of rsafe-mini
    /// which trains, at its own thresholds
    #[arg(long, value_name = "SHARE", default_value_t = 0.5, conflicts_with = "policy")]
    own_policy: f64,
    /// Who decides what an answer of rsafe-mini says of a category: its score, as at inference, so that the reward moves the
    /// scores; or the model as it writes
    #[arg(long, value_name = "WHO", value_parser = one_of(STEPS), default_value = "scored")]
    claims: Steps,
    /// Share of rows kept out of training, with --policy; a recipe says its own
    #[arg(long, value_name = "SHARE", default_value_t = 0.05, conflicts_with = "recipe")]
    held_out: f64,
}

impl RowsArgs {
    /// The files and folders that are read.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        let policy = self.policy.as_deref().map(Path::new);
        self.data.iter().map(PathBuf::as_path).chain(self.recipe.as_deref()).chain(policy)
    }

    /// With the model to start from, and examples of the supervised loss in each step, for each core.
    pub fn setup(self, init: PathBuf, slots_examples: usize) -> Result<Setup, Failure> {
        let source = match source(self.recipe, self.policy, self.held_out)? {
            Some(source) => source,
            None => unreachable!("the arguments' group is required"),
        };
        let Self { data, answer_first, own_policy, claims: steps, .. } = self;
        let answer_first = answer_first.unwrap_or(if DecoderNetwork::reads(&init) { 0.0 } else { 0.25 });
        Ok(Setup { data, answer_first, own_policy, slots_examples, steps, ..Setup::new(init, source) })
    }
}

/// Where policies come from, if from anywhere.
pub fn source(recipe: Option<PathBuf>, policy: Option<String>, held_out: f64) -> Result<Option<TaskSource>, Failure> {
    Ok(match (recipe, policy) {
        (Some(recipe), _) => Some(TaskSource::Recipe { recipe }),
        (None, Some(policy)) => Some(TaskSource::Policy { policy: Box::new(library::policy(&policy)?), held_out }),
        (None, None) => None,
    })
}

/// A bar with a message behind it.
pub fn bar(length: usize) -> Result<ProgressBar, Failure> {
    let style =
        ProgressStyle::with_template("{bar:24} {pos}/{len}  {msg}").map_err(|e| Error::BadInput(e.to_string()))?;
    Ok(ProgressBar::new(length as u64).with_style(style))
}

/// What a step found: `line` beside the bar, and in lasting lines what held-out rows say, if it looked at them, or, where
/// nobody sees a bar, the line itself.
pub fn show(bar: &ProgressBar, (step, of): (usize, usize), line: String, seen: Option<String>) {
    bar.set_length(of as u64);
    bar.set_position(step as u64);
    let lasting = match seen {
        Some(seen) => Some(format!("step {step:>5}  {line}\n            held out: {seen}")),
        None if bar.is_hidden() => Some(format!("step {step:>5}  {line}")),
        None => None,
    };
    bar.set_message(line);
    if let Some(lasting) = lasting {
        // A closed terminal is no reason to stop a run of hours: the metrics are in a file.
        bar.suspend(|| drop(writeln!(anstream::stderr(), "{lasting}")));
    }
}

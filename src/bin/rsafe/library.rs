//! How arguments name the library's things: a model by folder, a policy by file or by built-in name.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use pollster::block_on;
use rsafe::Policy;
use rsafe::bundle::Bundle;
use rsafe::eval::Score;
use rsafe::guard::{Guard, LoadOptions, Reasoning, Steps};
use rsafe::train::reward::Rewards;
use serde_json::Value;

/// The model and the policy, as every command that judges takes them.
#[derive(clap::Args)]
pub struct GuardArgs {
    /// A bundle's folder, made by `rsafe convert` [default: the embedded model]
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// A policy file (YAML, JSON, Markdown) or the name of a built-in policy [default: the model's own]
    #[arg(long, value_name = "FILE|NAME")]
    policy: Option<String>,
    /// When to reason before the verdict: `auto` scores first and reasons where the score leaves doubt
    #[arg(long, value_enum, default_value_t = ReasoningArg::Auto)]
    reasoning: ReasoningArg,
    /// Who decides what a reasoning step of rsafe-mini says: the category's score, or the model as it writes
    #[arg(long, value_enum, default_value_t = StepsArg::Scored)]
    steps: StepsArg,
    /// How readily texts are flagged, from 0 (least) to 1 (most), along what was measured of the model; 0.5 is the
    /// model's own balance. Thresholds that the policy sets stay
    #[arg(long, value_name = "0..1", default_value_t = 0.5, value_parser = unit)]
    strictness: f32,
    /// Load a bundle that has no self-test: nothing then tells whether its model is whole
    #[arg(long)]
    allow_untested: bool,
}

/// A number in [0, 1].
pub fn unit(text: &str) -> Result<f32, String> {
    match text.parse() {
        Ok(number) if (0.0..=1.0).contains(&number) => Ok(number),
        _ => Err("expected a number in [0, 1]".into()),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ReasoningArg {
    Never,
    Auto,
    Always,
}

impl From<ReasoningArg> for Reasoning {
    fn from(arg: ReasoningArg) -> Self {
        match arg {
            ReasoningArg::Never => Reasoning::Never,
            ReasoningArg::Auto => Reasoning::Auto,
            ReasoningArg::Always => Reasoning::Always,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum StepsArg {
    Scored,
    Written,
}

impl From<StepsArg> for Steps {
    fn from(arg: StepsArg) -> Self {
        match arg {
            StepsArg::Scored => Steps::Scored,
            StepsArg::Written => Steps::Written,
        }
    }
}

/// As few digits as tell it from its neighbours: 0.8, where the nearest 64-bit number would be 0.800000011920929.
pub fn number(value: f32) -> Value {
    value.to_string().parse::<f64>().ok().into()
}

/// A guard and how it is to be asked.
pub struct Loaded {
    pub guard: Guard,
    pub policy: Option<Policy>,
    pub reasoning: Reasoning,
}

impl GuardArgs {
    /// Reads the policy, then the model: the policy is the one that people mistype.
    pub fn load(&self) -> rsafe::Result<Loaded> {
        let policy = self.policy.as_deref().map(policy).transpose()?;
        let bundle = match &self.model {
            Some(folder) => Bundle::open(folder)?,
            None => embedded()?,
        };
        let (steps, strictness) = (self.steps.into(), self.strictness);
        let options = LoadOptions::default().steps(steps).strictness(strictness).allow_untested(self.allow_untested);
        let guard = block_on(Guard::load(bundle, options))?;
        Ok(Loaded { guard, policy, reasoning: self.reasoning.into() })
    }

    /// The files and folders that [`load`](Self::load) reads.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        self.model.as_deref().into_iter().chain(self.policy.as_deref().map(Path::new))
    }

    /// What was asked for, for reports.
    pub fn settings(&self) -> Vec<(&'static str, Value)> {
        let model = self.model.as_ref().map_or("embedded".into(), |folder| folder.display().to_string());
        let policy = self.policy.clone().unwrap_or_else(|| "default".into());
        let name = |value: Option<clap::builder::PossibleValue>| value.map(|value| value.get_name().to_owned());
        vec![
            ("model", model.into()),
            ("policy", policy.into()),
            ("reasoning", name(self.reasoning.to_possible_value()).into()),
            ("steps", name(self.steps.to_possible_value()).into()),
            ("strictness", number(self.strictness)),
        ]
    }

    /// What else must be asked for so that every verdict has such a score.
    pub fn lacks(&self, score: Score) -> Option<&'static str> {
        match score {
            Score::Reasoned if self.reasoning != ReasoningArg::Always => {
                Some("`--score reasoned` needs reasoning on every row: add `--reasoning always`")
            }
            Score::Answer if self.steps != StepsArg::Written => {
                Some("`--score answer` needs a verdict that the model writes: add `--steps written`")
            }
            _ => None,
        }
    }
}

#[cfg(feature = "embedded")]
pub fn embedded() -> rsafe::Result<Bundle> {
    Bundle::embedded()
}

#[cfg(not(feature = "embedded"))]
pub fn embedded() -> rsafe::Result<Bundle> {
    Err(rsafe::Error::Unsupported("this build has no embedded model; name one with --model DIR".into()))
}

/// A built-in policy by its name, else a file. Built-in names win, so that a stray file cannot stand in for
/// one; `./name` is always the file.
pub fn policy(name: &str) -> rsafe::Result<Policy> {
    let is_path = name.contains(['/', '\\', '.']);
    if Policy::builtin_names().contains(&name) || !(is_path || Path::new(name).exists()) {
        return Ok(Policy::builtin(name)?);
    }
    Policy::load(name)
}

/// A built-in set of rewards by its name, else a file; as for [`policy`], `./name` is always the file.
pub fn rewards(name: &str) -> rsafe::Result<Rewards> {
    let is_path = name.contains(['/', '\\', '.']);
    if Rewards::BUILTIN.contains(&name) || !(is_path || Path::new(name).exists()) {
        return Rewards::builtin(name);
    }
    Rewards::load(name)
}

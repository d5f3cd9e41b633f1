//! How arguments name the library's things: a model by folder, a policy by file or by built-in name, a choice by the word
//! that serde writes it with, so that arguments, files and reports spell it alike.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use pollster::block_on;
use rsafe::Policy;
use rsafe::bundle::Bundle;
use rsafe::eval::Score;
use rsafe::guard::{Guard, LoadOptions, Reasoning, Steps};
use rsafe::train::reward::Rewards;
use serde::Serialize;
use serde_json::{Value, json};

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
    #[arg(long, value_parser = one_of(&[Reasoning::Never, Reasoning::Auto, Reasoning::Always]), default_value = "auto")]
    reasoning: Reasoning,
    /// Who decides what a reasoning step of rsafe-mini says: the category's score, or the model as it writes
    #[arg(long, value_parser = one_of(STEPS), default_value = "scored")]
    steps: Steps,
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

/// Every way to choose what a reasoning step says.
pub const STEPS: &[Steps] = &[Steps::Scored, Steps::Written];

/// Takes one of `values` by its word.
pub fn one_of<T: Serialize + Copy + Send + Sync + 'static>(values: &'static [T]) -> impl TypedValueParser<Value = T> {
    one_of_explained(values, |_| None)
}

/// [`one_of`], with a line of help for some of them.
pub fn one_of_explained<T: Serialize + Copy + Send + Sync + 'static>(
    values: &'static [T],
    help: fn(T) -> Option<&'static str>,
) -> impl TypedValueParser<Value = T> {
    let words = values.iter().map(|value| PossibleValue::new(Word(*value).to_string()).help(help(*value)));
    PossibleValuesParser::new(words).try_map(|given| {
        values.iter().copied().find(|value| Word(*value).to_string() == given).ok_or("expected a word that is listed")
    })
}

/// Shows a value as serde writes it.
struct Word<T>(T);

impl<T: Serialize> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
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
        self.load_with(|options| options)
    }

    /// [`load`](Self::load) with options that the arguments do not have.
    pub fn load_with(&self, more: impl Fn(LoadOptions) -> LoadOptions) -> rsafe::Result<Loaded> {
        let policy = self.policy.as_deref().map(policy).transpose()?;
        let bundle = match &self.model {
            Some(folder) => Bundle::open(folder)?,
            None => embedded()?,
        };
        let options = LoadOptions::default().steps(self.steps).strictness(self.strictness);
        let guard = block_on(Guard::load(bundle, more(options.allow_untested(self.allow_untested))))?;
        Ok(Loaded { guard, policy, reasoning: self.reasoning })
    }

    /// The files and folders that [`load`](Self::load) reads.
    pub fn inputs(&self) -> impl Iterator<Item = &Path> {
        self.model.as_deref().into_iter().chain(self.policy.as_deref().map(Path::new))
    }

    /// What was asked for, for reports.
    pub fn settings(&self) -> Vec<(&'static str, Value)> {
        let model = self.model.as_ref().map_or("embedded".into(), |folder| folder.display().to_string());
        let policy = self.policy.clone().unwrap_or_else(|| "default".into());
        vec![
            ("model", model.into()),
            ("policy", policy.into()),
            ("reasoning", json!(self.reasoning)),
            ("steps", json!(self.steps)),
            ("strictness", number(self.strictness)),
        ]
    }

    /// What else must be asked for so that every verdict has such a score.
    pub fn lacks(&self, score: Score) -> Option<&'static str> {
        match score {
            Score::Reasoned if self.reasoning != Reasoning::Always => {
                Some("`--score reasoned` needs reasoning on every row: add `--reasoning always`")
            }
            Score::Answer if self.steps != Steps::Written => {
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

/// A built-in policy by its name, else a file.
pub fn policy(name: &str) -> rsafe::Result<Policy> {
    if is_builtin(name, &Policy::builtin_names()) { Ok(Policy::builtin(name)?) } else { Policy::load(name) }
}

/// A built-in set of rewards by its name, else a file.
pub fn rewards(name: &str) -> rsafe::Result<Rewards> {
    if is_builtin(name, &Rewards::BUILTIN) { Rewards::builtin(name) } else { Rewards::load(name) }
}

/// Built-in names win, so that a stray file cannot stand in for one; `./name` is always the file. What is neither is taken
/// for a mistyped name.
fn is_builtin(name: &str, known: &[&str]) -> bool {
    let is_path = name.contains(['/', '\\', '.']);
    known.contains(&name) || !(is_path || Path::new(name).exists())
}

#[cfg(test)]
mod tests {
    use clap::{Arg, Command};

    use super::*;

    #[test]
    fn a_choice_takes_the_words_of_serde_and_no_other() {
        let command = Command::new("rsafe").arg(Arg::new("steps").value_parser(one_of(&[Steps::Written])));
        let read = |word| command.clone().try_get_matches_from(["rsafe", word]);
        assert_eq!(read("written").unwrap().get_one("steps"), Some(&Steps::Written));
        for wrong in ["scored", "Written"] {
            assert!(read(wrong).unwrap_err().to_string().contains("possible values: written"), "{wrong}");
        }
    }
}

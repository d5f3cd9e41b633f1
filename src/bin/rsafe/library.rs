//! How arguments name the library's things: a model by folder, a policy by file or by built-in name.

use std::path::{Path, PathBuf};

use pollster::block_on;
use rsafe::bundle::Bundle;
use rsafe::guard::{Guard, LoadOptions, Reasoning};
use rsafe::train::reward::Rewards;
use rsafe::{Policy, Result};

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

/// A guard and how it is to be asked.
pub struct Loaded {
    pub guard: Guard,
    pub policy: Option<Policy>,
    pub reasoning: Reasoning,
}

impl GuardArgs {
    /// Reads the policy, then the model: the policy is the one that people mistype.
    pub fn load(&self) -> Result<Loaded> {
        let policy = self.policy.as_deref().map(policy).transpose()?;
        let bundle = match &self.model {
            Some(folder) => Bundle::open(folder)?,
            None => embedded()?,
        };
        let guard = block_on(Guard::load(bundle, LoadOptions::default()))?;
        Ok(Loaded { guard, policy, reasoning: self.reasoning.into() })
    }

    /// The model's and the policy's names, for reports.
    pub fn names(&self) -> (String, String) {
        let model = self.model.as_ref().map_or("embedded".into(), |folder| folder.display().to_string());
        (model, self.policy.clone().unwrap_or_else(|| "default".into()))
    }

    pub fn reasoning_name(&self) -> &'static str {
        match self.reasoning {
            ReasoningArg::Never => "never",
            ReasoningArg::Auto => "auto",
            ReasoningArg::Always => "always",
        }
    }
}

#[cfg(feature = "embedded")]
fn embedded() -> Result<Bundle> {
    Bundle::embedded()
}

#[cfg(not(feature = "embedded"))]
fn embedded() -> Result<Bundle> {
    Err(Error::Unsupported("this build has no embedded model; name one with --model DIR".into()))
}

/// A built-in policy by its name, else a file. Built-in names win, so that a stray file cannot stand in for
/// one; `./name` is always the file.
pub fn policy(name: &str) -> Result<Policy> {
    let is_path = name.contains(['/', '\\', '.']);
    if Policy::builtin_names().contains(&name) || !(is_path || Path::new(name).exists()) {
        return Ok(Policy::builtin(name)?);
    }
    Policy::load(name)
}

/// A built-in set of rewards by its name, else a file; as for [`policy`], `./name` is always the file.
pub fn rewards(name: &str) -> Result<Rewards> {
    let is_path = name.contains(['/', '\\', '.']);
    if Rewards::BUILTIN.contains(&name) || !(is_path || Path::new(name).exists()) {
        return Rewards::builtin(name);
    }
    Rewards::load(name)
}

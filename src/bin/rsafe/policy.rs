//! `rsafe policy`: what a policy says, and what is wrong with it or with how a model reads it.

use std::io::Write;
use std::path::PathBuf;

use pollster::block_on;
use rsafe::bundle::Bundle;
use rsafe::guard::{Guard, LoadOptions};
use rsafe::policy::{self, Location, Severity};

use crate::outcome::{Failure, Outcome};
use crate::{library, output};

#[derive(clap::Subcommand)]
pub enum PolicyCommand {
    /// Name every mistake in policy files. Exit codes: 0 clean, 1 warnings only, 2 errors
    Lint {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Read them with a model, too, and warn of what it reads otherwise than it is meant: the embedded model, or that of
        /// a bundle's folder
        #[arg(long, value_name = "DIR", num_args = 0..=1, require_equals = true)]
        model: Option<Option<PathBuf>>,
    },
    /// Print a policy as rsafe understands it
    Show {
        /// A policy file or the name of a built-in policy
        #[arg(value_name = "FILE|NAME")]
        policy: String,
        #[arg(long, value_enum, default_value_t = Format::Yaml)]
        format: Format,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    Yaml,
    Json,
}

pub fn run(command: PolicyCommand) -> Result<Outcome, Failure> {
    let mut out = anstream::stdout().lock();
    match command {
        PolicyCommand::Lint { files, model } => {
            let read = |file: PathBuf| policy::lint_file(&file).map(|(policy, findings)| (file, policy, findings));
            let mut linted = files.into_iter().map(read).collect::<rsafe::Result<Vec<_>>>()?;
            // Only now: files are what people mistype.
            if let Some(folder) = model {
                let bundle = folder.map_or_else(library::embedded, Bundle::open)?;
                let guard = block_on(Guard::load(bundle, LoadOptions::default()))?;
                for (_, policy, findings) in &mut linted {
                    if let Some(policy) = policy {
                        findings.extend(block_on(guard.lint(policy))?);
                    }
                }
            }
            let (mut errors, mut warnings) = (0, 0);
            for (file, _, findings) in linted {
                let name = file.display().to_string();
                for mut finding in findings {
                    let (severity, count) = match finding.severity {
                        Severity::Error => ("error", &mut errors),
                        Severity::Warning => ("warning", &mut warnings),
                    };
                    *count += 1;
                    let place = match finding.location {
                        Some(Location { line, column: Some(column) }) => format!("{name}:{line}:{column}"),
                        Some(Location { line, column: None }) => format!("{name}:{line}"),
                        None => name.clone(),
                    };
                    finding.location = None;
                    writeln!(out, "{place}: {severity}: {}", output::printable(&finding.to_string()))?;
                }
            }
            Ok(match (errors, warnings) {
                (0, 0) => Outcome::Clean,
                (0, _) => Outcome::Flagged,
                _ => Outcome::Incomplete,
            })
        }
        PolicyCommand::Show { policy, format } => {
            let policy = library::policy(&policy)?;
            let text = match format {
                Format::Yaml => policy.to_yaml(),
                Format::Json => policy.to_json(),
            };
            writeln!(out, "{}", text.trim_end())?;
            Ok(Outcome::Clean)
        }
    }
}

//! `rsafe policy`: what a policy says and what is wrong with it, without a model.

use std::io::Write;
use std::path::PathBuf;

use rsafe::policy::{self, Finding, Location, Severity};

use crate::{Failure, Outcome, library, output};

#[derive(clap::Subcommand)]
pub enum PolicyCommand {
    /// Name every mistake in policy files. Exit codes: 0 clean, 1 warnings only, 2 errors
    Lint {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
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
        PolicyCommand::Lint { files } => {
            let (mut errors, mut warnings) = (0, 0);
            for file in files {
                let name = file.display().to_string();
                for finding in policy::lint_file(&file)? {
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
                    let what = Finding { location: None, ..finding };
                    writeln!(out, "{place}: {severity}: {}", output::printable(&what.to_string()))?;
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

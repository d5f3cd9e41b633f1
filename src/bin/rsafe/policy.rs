//! `rsafe policy`: what a policy says and what is wrong with it, without a model.

use std::io::Write;
use std::path::PathBuf;

use rsafe::Error;

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
                let text = std::fs::read_to_string(&file).map_err(Error::io(&file))?;
                let name = file.display().to_string();
                for finding in library::lint(&text, &name) {
                    let severity = if finding.is_error { "error" } else { "warning" };
                    let place = finding.line.map_or_else(|| name.clone(), |line| format!("{name}:{line}"));
                    writeln!(out, "{place}: {severity}: {}", output::printable(&finding.message))?;
                    *(if finding.is_error { &mut errors } else { &mut warnings }) += 1;
                }
            }
            Ok(match (errors, warnings) {
                (0, 0) => Outcome::Clean,
                (0, _) => Outcome::Flagged,
                _ => Outcome::Incomplete,
            })
        }
        PolicyCommand::Show { policy, format } => {
            let text = library::write_policy(&library::policy(&policy)?, format)?;
            writeln!(out, "{}", text.trim_end())?;
            Ok(Outcome::Clean)
        }
    }
}

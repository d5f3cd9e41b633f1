//! The command line: what can be asked, how errors are shown, what the exit code says. The work is the library's.

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use outcome::{Failure, Outcome};

mod check;
mod convert;
mod eval;
mod input;
mod judge;
mod library;
mod outcome;
mod output;
mod outputs;
mod policy;
mod probes;
mod progress;
mod rows;
mod self_test;
#[cfg(feature = "serve")]
mod serve;
mod stdout;
mod train;

// Weights and caches are large, short blocks come and go with each token: mimalloc gives both back quickly.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A safety guard that reads your policy, reasons over it, and runs where the chat runs.
#[derive(Parser)]
#[command(name = "rsafe", version, max_term_width = 110, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Judge a text, a conversation, or a stream of them.
    #[command(after_long_help = check::EXIT_CODES, after_help = check::EXIT_CODES)]
    Check(check::CheckArgs),
    /// Read policies: find mistakes, print them as rsafe understands them.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Judge over HTTP, as the worker at the edge does.
    #[cfg(feature = "serve")]
    #[command(after_long_help = serve::ENVIRONMENT, after_help = serve::ENVIRONMENT)]
    Serve(serve::ServeArgs),
    /// Turn a Hugging Face checkpoint into a bundle that rsafe loads.
    Convert(convert::ConvertArgs),
    /// Test whether a bundle's model gives the answers that it gave when it was made.
    SelfTest(self_test::SelfTestArgs),
    /// Measure a guard on labelled rows.
    Eval(eval::EvalArgs),
    /// Train a model of this project.
    #[command(subcommand)]
    Train(train::TrainCommand),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output; if nobody reads it there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    if stdout::was_closed() {
        output::error(
            "io",
            "standard output: expected an open file, found it closed; `>/dev/null` discards what is said",
        );
        return ExitCode::from(2);
    }
    let result = match cli.command {
        Command::Check(args) => check::run(args),
        Command::Policy(command) => policy::run(command),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(args),
        Command::Convert(args) => convert::run(args),
        Command::SelfTest(args) => self_test::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Train(command) => train::run(command),
    };
    match result {
        Ok(outcome) => outcome.into(),
        // The reader went away (`| head`): no message, but never the code of a finished, clean run.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::from(2),
        Err(Failure::Output(error)) => {
            output::error("io", &format!("standard output: {error}"));
            ExitCode::from(2)
        }
        Err(Failure::Library(error)) => {
            output::error(error.code(), &error.to_string());
            ExitCode::from(2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}

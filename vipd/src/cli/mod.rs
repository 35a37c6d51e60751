//! The command line: what each subcommand asks, says and exits with.

mod args;
mod check;
mod counters;
mod filter;
mod logging;
mod output;
mod prometheus;
mod run;
mod stats;
mod status;
mod table;

#[cfg(test)]
mod tests;

use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use crate::config::ConfigError;
use args::{Cli, Command};
use output::OutputError;

/// The whole program: 0 when all is well, 1 after an error, 2 for a command line that cannot be understood.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(args) => run::run(&args, &cli.runtime_dir),
        Command::Check(args) => check::run(&args),
        Command::Stats(args) => stats::run(&args, &cli.runtime_dir),
        Command::Status(args) => status::run(&args, &cli.runtime_dir),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // `vipd stats --watch 1 | head -1` has what it wanted.
        Err(error) if error.downcast_ref::<OutputError>().is_some_and(OutputError::reader_left) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            // Where stderr is gone too, the exit code is all there is left to say.
            let _ = report(&error, &mut io::stderr().lock());
            ExitCode::FAILURE
        }
    }
}

/// One `vipd: …` line; the problems of a configuration before it, in the form that editors jump to.
fn report(error: &anyhow::Error, stderr: &mut impl io::Write) -> io::Result<()> {
    let Some(ConfigError::Problems(problems)) = error.downcast_ref() else {
        return writeln!(stderr, "vipd: {error:#}");
    };
    let count = problems.list().len();
    let plural = if count == 1 { "" } else { "s" };
    writeln!(stderr, "{problems}\nvipd: {}: {count} problem{plural}", problems.file())
}

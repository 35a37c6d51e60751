//! Command line: subcommands, output and exit codes.

mod args;
mod change;
mod check;
mod cleanup;
mod details;
mod events;
mod filter;
mod import;
mod logging;
mod output;
mod prometheus;
mod run;
mod stats;
mod status;
mod succeed;
mod table;

#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::thread;

use clap::Parser as _;

use crate::config::ConfigError;
use crate::control::client::ClientError;
use crate::control::protocol::Request;
use crate::guardian;
use crate::handover;
use crate::process::exec;
use args::{Cli, Command, Instances, Masters, NewPriority, PriorityArgs, UpgradeArgs};
use output::OutputError;

/// Runs the program. Exit codes: 0 success, 1 error, 2 invalid command line.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some((_, rest)) = arguments.split_first().filter(|(verb, _)| *verb == exec::VERB) {
        return exec::main(rest);
    }
    if let Some((_, rest)) = arguments.split_first().filter(|(verb, _)| *verb == guardian::VERB) {
        return guardian::main(rest, logging::init);
    }
    if arguments == [handover::VERB] {
        return succeed::main();
    }
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run(args) => run::run(&args, &cli.runtime_dir),
        Command::Check(args) => check::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Cleanup => cleanup::run(&cli.runtime_dir),
        Command::Events(args) => events::run(&args, &cli.runtime_dir),
        Command::Stats(args) => stats::run(&args, &cli.runtime_dir),
        Command::Status(args) => status::run(&args, &cli.runtime_dir),
        Command::Reload => change::run(&Request::Reload, &cli.runtime_dir),
        Command::Upgrade(UpgradeArgs { exe }) => change::upgrade(exe, &cli.runtime_dir),
        Command::Drain(Instances { instances }) => {
            change::run(&Request::Drain { instances }, &cli.runtime_dir)
        }
        Command::Undrain(Instances { instances }) => {
            change::run(&Request::Undrain { instances }, &cli.runtime_dir)
        }
        Command::Failover(Masters { instances }) => {
            change::run(&Request::Failover { instances }, &cli.runtime_dir)
        }
        Command::Priority(PriorityArgs { instance, priority: NewPriority(priority) }) => {
            change::run(&Request::Priority { instance, priority }, &cli.runtime_dir)
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader has closed the pipe, as in `vipd stats --watch 1 | head -1`.
        Err(error) if error.downcast_ref::<OutputError>().is_some_and(OutputError::is_closed_pipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            report_without_blocking(&error);
            ExitCode::FAILURE
        }
    }
}

/// Writes the error to stderr, but waits at most [`logging::FLUSH_TIMEOUT`], so that a full pipe
/// cannot delay the exit further.
fn report_without_blocking(error: &anyhow::Error) {
    if logging::is_blocked() {
        return;
    }
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = report(error, &mut text);
    let (done, written) = sync_channel(1);
    let write = move || {
        // If stderr fails, only the exit code reports the error.
        let _ = io::stderr().lock().write_all(&text);
        let _ = done.try_send(());
    };
    match thread::Builder::new().spawn(write) {
        Ok(_) => drop(written.recv_timeout(logging::FLUSH_TIMEOUT)),
        Err(_) => drop(report(error, &mut io::stderr().lock())),
    }
}

/// Prints the error as one `vipd: …` line. For a configuration error, here or in the agent, the
/// problems come first, in the format that editors recognize.
fn report(error: &anyhow::Error, stderr: &mut impl io::Write) -> io::Result<()> {
    if let Some(ConfigError::Problems(problems)) = error.downcast_ref() {
        return writeln!(stderr, "{problems}\nvipd: {}", problems.summary());
    }
    if let Some(ClientError::Agent(refusal)) = error.downcast_ref()
        && let Some((problems, summary)) = refusal.rsplit_once('\n')
    {
        return writeln!(stderr, "{problems}\nvipd: {summary}");
    }
    writeln!(stderr, "vipd: {error:#}")
}

//! Command line: subcommands, output and exit codes.

mod args;
mod before_stop;
mod capture;
mod change;
mod check;
mod cleanup;
mod details;
mod doctor;
mod events;
mod failover;
mod filter;
mod import;
mod logging;
mod output;
mod problems;
mod run;
mod scan;
mod snippet;
mod stats;
mod status;
mod succeed;
mod table;
mod terminal;
mod top;
mod wrap;

#[cfg(test)]
mod manual;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::thread;

use clap::Parser as _;

use crate::color;
use crate::config::ConfigError;
use crate::control::client::ClientError;
use crate::control::protocol::Request;
use crate::guardian;
use crate::handover;
use crate::process::exec;
use args::{Cli, Command, Instances, Masters, NewPriority, PriorityArgs, UpgradeArgs};
use output::OutputError;
use problems::{Renderer, Severity};

/// Exit code for an invalid command line.
const INVALID: u8 = 2;

/// Runs the program. Exit codes: 0 success, 1 failure, 2 invalid command line.
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if let Some((_, rest)) = arguments.split_first().filter(|(verb, _)| *verb == exec::VERB) {
        return exec::main(rest);
    }
    if let Some((_, rest)) = arguments.split_first().filter(|(verb, _)| *verb == guardian::VERB) {
        return guardian::main(rest, logging::init);
    }
    if let Some((_, rest)) = arguments.split_first().filter(|(verb, _)| *verb == before_stop::VERB) {
        return before_stop::main(rest);
    }
    if arguments == [handover::VERB] {
        return succeed::main();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // An invalid command line, or a request for help or the version.
        Err(message) => {
            color::choose(args::color(&arguments));
            // If the stream fails, only the exit code reports the error.
            let _ = message.print();
            return if message.use_stderr() { ExitCode::from(INVALID) } else { ExitCode::SUCCESS };
        }
    };
    color::choose(cli.color);
    let result = match cli.command {
        Command::Doctor(args) => match doctor::run(&args, &cli.runtime_dir) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Scan(args) => scan::run(&args),
        Command::Capture(args) => capture::run(&args),
        Command::Run(args) => run::run(&args, &cli.runtime_dir),
        Command::Check(args) => check::run(&args),
        Command::Import(args) => import::run(&args),
        Command::Cleanup => cleanup::run(&cli.runtime_dir),
        Command::Events(args) => events::run(&args, &cli.runtime_dir),
        Command::Stats(args) => stats::run(&args, &cli.runtime_dir),
        Command::Status(args) => status::run(&args, &cli.runtime_dir),
        Command::Top => top::run(&cli.runtime_dir),
        Command::Reload => change::run(&Request::Reload, &cli.runtime_dir),
        Command::Upgrade(UpgradeArgs { exe }) => change::upgrade(exe, &cli.runtime_dir),
        Command::Drain(Instances { instances }) => {
            change::run(&Request::Drain { instances }, &cli.runtime_dir)
        }
        Command::Undrain(Instances { instances }) => {
            change::run(&Request::Undrain { instances }, &cli.runtime_dir)
        }
        Command::Failover(Masters { instances }) => failover::run(instances, &cli.runtime_dir),
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

/// Writes the error to stderr on another thread, and waits at most [`logging::FLUSH_TIMEOUT`], so
/// that a full pipe cannot delay the exit further. Does nothing if stderr is known to block. If the
/// thread cannot be started, writes the error on this thread and may block.
fn report_without_blocking(error: &anyhow::Error) {
    if logging::is_blocked() {
        return;
    }
    let text = color::adapt(report(error, terminal::width(&io::stderr())), &io::stderr());
    // If stderr fails, only the exit code reports the error.
    let write = |text: &str| drop(io::stderr().lock().write_all(text.as_bytes()));
    let (done, written) = sync_channel(1);
    let copy = text.clone();
    let started = thread::Builder::new().spawn(move || {
        write(&copy);
        let _ = done.try_send(());
    });
    match started {
        Ok(_) => drop(written.recv_timeout(logging::FLUSH_TIMEOUT)),
        Err(_) => write(&text),
    }
}

/// Renders the error as one `vipd: …` line. Problems in a configuration, whether found by this
/// process or by the agent, come before that line, in the format that editors recognize. If `width`
/// is given (the output is a terminal), an excerpt of the file follows each problem for which
/// [`problems`] can show one.
fn report(error: &anyhow::Error, width: Option<usize>) -> String {
    let mut renderer = Renderer::new(width);
    if let Some(ConfigError::Problems(problems)) = error.downcast_ref() {
        let main = problems.file();
        let each = problems.list().iter().map(|problem| renderer.problem(problem, main, Severity::Error));
        return format!("{}vipd: {}\n", each.collect::<String>(), problems.summary());
    }
    if let Some(ClientError::Agent(refusal)) = error.downcast_ref()
        && let Some((problems, summary)) = refusal.rsplit_once('\n')
    {
        let each = problems.lines().map(|line| renderer.line(line, Severity::Error));
        return format!("{}vipd: {summary}\n", each.collect::<String>());
    }
    format!("vipd: {error:#}\n")
}

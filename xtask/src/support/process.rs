//! Runs other programs. Errors contain the command line.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Prints a progress message to standard error. Standard output is reserved for results.
pub(crate) fn progress(verb: &str, message: impl std::fmt::Display) {
    eprintln!("[{verb}] {message}");
}

/// Returns a function that prints progress messages with the elapsed time.
pub(crate) fn clocked(verb: &'static str) -> impl FnMut(&str) {
    let start = Instant::now();
    move |message| progress(verb, format_args!("{:5.1} s  {message}", start.elapsed().as_secs_f64()))
}

/// Returns a command that does not inherit `LD_LIBRARY_PATH`, which `cargo run` sets for this
/// process.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    // The variable contains this toolchain's library path, which another toolchain's compiler would
    // search first.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Runs a command on the terminal and waits until it exits.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a command and returns its standard output. Standard error goes to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", line(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed invalid UTF-8", line(command)))
}

/// Runs a command silently and returns its standard output, or `None` if the program is missing or
/// fails.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Formats a command as a command line.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

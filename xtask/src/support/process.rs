//! Runs other programs; errors contain the command line.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// Prints a line of progress to standard error; standard output is for results.
pub(crate) fn say(verb: &str, message: impl std::fmt::Display) {
    eprintln!("[{verb}] {message}");
}

/// Returns a function that prints progress lines with the elapsed seconds.
pub(crate) fn clocked(verb: &'static str) -> impl FnMut(&str) {
    let start = Instant::now();
    move |message| say(verb, format_args!("{:5.1} s  {message}", start.elapsed().as_secs_f64()))
}

/// Returns a command without the environment that `cargo run` set for this process only.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    // This toolchain's library path, which a compiler of another toolchain would search first.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Runs a command that inherits the terminal, and waits for it.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", line(command));
    }
    Ok(())
}

/// Runs a command and returns its standard output; standard error goes to the terminal.
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

/// Runs a command silently and returns its standard output; `None` if it is missing or fails.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Returns the command line.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

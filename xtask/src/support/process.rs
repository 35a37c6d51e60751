//! Running other programs; errors contain the command line.

use std::ffi::OsStr;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// One line of progress on standard error; standard output is for answers.
pub(crate) fn say(verb: &str, message: impl std::fmt::Display) {
    eprintln!("[{verb}] {message}");
}

/// Progress lines with the seconds elapsed.
pub(crate) fn clocked(verb: &'static str) -> impl FnMut(&str) {
    let start = Instant::now();
    move |what| say(verb, format_args!("{:5.1} s  {what}", start.elapsed().as_secs_f64()))
}

/// A command without what `cargo run` put into the environment for this process alone.
pub(crate) fn program(name: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(name);
    // The library path of one toolchain, where a compiler of another one would look first.
    command.env_remove("LD_LIBRARY_PATH");
    command
}

/// Runs to the end with the terminal's input and output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", line(command));
    }
    Ok(())
}

/// Runs to the end and returns standard output; standard error goes to the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", line(command)))?;
    if !output.status.success() {
        bail!("{} failed: {}", line(command), output.status);
    }
    String::from_utf8(output.stdout).with_context(|| format!("{} printed no UTF-8", line(command)))
}

/// Runs to the end without output and returns standard output; `None` if the program is missing or fails.
pub(crate) fn ask(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command line.
pub(crate) fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

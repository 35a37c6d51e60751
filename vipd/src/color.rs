//! Decides whether output is colored. `--color` takes precedence. With `auto`, the decision depends
//! on the environment (`NO_COLOR`, `CLICOLOR_FORCE`, `CLICOLOR`, `TERM`, `CI`) and on whether the
//! stream is a terminal.

use std::process::Command;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};

/// Applies the value of `--color` to all output of the process, including clap's messages.
pub(crate) fn choose(choice: clap::ColorChoice) {
    let choice = match choice {
        clap::ColorChoice::Auto => ColorChoice::Auto,
        clap::ColorChoice::Always => ColorChoice::Always,
        clap::ColorChoice::Never => ColorChoice::Never,
    };
    choice.write_global();
}

/// Returns whether output to a stream is colored.
pub(crate) fn is_enabled(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Returns the text unchanged if output to the stream is colored, otherwise without escape
/// sequences.
pub(crate) fn adapt(text: String, stream: &impl RawStream) -> String {
    if is_enabled(stream) { text } else { anstream::adapter::strip_str(&text).to_string() }
}

/// Passes the choice to a vipd child process through its environment, because the child writes to
/// the same log.
pub(crate) fn pass_on(command: &mut Command) {
    match ColorChoice::global() {
        ColorChoice::Auto => {}
        ColorChoice::Always | ColorChoice::AlwaysAnsi => {
            command.env_remove("NO_COLOR").env("CLICOLOR_FORCE", "1");
        }
        ColorChoice::Never => {
            command.env("NO_COLOR", "1");
        }
    }
}

//! Standard output, whose reader may close it early.

use std::io::{self, Write as _};

/// Writing to standard output failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub(super) struct OutputError(io::Error);

impl OutputError {
    /// Returns whether the other end of the pipe was closed, as `head` does.
    pub(super) fn reader_left(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes text, without its colors where standard output is no terminal, and flushes it.
pub(super) fn print(text: &str) -> Result<(), OutputError> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(OutputError)
}

/// Clears the screen; for a terminal only. `NO_COLOR` does not apply.
pub(super) fn clear_screen() -> Result<(), OutputError> {
    io::stdout().lock().write_all(b"\x1b[H\x1b[J").map_err(OutputError)
}

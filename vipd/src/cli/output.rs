//! Standard output, which may be a pipe whose reader closes it early.

use std::io::{self, Write as _};

/// Writing to standard output failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub(super) struct OutputError(io::Error);

impl OutputError {
    /// Returns whether the reader has closed the pipe, as `head` does.
    pub(super) fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes text to standard output and flushes it. [`color`](crate::color) decides whether colors
/// are removed.
pub(super) fn print(text: &str) -> Result<(), OutputError> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(OutputError)
}

/// Writes bytes and flushes them.
pub(super) fn bytes(bytes: &[u8]) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(OutputError)
}

/// Clears the screen. Call this only if standard output is a terminal.
pub(super) fn clear_screen() -> Result<(), OutputError> {
    io::stdout().lock().write_all(b"\x1b[H\x1b[J").map_err(OutputError)
}

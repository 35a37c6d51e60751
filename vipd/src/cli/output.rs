//! Standard output, and the reader who has left.

use std::io::{self, Write as _};

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output: {0}")]
pub(super) struct OutputError(io::Error);

impl OutputError {
    /// Whether the other end of the pipe was closed, as `head` does when it has seen enough.
    pub(super) fn reader_left(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Writes text whose colours are left out where nobody would see them, at once and whole.
pub(super) fn print(text: &str) -> Result<(), OutputError> {
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(OutputError)
}

/// Goes to the top left and clears what is below; for a terminal only. `NO_COLOR` is about colours, not this.
pub(super) fn clear_screen() -> Result<(), OutputError> {
    io::stdout().lock().write_all(b"\x1b[H\x1b[J").map_err(OutputError)
}

//! Reads all output of a command and keeps its last line.

use std::io::{self, PipeReader, Read as _};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// Maximum length of the last line of output, in bytes. Longer lines are truncated.
const MAX_LINE: usize = 256;
/// After this many bytes of output, the agent pauses for [`PAUSE`] before it continues reading.
/// This slows down a command that floods its output.
const BURST: usize = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(10);

/// Reads until the end of the output.
pub(super) async fn read_all(output: &AsyncFd<PipeReader>, tail: &mut Tail) {
    let mut buffer = [0; 4096];
    let mut burst = 0;
    loop {
        let Ok(mut ready) = output.readable().await else { return };
        match ready.try_io(|output| output.get_ref().read(&mut buffer)) {
            Ok(Ok(0)) => return,
            Ok(Ok(length)) => {
                tail.push(&buffer[..length]);
                burst += length;
                if burst >= BURST {
                    burst = 0;
                    sleep(PAUSE).await;
                }
            }
            Ok(Err(error)) if error.kind() != io::ErrorKind::Interrupted => return,
            Ok(Err(_)) | Err(_) => {}
        }
    }
}

/// Reads the output that is already in the pipe, without waiting for more. Reads at most [`BURST`]
/// bytes, the default capacity of a pipe, because other processes may still be writing.
pub(super) fn read_available(mut output: &PipeReader, tail: &mut Tail) {
    let mut buffer = [0; 4096];
    for _ in 0..BURST / buffer.len() {
        match output.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => tail.push(&buffer[..length]),
        }
    }
}

/// The last nonblank line of a stream of bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail {
    /// Last complete line that is not blank.
    complete: Vec<u8>,
    /// Beginning of a line that is not complete yet.
    partial: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if matches!(byte, b'\n' | b'\r') {
                if !self.partial.trim_ascii().is_empty() {
                    std::mem::swap(&mut self.complete, &mut self.partial);
                }
                self.partial.clear();
            } else if self.partial.len() < MAX_LINE {
                self.partial.push(byte);
            }
        }
    }

    pub(super) fn into_line(self) -> String {
        let last = if self.partial.trim_ascii().is_empty() { self.complete } else { self.partial };
        let text = String::from_utf8_lossy(&last);
        text.trim().chars().map(|one| if one.is_control() { '\u{fffd}' } else { one }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_and_control_characters_replaced() {
        let line = |text: &[u8]| {
            let mut tail = Tail::default();
            text.chunks(7).for_each(|chunk| tail.push(chunk));
            tail.into_line()
        };
        assert_eq!(line(b""), "");
        assert_eq!(line(b"first\r\n\n \n"), "first");
        assert_eq!(line(b"first\nsecond"), "second");
        assert_eq!(line(b"\x1b[2Jx"), "\u{fffd}[2Jx");
        assert_eq!(line(&[b'x'; 1000]).len(), MAX_LINE);
    }
}

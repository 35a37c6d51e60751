//! Properties of the terminal.

use std::io::IsTerminal;
use std::os::fd::AsFd;

use rustix::termios::tcgetwinsize;

/// Assumed width in columns of a terminal that does not report its width.
const DEFAULT_WIDTH: usize = 80;

/// Returns the width of the terminal in columns; `None` if the stream is not a terminal.
pub(super) fn width(stream: &(impl AsFd + IsTerminal)) -> Option<usize> {
    let reported = || tcgetwinsize(stream).ok().map(|size| usize::from(size.ws_col));
    stream.is_terminal().then(|| reported().filter(|width| *width > 0).unwrap_or(DEFAULT_WIDTH))
}

//! Pseudoterminals for tests of programs that use a terminal.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// A pseudoterminal (pty(7)). Programs do not inherit its descriptors.
#[derive(Debug)]
pub struct Pty {
    /// The terminal emulator's end. Reading fails with `EIO` once all descriptors of the other end
    /// are closed.
    pub emulator: File,
    /// The programs' end.
    pub terminal: File,
}

impl Pty {
    /// Opens a pseudoterminal of this size in characters.
    ///
    /// # Errors
    /// Returns the error from the kernel.
    pub fn open(lines: u16, columns: u16) -> io::Result<Self> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let emulator = openpt(flags)?;
        unlockpt(&emulator)?;
        let terminal = ioctl_tiocgptpeer(&emulator, flags)?;
        resize(&terminal, lines, columns)?;
        Ok(Self { emulator: emulator.into(), terminal: terminal.into() })
    }
}

/// Changes the size of a terminal. The kernel then sends SIGWINCH to the terminal's programs.
///
/// # Errors
/// Returns the error from the kernel.
pub fn resize(terminal: impl AsFd, lines: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}

//! The terminal: raw mode and the alternate screen.

use std::io::{self, IsTerminal as _, stdout};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use ratatui::backend::{Backend as _, CrosstermBackend};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, enable_raw_mode};
use ratatui::layout::{Rect, Size};
use ratatui::{DefaultTerminal, Frame, Terminal, TerminalOptions, Viewport};

/// Whether the terminal must be restored. Leaving the alternate screen twice would move the cursor
/// back over the panic message.
static IS_OPEN: AtomicBool = AtomicBool::new(false);

/// The terminal in raw mode, on its alternate screen. Restored on drop, and when any thread panics,
/// so that the panic message appears on the main screen.
pub(super) struct Screen(DefaultTerminal);

impl Screen {
    /// Switches the terminal to raw mode and its alternate screen.
    ///
    /// # Errors
    /// Returns an error if standard input or standard output is not a terminal, or if the terminal
    /// does not accept the new settings.
    pub(super) fn open() -> anyhow::Result<Self> {
        if !(io::stdin().is_terminal() && stdout().is_terminal()) {
            bail!(
                "standard input and output of `vipd top` must be a terminal; use `ssh -t` to get one, or use \
                 `vipd status` or `vipd stats --watch 1`"
            );
        }
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            restore();
            hook(info);
        }));
        match set_up() {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                restore();
                Err(error).context("cannot set up the terminal")
            }
        }
    }

    /// Draws a frame, and sends the changed cells to the terminal.
    pub(super) fn draw(&mut self, render: impl FnOnce(&mut Frame<'_>)) -> anyhow::Result<()> {
        // If another thread has panicked, the program is about to end.
        if IS_OPEN.load(Ordering::Relaxed) {
            self.0.draw(render).context("cannot write to the terminal")?;
        }
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn set_up() -> io::Result<DefaultTerminal> {
    IS_OPEN.store(true, Ordering::Relaxed);
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen)?;
    let backend = CrosstermBackend::new(stdout());
    // The size of a serial console is unknown.
    let viewport = match backend.size()? {
        Size { width: 0, .. } | Size { height: 0, .. } => Viewport::Fixed(Rect::new(0, 0, 80, 24)),
        _ => Viewport::Fullscreen,
    };
    Terminal::with_options(backend, TerminalOptions { viewport })
}

/// Restores the terminal. The cursor becomes visible when ratatui's terminal is dropped.
fn restore() {
    if IS_OPEN.swap(false, Ordering::Relaxed) {
        // Fails if the terminal no longer exists.
        let _ = ratatui::try_restore();
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::Read as _;
    use std::os::fd::AsFd as _;
    use std::process::Command;

    use rustix::termios::{LocalModes, tcgetattr};
    use vipd_tests::pty::Pty;

    use super::*;

    /// Environment variable that makes the test panic; set in the child process.
    const VARIABLE: &str = "VIPD_TEST_PANIC_IN_TERMINAL";

    /// Runs this test again in a pseudoterminal, where it opens the screen and panics.
    #[test]
    fn panic_restores_the_terminal_before_its_message() {
        if env::var_os(VARIABLE).is_some() {
            let mut screen = Screen::open().expect("a terminal");
            screen.draw(|frame| frame.render_widget("drawn", frame.area())).expect("drawn");
            panic!("the message");
        }
        let Pty { mut emulator, terminal } = Pty::open(24, 80).expect("a pseudoterminal");
        let is_cooked = || {
            tcgetattr(terminal.as_fd())
                .expect("attributes")
                .local_modes
                .contains(LocalModes::ICANON | LocalModes::ECHO)
        };
        assert!(is_cooked());

        let name = "cli::top::screen::tests::panic_restores_the_terminal_before_its_message";
        // `setsid` makes the pseudoterminal the controlling terminal, from which crossterm reads
        // the size.
        let mut command = Command::new("setsid");
        command.arg("--ctty").arg(env::current_exe().expect("a path"));
        command.args(["--exact", name, "--nocapture"]).env(VARIABLE, "").env("TERM", "xterm");
        let open = || terminal.try_clone().expect("duplicated");
        let mut child = command.stdin(open()).stdout(open()).stderr(open()).spawn().expect("it starts");
        let mut output = Vec::new();
        // The test harness reports the failure after the panic.
        while !String::from_utf8_lossy(&output).contains("test result: FAILED") {
            let mut part = [0; 1024];
            let count = emulator.read(&mut part).expect("read");
            output.extend(&part[..count]);
        }
        assert!(!child.wait().expect("it ends").success());
        assert!(is_cooked());

        let output = String::from_utf8_lossy(&output);
        let at = |text: &str| output.find(text).unwrap_or_else(|| panic!("no {text:?} in {output:?}"));
        let order = ["\x1b[?1049h", "drawn", "\x1b[?1049l", "the message", "\x1b[?25h"].map(at);
        assert!(order.is_sorted(), "{output:?}");
        assert_eq!(output.matches("\x1b[?1049l").count(), 1, "{output:?}");
    }
}

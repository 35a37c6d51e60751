//! Logging of the agent, its successor and its guardian: lines with UTC timestamps, written to
//! stderr by a separate thread.
//!
//! If stderr blocks, only that thread blocks. Lines that do not fit in the thread's queue are
//! dropped.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::color;
use crate::process::capabilities::{ThreadKind, confine};

/// Capacity of the queue in lines: four for each of 4,080 virtual routers (255 VRIDs on each of 16
/// interfaces).
const LINES: usize = 16 << 10;
/// Time limit at exit for writing the remaining lines to stderr.
pub(super) const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);
/// Environment variable that sets the log level: `debug`, `vipd=trace`, …
const VARIABLE: &str = "VIPD_LOG";

/// Set if the log could not be flushed to stderr within [`FLUSH_TIMEOUT`].
static BLOCKED: AtomicBool = AtomicBool::new(false);

/// Returns whether stderr is known to block. If so, further output would only delay the exit.
pub(super) fn is_blocked() -> bool {
    BLOCKED.load(Ordering::Relaxed)
}

/// Messages to the writer thread.
enum Message {
    Line(Vec<u8>),
    /// Sent last; acknowledged once all earlier lines have been written.
    Flush(SyncSender<()>),
}

/// Flushes the log when dropped, waiting at most [`FLUSH_TIMEOUT`].
pub(super) struct Guard {
    queue: SyncSender<Message>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        let (written, flushed) = sync_channel(1);
        // A full queue means that stderr blocks.
        let flushed = self.queue.try_send(Message::Flush(written)).is_ok()
            && flushed.recv_timeout(FLUSH_TIMEOUT).is_ok();
        BLOCKED.store(!flushed, Ordering::Relaxed);
    }
}

/// Queues formatted lines for the writer thread. Never blocks.
struct Writer(SyncSender<Message>);

impl io::Write for Writer {
    /// Queues a line. Called once per line by the formatter.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // If the queue is full, the line is dropped.
        let _ = self.0.try_send(Message::Line(line.to_vec()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write_lines(messages: &Receiver<Message>) {
    while let Ok(message) = messages.recv() {
        match message {
            // There is nowhere to report that stderr failed.
            Message::Line(line) => drop(io::stderr().write_all(&line)),
            Message::Flush(written) => drop(written.try_send(())),
        }
    }
}

/// Sets up logging for the whole process, including panics and records of the `log` crate.
///
/// # Errors
/// Returns an error if `VIPD_LOG` is not a valid filter, if the thread cannot be started, or if
/// logging is already set up.
pub(super) fn init() -> anyhow::Result<Guard> {
    let found = std::env::var_os(VARIABLE).unwrap_or_default();
    let filter = found.to_str().and_then(filter).ok_or_else(|| {
        anyhow!(
            "{VARIABLE} is \"{}\"; it must be a level such as `debug`, or a filter such as `info,vipd=trace`",
            found.display()
        )
    })?;
    let (queue, messages) = sync_channel(LINES);
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            confine(ThreadKind::Log);
            write_lines(&messages);
        })
        .context("cannot start the log thread")?;
    let writer = queue.clone();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(move || Writer(writer.clone()))
        .with_ansi(color::is_enabled(&io::stderr()))
        .finish()
        .try_init()
        .context("logging is already initialized")?;
    // The default hook writes directly to stderr. If that write blocked, a panicking engine thread
    // would not end, and the control thread removes the VIPs only after the engine thread has
    // ended.
    std::panic::set_hook(Box::new(|panic| tracing::error!("panic: {panic}")));
    Ok(Guard { queue })
}

/// Parses a filter. Returns `None` if the filter is invalid or contains a bare word that is not a
/// level. `EnvFilter` would take such a word for a module name, and discard the log lines of all
/// other modules.
fn filter(text: &str) -> Option<EnvFilter> {
    let mut words = text.split(',').map(str::trim).filter(|word| !word.is_empty());
    let are_valid = words.all(|word| word.contains(['=', '[']) || word.parse::<LevelFilter>().is_ok());
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).parse(text).ok()?;
    are_valid.then_some(filter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_not_levels_are_rejected() {
        for valid in ["", "debug", "off", "info,vipd=trace", "warn,vipd::engine=debug"] {
            assert!(filter(valid).is_some(), "{valid}");
        }
        for invalid in ["verbose", "debug,loud", "=loud=", "vipd=loud"] {
            assert!(filter(invalid).is_none(), "{invalid}");
        }
    }

    #[test]
    fn a_full_queue_drops_lines_and_does_not_block() {
        let (queue, messages) = sync_channel(2);
        let mut writer = Writer(queue);
        for line in [b"one", b"two", b"six"] {
            assert_eq!(writer.write(line).expect("never fails"), 3);
        }
        drop(writer);
        let lines: Vec<_> = messages.iter().map(|message| matches!(message, Message::Line(_))).collect();
        assert_eq!(lines, [true, true]);
    }
}

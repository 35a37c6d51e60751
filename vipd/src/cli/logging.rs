//! Log lines of `vipd run`: UTC with microseconds, to stderr, by a thread that nobody waits for.

use std::io::{self, IsTerminal as _};

use anyhow::{Context as _, anyhow};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// Lines that may wait for stderr: four for each virtual router where there are as many as 16 interfaces can have. The queue takes
/// its memory at once, and tracing-appender's own number would be 5 MB.
const LINES: usize = 16 << 10;
/// Names the level: `debug`, `vipd=trace`, …
const VARIABLE: &str = "VIPD_LOG";
/// The netlink crates warn of every attribute that is newer than they are.
const QUIET: [&str; 2] = ["netlink_packet_route=error", "netlink_proto=error"];

/// Sets logging up for the whole process, the `log` crate's records included.
///
/// Lines are written as long as the guard lives; what stderr does not take fast enough is dropped.
///
/// # Errors
/// When `VIPD_LOG` cannot be understood.
pub(super) fn init() -> anyhow::Result<WorkerGuard> {
    let mut filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .with_env_var(VARIABLE)
        .from_env()
        .map_err(|_| {
            let found = std::env::var_os(VARIABLE).unwrap_or_default();
            anyhow!(
                "{VARIABLE} is \"{}\"; it must be a level such as `debug`, or e.g. `info,vipd=trace`",
                found.display()
            )
        })?;
    for directive in QUIET {
        filter = filter.add_directive(directive.parse()?);
    }
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(LINES).finish(io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_writer(writer)
        .with_ansi(
            io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        )
        .finish()
        .try_init()
        .context("logging is set up already")?;
    Ok(guard)
}

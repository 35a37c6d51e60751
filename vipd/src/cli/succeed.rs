//! `vipd succeed`: the process that a running agent starts for `vipd upgrade`. Not for users.

use std::io;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::net::SocketType;
use rustix::net::sockopt::socket_type;

use super::{INVALID, logging, report_without_blocking};
use crate::handover::{Channel, VERB};
use crate::process::Signals;
use crate::service;

/// Takes over from the agent at the other end of standard input, which is a socket.
pub(super) fn main() -> ExitCode {
    let input = io::stdin();
    if socket_type(&input) != Ok(SocketType::SEQPACKET) {
        eprintln!("`vipd {VERB}` is for internal use only; use `vipd upgrade`");
        return ExitCode::from(INVALID);
    }
    match input
        .as_fd()
        .try_clone_to_owned()
        .map_err(Into::into)
        .and_then(|end| run(&Channel::from_descriptor(end)))
    {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report_without_blocking(&error);
            ExitCode::FAILURE
        }
    }
}

/// Returns whether this process has taken over. If not, the agent continues.
fn run(channel: &Channel) -> anyhow::Result<bool> {
    // Must happen before the first thread starts.
    let signals = Signals::block().context("cannot open a file descriptor for signals")?;
    let _guard = logging::init()?;
    service::succeed(channel, signals)
}

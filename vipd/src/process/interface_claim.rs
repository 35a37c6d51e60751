//! An agent's claim to an interface, which prevents other agents in the network namespace from
//! serving it.
//!
//! The kernel does not prevent a second agent: an interface accepts several TC ingress programs,
//! and a TC ingress program in addition to an XDP program. If both agents ran the same virtual
//! router, the program that runs first would drop the router's adverts after reading them, and the
//! other agent would receive none. Finding the program of another agent would require CAP_SYS_ADMIN
//! (`BPF_PROG_GET_FD_BY_ID`), so each agent holds a name per interface instead.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use super::name_lock::{Holder, NameLock};

/// Maximum time to wait for this process's own previous claim to end. A released claim persists
/// until commands that were being started at the time have closed their inherited descriptors.
const OWN_CLAIM: Duration = Duration::from_millis(500);
/// Pause between attempts.
const RETRY: Duration = Duration::from_millis(1);
/// Prefix of the name; the interface index follows.
const PREFIX: &str = "vipd-interface ";

/// The reason why an interface cannot be claimed.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Another agent serves the interface.
    #[error(
        "another vipd{} already serves {interface}, and only one can; stop it, or use another interface",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Taken {
        /// Name of the interface.
        interface: String,
        /// Process ID of the agent, if it is visible in this PID namespace.
        pid: Option<u32>,
    },
    /// The socket could not be created.
    #[error("cannot claim {interface}: {cause}")]
    System {
        /// Name of the interface.
        interface: String,
        /// The error from the kernel.
        cause: io::Error,
    },
}

/// A claim to an interface. The claim is released when it is dropped or the process ends, unless a
/// successor has inherited it.
#[derive(Debug)]
pub struct InterfaceClaim(Option<NameLock>);

impl InterfaceClaim {
    /// Creates a claim from the descriptor of a predecessor's claim.
    pub fn inherit(descriptor: OwnedFd) -> Self {
        Self(Some(NameLock::inherit(descriptor)))
    }

    /// Returns the descriptor to pass to a successor; `None` if the claim does not exclude other
    /// agents.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.0.as_ref().map(NameLock::as_fd)
    }

    /// Records this process as the holder of an inherited claim: [`acquire`](Self::acquire) then
    /// recognizes the claim as its own, and error messages of other agents name this process.
    pub fn take_over(&self) {
        if let Some(lock) = &self.0 {
            lock.take_over();
        }
    }

    /// Claims the interface with this index in this thread's network namespace. `interface` is the
    /// name of the interface for error messages. May block for up to half a second.
    ///
    /// If a process that cannot be an agent holds the name of the claim, logs a warning and returns
    /// a claim that does not exclude other agents: otherwise, any local user could block the
    /// interface.
    ///
    /// # Errors
    /// Returns an error if another agent has claimed the interface, or if the socket cannot be
    /// created. If the holder cannot be determined, it is treated as an agent.
    pub fn acquire(ifindex: u32, interface: &str) -> Result<Self, ClaimError> {
        let name = name(ifindex);
        let until = Instant::now() + OWN_CLAIM;
        let cause = loop {
            match NameLock::acquire(&name) {
                Ok(lock) => return Ok(Self(Some(lock))),
                Err(cause) if cause.kind() != io::ErrorKind::AddrInUse => break cause,
                Err(cause) if Instant::now() >= until || !is_own(Holder::find(&name)) => break cause,
                Err(_) => thread::sleep(RETRY),
            }
        };
        if cause.kind() != io::ErrorKind::AddrInUse {
            return Err(ClaimError::System { interface: interface.to_owned(), cause });
        }
        match Holder::find(&name) {
            Some(holder) if !holder.is_trusted() => {
                let Holder { uid, pid } = holder;
                tracing::warn!(
                    interface,
                    uid,
                    pid,
                    "an unprivileged process holds the abstract unix socket \"{name}\"; serving the interface, but a \
                     second vipd would not be detected; stop that process"
                );
                Ok(Self(None))
            }
            holder => Err(ClaimError::Taken {
                interface: interface.to_owned(),
                pid: holder.and_then(|holder| holder.pid),
            }),
        }
    }
}

/// Returns whether the name is held by this process or has just been released. Also returns true if
/// the holder cannot be determined.
fn is_own(holder: Option<Holder>) -> bool {
    holder.is_none_or(|holder| holder.pid == Some(std::process::id()))
}

fn name(ifindex: u32) -> String {
    format!("{PREFIX}{ifindex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_claim_reports_the_interface_and_the_pid() {
        // No interface has this index, so no agent on this machine has claimed it.
        let ifindex = 0x7fff_0000 | (std::process::id() & 0xffff);
        let first = InterfaceClaim::acquire(ifindex, "eth1").expect("free");
        let refused = InterfaceClaim::acquire(ifindex, "eth1").expect_err("taken").to_string();
        let expected = format!("another vipd (pid {}) already serves eth1", std::process::id());
        assert!(refused.starts_with(&expected), "{refused}");
        drop(first);
        InterfaceClaim::acquire(ifindex, "eth1").expect("free again");
    }

    /// A command that is started while the interface is being closed and reopened holds a copy of
    /// the claim's descriptor.
    #[test]
    fn claim_waits_until_copies_of_the_former_claim_are_closed() {
        let ifindex = 0x7ffe_0000 | (std::process::id() & 0xffff);
        let first = InterfaceClaim::acquire(ifindex, "eth1").expect("free");
        let holder = thread::spawn(move || {
            thread::sleep(Duration::from_millis(50));
            drop(first);
        });
        InterfaceClaim::acquire(ifindex, "eth1").expect("free again");
        holder.join().expect("no panic");
    }
}

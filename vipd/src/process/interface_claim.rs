//! An agent's claim to an interface, which prevents other agents in the network namespace from
//! serving it.
//!
//! The kernel does not prevent a second agent: an interface has room for several TC ingress
//! programs, and for a TC ingress program in addition to an XDP program. The first program would
//! drop the adverts that the second agent waits for. Finding the program of another agent would
//! require CAP_SYS_ADMIN (`BPF_PROG_GET_FD_BY_ID`), so each agent holds a name per interface
//! instead.

use std::io;

use rustix::net::{AddressFamily, SocketType, netdevice, socket};

use super::name_lock::{Holder, NameLock};

/// Prefix of the name; the interface index follows.
const PREFIX: &str = "vipd-interface ";

/// Why an interface cannot be claimed.
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
    /// A process of an unprivileged user holds the name.
    #[error(
        "a process of user {uid}{} holds the lock for {interface} (the abstract unix socket \"{PREFIX}{ifindex}\"); \
         stop it",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    OtherUser {
        /// Name of the interface.
        interface: String,
        /// Index of the interface.
        ifindex: u32,
        /// User ID of the process.
        uid: u32,
        /// Process ID, if it is visible in this PID namespace.
        pid: Option<u32>,
    },
    /// The socket could not be created.
    #[error("cannot lock {interface}: {cause}")]
    System {
        /// Name of the interface.
        interface: String,
        /// The error from the kernel.
        cause: io::Error,
    },
}

/// The claim. Dropping it, or ending the process, releases it.
#[derive(Debug)]
pub struct InterfaceClaim(#[expect(dead_code, reason = "held until dropped")] NameLock);

impl InterfaceClaim {
    /// Claims the interface with this index in this thread's network namespace. `interface` is its name,
    /// for errors.
    ///
    /// # Errors
    /// Returns an error if another process has claimed the interface.
    pub fn acquire(ifindex: u32, interface: &str) -> Result<Self, ClaimError> {
        let name = name(ifindex);
        NameLock::acquire(&name).map(Self).map_err(|cause| {
            let interface = interface.to_owned();
            if cause.kind() != io::ErrorKind::AddrInUse {
                return ClaimError::System { interface, cause };
            }
            match Holder::find(&name) {
                Some(holder) if !holder.is_trusted() => {
                    ClaimError::OtherUser { interface, ifindex, uid: holder.uid, pid: holder.pid }
                }
                holder => ClaimError::Taken { interface, pid: holder.and_then(|holder| holder.pid) },
            }
        })
    }

    /// Returns whether an agent, this one included, has claimed the interface with this name in
    /// this thread's network namespace. Returns false if the interface does not exist.
    pub fn is_held(interface: &str) -> bool {
        let index = socket(AddressFamily::INET, SocketType::DGRAM, None)
            .and_then(|socket| netdevice::name_to_index(socket, interface));
        index.is_ok_and(is_held)
    }
}

fn is_held(ifindex: u32) -> bool {
    Holder::find(&name(ifindex)).is_some_and(Holder::is_trusted)
}

fn name(ifindex: u32) -> String {
    format!("{PREFIX}{ifindex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_claim_names_the_interface_and_the_process() {
        // Not the index of an interface, so that no agent on this machine has claimed it.
        let ifindex = 0x7fff_0000 | (std::process::id() & 0xffff);
        assert!(!is_held(ifindex));
        let first = InterfaceClaim::acquire(ifindex, "eth1").expect("free");
        assert!(is_held(ifindex));
        let refused = InterfaceClaim::acquire(ifindex, "eth1").expect_err("taken").to_string();
        let expected = format!("another vipd (pid {}) already serves eth1", std::process::id());
        assert!(refused.starts_with(&expected), "{refused}");
        drop(first);
        assert!(!is_held(ifindex));
    }
}

//! Reports XDP programs of other applications on interfaces where vipd uses TC ingress.
//!
//! An XDP program runs before vipd's TC program, and this order cannot be changed. If the XDP
//! program drops or redirects adverts, a backup becomes master, because it cannot distinguish lost
//! adverts from a failed master.

use std::collections::BTreeMap;

use crate::netlink::Requests;

/// The XDP programs found so far.
#[derive(Default)]
pub(super) struct ForeignXdp {
    /// The netlink socket, opened on first use.
    requests: Option<Requests>,
    /// ID of the program on each interface that has one, by interface index.
    found: BTreeMap<u32, u32>,
}

impl ForeignXdp {
    /// Logs a warning if the interface has an XDP program that the last call did not find.
    pub(super) fn check(&mut self, ifindex: u32, interface: &str) {
        let Some(program) = self.program(interface) else {
            self.found.remove(&ifindex);
            return;
        };
        if self.found.insert(ifindex, program) != Some(program) {
            tracing::warn!(
                interface,
                program,
                "another XDP program runs before vipd's BPF program; adverts that the XDP program \
                 drops or redirects do not reach vipd"
            );
        }
    }

    /// Forgets an interface that was closed.
    pub(super) fn forget(&mut self, ifindex: u32) {
        self.found.remove(&ifindex);
    }

    fn program(&mut self, interface: &str) -> Option<u32> {
        if self.requests.is_none() {
            self.requests = Requests::open().ok();
        }
        // If the query fails, the next check retries it.
        self.requests.as_mut()?.xdp_program(interface).ok().flatten()
    }
}

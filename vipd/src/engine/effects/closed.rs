//! VIPs of routers with `accept = false`, to which the BPF program drops packets.

use std::io;

use vipd_common::Timestamp;
use vipd_common::address::to_words;
use vipd_common::records::ClosedKey;

use super::Effects;
use crate::engine::command::{Report, Reports};
use crate::engine::id::RouterId;
use crate::engine::instance::Instance;
use crate::engine::links::Links;
use crate::vrrp::Family;
use crate::xdp::{Closed, MapError};

impl Effects {
    /// Makes the BPF program drop packets to a router's VIPs before they are added (Accept_Mode
    /// false). VIPs that cannot be added to the program's map are not added to an interface either,
    /// and are retried later.
    pub(super) fn close(
        &mut self,
        now: Timestamp,
        router: RouterId,
        instance: &mut Instance,
        links: &Links,
        reports: &mut Reports,
    ) {
        let result = close(&mut self.closed, instance, links);
        // If the router becomes master again while its VIPs are still being removed, they must stay
        // closed.
        self.reopen.retain(|(row, key)| *row != instance.row || !instance.closed.contains(key));
        let Err(error) = result else { return };
        instance.sent.address_errors += 1;
        let errno = error.raw_os_error().unwrap_or_default();
        let mut is_new = false;
        for (position, vip) in instance.addresses.iter().enumerate() {
            if !instance.may_add(vip.address) {
                is_new |= self.retries.refused((router, position), errno, false, now);
            }
        }
        if is_new {
            reports.send(Report::NotClosed { router, error });
        }
    }
}

/// Adds a router's VIPs to the BPF program's map of closed VIPs.
fn close(closed: &mut Closed, instance: &mut Instance, links: &Links) -> io::Result<()> {
    let ifindex = links.get(instance.link).and_then(|link| link.ifindex);
    let (Some(ifindex), false) = (ifindex, instance.settings.accept) else { return Ok(()) };
    let mut result = Ok(());
    for vip in &instance.addresses {
        let family = Family::of(vip.address).number();
        let key = ClosedKey { ifindex, family, zero: [0; 3], address: to_words(vip.address) };
        if instance.closed.contains(&key) {
            continue;
        }
        match closed.insert(key, instance.row) {
            Ok(()) => instance.closed.push(key),
            Err(MapError::SyscallError(error)) => result = Err(error.io_error),
            Err(error) => result = Err(io::Error::other(error)),
        }
    }
    result
}

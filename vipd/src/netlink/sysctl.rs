//! Sysctls of interfaces, `net.ipv4.conf.IF.*` and `net.ipv6.conf.IF.*`, for virtual MACs.
//!
//! `/proc/sys/net` is that of the network namespace of whoever opens a file.

use std::fmt;
use std::fs;
use std::io;

/// Sysctls of a parent that are changed, and to what.
///
/// `arp_ignore` 1: it answers ARP for its own addresses only, not for those of its macvlans with its own MAC.
/// `arp_announce` 2: it asks with its own address, not with a virtual one, which would tell its own MAC to who hears it.
const PARENT: [(&str, u32); 2] = [("arp_ignore", 1), ("arp_announce", 2)];
/// Sysctls of a macvlan for IPv4. `rp_filter` 2: the way back to a host may be by the parent.
const MACVLAN: [(&str, u32); 3] = [("arp_ignore", 1), ("arp_announce", 2), ("rp_filter", 2)];
/// Sysctls of a macvlan for IPv6. `addr_gen_mode` 1: no link-local address out of the MAC, which is the same on all
/// routers (RFC 9568 section 7.4).
const MACVLAN6: [(&str, u32); 4] =
    [("addr_gen_mode", 1), ("accept_ra", 0), ("accept_dad", 0), ("router_solicitations", 0)];

/// Sysctls of a parent as they were: `name=value`, with spaces between.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sysctls(Vec<(&'static str, u32)>);

impl Sysctls {
    /// As they are now.
    pub(super) fn of_parent(interface: &str) -> Self {
        let value = |name| fs::read_to_string(path(4, interface, name)).ok()?.trim().parse().ok();
        Self(PARENT.iter().filter_map(|(name, _)| Some((*name, value(name)?))).collect())
    }

    /// As they were written down; what is unknown is left out.
    pub(super) fn read(text: &str) -> Self {
        let one = |word: &str| {
            let (name, value) = word.split_once('=')?;
            let (name, _) = PARENT.iter().find(|(known, _)| *known == name)?;
            Some((*name, value.parse().ok()?))
        };
        Self(text.split_whitespace().filter_map(one).collect())
    }

    /// Sets them again. An interface that is gone needs none.
    pub(super) fn restore(&self, interface: &str) {
        for (name, value) in &self.0 {
            if let Err(error) = write(4, interface, name, *value)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(interface, sysctl = name, value, %error, "cannot restore a sysctl");
            }
        }
    }
}

impl fmt::Display for Sysctls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, (name, value)) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            write!(f, "{space}{name}={value}")?;
        }
        Ok(())
    }
}

/// Prepares a new macvlan, which is down.
pub(super) fn prepare(interface: &str, family: u8, parent: &str) -> io::Result<()> {
    // A router forwards what is sent to the virtual MAC (RFC 9568 section 6.4.3) as what is sent to its own.
    if let Ok(forwards) = fs::read_to_string(path(family, parent, "forwarding"))
        && let Ok(forwards) = forwards.trim().parse()
    {
        write(family, interface, "forwarding", forwards)?;
    }
    for (name, value) in MACVLAN {
        write(4, interface, name, value)?;
    }
    let ipv6: &[_] = if family == 6 { &MACVLAN6 } else { &[("disable_ipv6", 1)] };
    for (name, value) in ipv6 {
        match write(6, interface, name, *value) {
            // A kernel without IPv6 has nothing to be prepared.
            Err(error) if family == 4 && error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// Prepares the parent of a macvlan for IPv4.
pub(super) fn prepare_parent(interface: &str) -> io::Result<()> {
    PARENT.iter().try_for_each(|(name, value)| write(4, interface, name, *value))
}

fn path(family: u8, interface: &str, name: &str) -> String {
    format!("/proc/sys/net/ipv{family}/conf/{interface}/{name}")
}

fn write(family: u8, interface: &str, name: &str, value: u32) -> io::Result<()> {
    let path = path(family, interface, name);
    fs::write(&path, value.to_string())
        .map_err(|error| io::Error::new(error.kind(), format!("cannot write {value} to {path}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_again() {
        let sysctls = Sysctls(vec![("arp_ignore", 0), ("arp_announce", 1)]);
        assert_eq!(sysctls.to_string(), "arp_ignore=0 arp_announce=1");
        assert_eq!(Sysctls::read(&sysctls.to_string()), sysctls);
        assert_eq!(
            Sysctls::read("arp_ignore=x ../../x=1 arp_announce=2"),
            Sysctls(vec![("arp_announce", 2)])
        );
    }
}

//! Per-interface sysctls, `net.ipv4.conf.IF.*` and `net.ipv6.conf.IF.*`, mainly those that macvlans
//! need.
//!
//! `/proc/sys/net` shows the network namespace of the thread that opens a file. In containers,
//! `/proc/sys` is often read-only, so values are written only if they differ.

use std::fmt;
use std::fs;
use std::io;

/// Sysctls of a parent interface and their required values.
///
/// * `arp_ignore` 1 prevents the parent from answering ARP requests for the VIPs on its macvlans
///   with its own MAC.
/// * `arp_announce` 2 prevents the parent from sending ARP requests with a VIP as the source, which
///   would update the caches of other hosts with the parent's MAC.
const PARENT: [(&str, u32); 2] = [("arp_ignore", 1), ("arp_announce", 2)];
/// Sysctls of every macvlan. `rp_filter` is 2 (loose), because the route to a host may go through
/// the parent.
const MACVLAN: [(&str, u32); 3] = [("arp_ignore", 1), ("arp_announce", 2), ("rp_filter", 2)];
/// Additional sysctls of a macvlan for IPv6. `addr_gen_mode` 1 prevents the kernel from deriving a
/// link-local address from the virtual MAC, which all routers share (RFC 9568 section 7.4).
const MACVLAN6: [(&str, u32); 4] =
    [("addr_gen_mode", 1), ("accept_ra", 0), ("accept_dad", 0), ("router_solicitations", 0)];
/// Additional sysctls of a macvlan for IPv4.
const MACVLAN4: [(&str, u32); 1] = [("disable_ipv6", 1)];

/// A sysctl that has the wrong value and cannot be set.
#[derive(Debug)]
pub(super) struct SysctlError {
    family: u8,
    interface: String,
    name: &'static str,
    /// The current value, or `None` if it cannot be read.
    found: Option<u32>,
    wanted: u32,
    /// Whether the interface is a new macvlan. A new macvlan is deleted after this error, so the
    /// remedy is to change the default for new interfaces.
    is_new: bool,
    error: io::Error,
}

impl fmt::Display for SysctlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, interface, name, wanted, error, .. } = self;
        let scope = if self.is_new { "default" } else { interface };
        let found = self.found.map_or_else(|| "unreadable".to_owned(), |found| found.to_string());
        let (present, remedy) = (key(*family, interface, name), key(*family, scope, name));
        write!(
            f,
            "{present} is {found}, must be {wanted} and cannot be set: {error}; set {remedy} = {wanted} where \
             /proc/sys is writable"
        )
    }
}

impl From<SysctlError> for io::Error {
    fn from(error: SysctlError) -> Self {
        Self::new(error.error.kind(), error.to_string())
    }
}

/// The original sysctls of a parent. Formatted as `name=value` pairs, separated by spaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sysctls(Vec<(&'static str, u32)>);

impl Sysctls {
    /// Reads the current values.
    pub(super) fn of_parent(interface: &str) -> Self {
        Self(PARENT.iter().filter_map(|(name, _)| Some((*name, read(4, interface, name)?))).collect())
    }

    /// Parses the values in the alias of a macvlan. Unknown words are ignored.
    pub(super) fn parse(text: &str) -> Self {
        let one = |word: &str| {
            let (name, value) = word.split_once('=')?;
            let (name, _) = PARENT.iter().find(|(known, _)| *known == name)?;
            Some((*name, value.parse().ok()?))
        };
        Self(text.split_whitespace().filter_map(one).collect())
    }

    /// Restores the values that differ, if the interface still exists.
    pub(super) fn restore(&self, interface: &str) {
        for (name, value) in &self.0 {
            if let Err(error) = set(4, interface, name, *value)
                && error.error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(interface, %error, "cannot restore a sysctl of the interface to its original value");
            }
        }
    }
}

impl fmt::Display for Sysctls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{name}={value}")?;
        }
        Ok(())
    }
}

/// Sets the sysctls of a new macvlan before it is brought up.
///
/// # Errors
/// Returns an error if a sysctl has the wrong value and cannot be set.
pub(super) fn prepare(interface: &str, family: u8, parent: &str) -> Result<(), SysctlError> {
    let set = |family, name, value| {
        set(family, interface, name, value).map_err(|error| SysctlError { is_new: true, ..error })
    };
    // A master forwards packets sent to the virtual MAC (RFC 9568 section 6.4.3), so the macvlan
    // takes its parent's forwarding setting.
    if let Some(forwarding) = read(family, parent, "forwarding") {
        set(family, "forwarding", forwarding)?;
    }
    for (name, value) in MACVLAN {
        set(4, name, value)?;
    }
    for (name, value) in ipv6_of(family) {
        match set(6, name, *value) {
            // The interface has no IPv6: the kernel does not support it, or the MTU is below 1280.
            Err(error) if family == 4 && error.error.kind() == io::ErrorKind::NotFound => {}
            result => result?,
        }
    }
    Ok(())
}

/// Returns the sysctls in `net.ipv6.conf` of a macvlan for this IP version.
fn ipv6_of(family: u8) -> &'static [(&'static str, u32)] {
    if family == 6 { &MACVLAN6 } else { &MACVLAN4 }
}

/// Sets the sysctls of the parent of an IPv4 macvlan.
///
/// # Errors
/// See [`prepare`].
pub(super) fn prepare_parent(interface: &str) -> Result<(), SysctlError> {
    PARENT.iter().try_for_each(|(name, value)| set(4, interface, name, *value))
}

fn path(family: u8, interface: &str, name: &str) -> String {
    format!("/proc/sys/net/ipv{family}/conf/{interface}/{name}")
}

/// Returns the name of a sysctl as sysctl(8) writes it, with a slash for each dot in an interface
/// name.
pub(crate) fn key(family: u8, interface: &str, name: &str) -> String {
    format!("net.ipv{family}.conf.{}.{name}", interface.replace('.', "/"))
}

/// A sysctl that does not have the value that a virtual MAC needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Name, as sysctl(8) writes it.
    pub(crate) key: String,
    pub(crate) found: u32,
    pub(crate) wanted: u32,
}

/// Returns the sysctls of an agent's macvlan for this IP version that do not have the values set by
/// [`prepare`]. Those in [`MACVLAN`] are accepted if their effective value is at least as large.
/// Leaves out sysctls that cannot be read. `parent` is the name of the macvlan's parent.
pub(crate) fn changed(macvlan: &str, family: u8, parent: Option<&str>) -> Vec<Changed> {
    let ipv4 = MACVLAN.iter().filter_map(|(name, wanted)| too_low(macvlan, name, *wanted));
    let differing = |family, name, wanted| {
        let found = read(family, macvlan, name).filter(|found| *found != wanted)?;
        Some(Changed { key: key(family, macvlan, name), found, wanted })
    };
    let ipv6 = ipv6_of(family).iter().filter_map(|(name, wanted)| differing(6, *name, *wanted));
    let forwarding = parent.and_then(|parent| read(family, parent, "forwarding"));
    let forwarding = forwarding.and_then(|wanted| differing(family, "forwarding", wanted));
    ipv4.chain(ipv6).chain(forwarding).collect()
}

/// Returns the sysctls of the parent of an IPv4 macvlan that are too low.
pub(crate) fn changed_of_parent(parent: &str) -> Vec<Changed> {
    PARENT.iter().filter_map(|(name, wanted)| too_low(parent, name, *wanted)).collect()
}

/// Returns an IPv4 sysctl of an interface if its effective value is too low. The kernel uses the
/// larger of the interface's value and the value for `all`.
fn too_low(interface: &str, name: &str, wanted: u32) -> Option<Changed> {
    let found = read(4, interface, name)?;
    let effective = found.max(read(4, "all", name).unwrap_or_default());
    (effective < wanted).then(|| Changed { key: key(4, interface, name), found, wanted })
}

/// Returns the value of a sysctl of an interface, or of `all`; `None` if it cannot be read.
pub(crate) fn read(family: u8, interface: &str, name: &str) -> Option<u32> {
    fs::read_to_string(path(family, interface, name)).ok()?.trim().parse().ok()
}

/// Writes the value if the current value differs.
fn set(family: u8, interface: &str, name: &'static str, wanted: u32) -> Result<(), SysctlError> {
    let found = read(family, interface, name);
    if found == Some(wanted) {
        return Ok(());
    }
    fs::write(path(family, interface, name), wanted.to_string()).map_err(|error| SysctlError {
        family,
        interface: interface.to_owned(),
        name,
        found,
        wanted,
        is_new: false,
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formatted_sysctls_parse_to_the_same_values() {
        let sysctls = Sysctls(vec![("arp_ignore", 0), ("arp_announce", 1)]);
        assert_eq!(sysctls.to_string(), "arp_ignore=0 arp_announce=1");
        assert_eq!(Sysctls::parse(&sysctls.to_string()), sysctls);
        assert_eq!(
            Sysctls::parse("arp_ignore=x ../../x=1 arp_announce=2"),
            Sysctls(vec![("arp_announce", 2)])
        );
    }

    #[test]
    fn error_states_the_sysctl_its_value_and_the_remedy() {
        let mut error = SysctlError {
            family: 4,
            interface: "eth0.7".to_owned(),
            name: "arp_ignore",
            found: Some(0),
            wanted: 1,
            is_new: false,
            error: io::Error::from_raw_os_error(libc::EROFS),
        };
        assert_eq!(
            error.to_string(),
            "net.ipv4.conf.eth0/7.arp_ignore is 0, must be 1 and cannot be set: Read-only file system (os error 30); \
             set net.ipv4.conf.eth0/7.arp_ignore = 1 where /proc/sys is writable"
        );
        (error.is_new, error.found) = (true, None);
        let text = error.to_string();
        assert!(text.starts_with("net.ipv4.conf.eth0/7.arp_ignore is unreadable"), "{text}");
        assert!(text.contains("set net.ipv4.conf.default.arp_ignore = 1"), "{text}");
    }
}

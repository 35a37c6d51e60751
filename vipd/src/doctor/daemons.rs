//! Finds other processes on this host that take part in VRRP.

use std::collections::BTreeSet;
use std::fs;

use vipd_common::wire::ipv4;

/// Returns the names and IDs of the processes with a raw socket for VRRP in this network namespace,
/// except those of vipd. Without root, does not find processes of other users.
pub(super) fn vrrp_daemons() -> Vec<(String, u32)> {
    let mut sockets = BTreeSet::new();
    for table in ["raw", "raw6"] {
        let table = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        sockets.extend(table.lines().skip(1).filter_map(vrrp_socket));
    }
    if sockets.is_empty() {
        return Vec::new();
    }
    let mut daemons = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let descriptors = fs::read_dir(entry.path().join("fd")).into_iter().flatten().filter_map(Result::ok);
        let mut links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        let has_socket = links
            .any(|link| link.to_str().and_then(socket_inode).is_some_and(|inode| sockets.contains(&inode)));
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim().to_owned();
        if has_socket && !name.starts_with("vipd") && pid != std::process::id() {
            daemons.push((name, pid));
        }
    }
    daemons
}

/// Returns the inode of the socket in a line of `/proc/net/raw`, if the socket's protocol is VRRP.
/// The kernel prints the protocol in place of the local port.
fn vrrp_socket(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    let (_, protocol) = words.nth(1)?.rsplit_once(':')?;
    let inode = words.nth(7)?.parse().ok()?;
    (u8::from_str_radix(protocol, 16).ok()? == ipv4::PROTOCOL_VRRP).then_some(inode)
}

/// Returns the inode in the target of a descriptor's link, `socket:[INODE]`.
fn socket_inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raw_sockets_of_vrrp_are_recognized() {
        let line = |protocol: &str| {
            format!(
                "  112: 00000000:{protocol} 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 41371 2 0000000000000000 0"
            )
        };
        assert_eq!(vrrp_socket(&line("0070")), Some(41371));
        assert_eq!(vrrp_socket(&line("0001")), None);
        assert_eq!(vrrp_socket(""), None);
        assert_eq!(socket_inode("socket:[41371]"), Some(41371));
        assert_eq!(socket_inode("/dev/null"), None);
    }
}

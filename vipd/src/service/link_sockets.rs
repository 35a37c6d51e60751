//! Multicast memberships and sockets of a link. Errors include a remedy if there is one.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;

use anyhow::anyhow;

use crate::engine::id::RouterId;
use crate::engine::link_spec::LinkSpec;
use crate::packet::{Members, Membership, PacketSocket, UnicastSocket};
use crate::vrrp::Family;

/// Joins a group, or restores a membership that the kernel has dropped.
pub(super) fn ensure_group(
    groups: &mut BTreeMap<u8, Membership>,
    members: &Members,
    spec: &LinkSpec,
    family: Family,
    group: &str,
) -> anyhow::Result<()> {
    let number = family.number();
    if let Some(joined) = groups.get(&number) {
        let renewed = match joined.renew(members) {
            // The interface was removed, or the kernel has disabled IPv4 on it (MTU below 68). The
            // engine handles both when netlink reports the removal of the link or its addresses.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            renewed => renewed.map_err(|error| {
                failure(format!("cannot rejoin {group} on {}", spec.name), error, Some(join_remedy(family)))
            })?,
        };
        if renewed {
            tracing::info!(
                interface = spec.name,
                group,
                "rejoined the multicast group: the kernel had dropped the membership"
            );
        }
        return Ok(());
    }
    let joined = Membership::join(spec.ifindex, number).map_err(|error| {
        failure(format!("cannot join {group} on {}", spec.name), error, Some(join_remedy(family)))
    })?;
    groups.insert(number, joined);
    Ok(())
}

/// Returns the remedy for a failure to join the group of this family.
fn join_remedy(family: Family) -> &'static str {
    match family {
        Family::V4 => "check net.ipv4.igmp_max_memberships and that the interface's MTU is at least 68",
        Family::V6 => "check that IPv6 is enabled and that the interface's MTU is at least 1280",
    }
}

/// Opens the sockets for adverts and announcements.
pub(super) fn open_sockets(
    spec: &LinkSpec,
) -> anyhow::Result<(PacketSocket, BTreeMap<RouterId, UnicastSocket>)> {
    let LinkSpec { ifindex, name, routers, .. } = spec;
    let socket = PacketSocket::open(*ifindex)
        .map_err(|error| failure(format!("cannot open a packet socket on {name}"), error, None))?;
    let unicast = routers.iter().filter_map(|router| Some((router.router, router.unicast_source?)));
    let unicast = unicast.map(|(router, source)| {
        let socket = UnicastSocket::open(*ifindex, source).map_err(|error| {
            failure(format!("cannot open a raw socket with source {source} on {name}"), error, None)
        })?;
        Ok((router, socket))
    });
    Ok((socket, unicast.collect::<anyhow::Result<_>>()?))
}

/// Adds context to an error: the description `what`, and the remedy for the errno. If the errno has
/// no remedy of its own, `otherwise` is used.
fn failure(what: impl Display, error: io::Error, otherwise: Option<&str>) -> anyhow::Error {
    let remedy = match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => Some("vipd needs CAP_NET_RAW"),
        Some(libc::EMFILE) => Some("raise the limit on open files (LimitNOFILE= in the unit)"),
        Some(libc::ENFILE) => Some("the system-wide limit on open files is reached; raise fs.file-max"),
        Some(libc::ENOMEM) => Some("the system is out of memory"),
        Some(libc::ENODEV) => Some("the interface has been removed, or its MTU is below 68"),
        _ => otherwise,
    };
    anyhow!(error).context(remedy.map_or_else(|| what.to_string(), |remedy| format!("{what}; {remedy}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remedy_depends_on_the_errno() {
        let remedy = |errno| {
            let error = io::Error::from_raw_os_error(errno);
            format!("{:#}", failure("cannot open the socket", error, None))
        };
        assert!(remedy(libc::EPERM).starts_with("cannot open the socket; vipd needs CAP_NET_RAW: "));
        assert!(remedy(libc::EACCES).starts_with("cannot open the socket; vipd needs CAP_NET_RAW: "));
        assert!(remedy(libc::EADDRNOTAVAIL).starts_with("cannot open the socket: "));
        assert!(remedy(libc::EMFILE).starts_with("cannot open the socket; raise the limit on open files"));
        assert!(
            remedy(libc::ENFILE).starts_with("cannot open the socket; the system-wide limit on open files")
        );
    }
}

//! The cost of native XDP to the other traffic of an interface, by driver.
//!
//! Taken from the source code of the kernel's drivers. `docs/xdp-modes.md` lists the sources and the
//! measurements.

use std::mem::size_of;
use std::os::fd::AsRawFd;

use rustix::net::{AddressFamily, SocketType, socket};

/// The driver of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Driver {
    /// Driver name as shown by `ethtool -i`. For a virtual interface, this is the kind of link.
    pub(super) name: String,
    pub(super) cost: Cost,
}

/// The cost of a native program to other traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// No cost.
    None,
    /// Native mode disables an offload or interrupts traffic. The text continues "native mode on
    /// <driver> …".
    Loses(&'static str),
    /// The driver has no native mode.
    Unsupported,
    /// The driver is not in the table. Generic mode is the safe choice, because it does not change
    /// the configuration of the device.
    Unknown,
}

/// The driver reinitializes its rings.
const RESTARTS: Cost = Cost::Loses("interrupts all traffic when it is attached and detached");

/// The drivers whose cost is known.
const DRIVERS: [(&str, Cost); 22] = [
    ("veth", Cost::Loses("disables segmentation offload of its peer")),
    ("virtio_net", Cost::Loses("disables the host's segmentation and checksum offloads")),
    ("hv_netvsc", Cost::Loses("requires LRO to be off and limits the MTU to one page")),
    ("bnxt_en", Cost::Loses("disables LRO and hardware GRO")),
    ("bonding", Cost::Loses("has the same cost as on its ports")),
    ("bond", Cost::Loses("has the same cost as on its ports")),
    ("ena", RESTARTS),
    ("i40e", RESTARTS),
    ("ice", RESTARTS),
    ("igb", RESTARTS),
    ("igc", RESTARTS),
    ("ixgbe", RESTARTS),
    ("mlx5_core", RESTARTS),
    ("e1000e", Cost::Unsupported),
    ("tun", Cost::None),
    ("bridge", Cost::Unsupported),
    ("macvlan", Cost::Unsupported),
    ("ipvlan", Cost::Unsupported),
    ("802.1Q VLAN Support", Cost::Unsupported),
    ("vlan", Cost::Unsupported),
    ("dummy", Cost::Unsupported),
    ("team", Cost::Unsupported),
];

impl Driver {
    pub(super) fn named(name: String) -> Self {
        let known = DRIVERS.iter().find(|(known, _)| *known == name);
        Self { name, cost: known.map_or(Cost::Unknown, |(_, cost)| *cost) }
    }
}

/// Looks up the driver of an interface in this network namespace with `ETHTOOL_GDRVINFO`.
pub(super) fn find(interface: &str) -> Option<Driver> {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    const ETHTOOL_GDRVINFO: u32 = 3;
    /// `struct ethtool_drvinfo`; vipd uses only the command and the driver name.
    #[repr(C)]
    struct Info {
        command: u32,
        driver: [u8; 32],
        rest: [u8; 160],
    }
    /// `struct ifreq`.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        data: *mut Info,
        rest: [u64; 2],
    }
    const { assert!(size_of::<Info>() == 196) };

    let name = interface.as_bytes();
    let mut request = Request { name: [0; libc::IFNAMSIZ], data: std::ptr::null_mut(), rest: [0; 2] };
    // The last byte must remain 0.
    request.name[..libc::IFNAMSIZ - 1].get_mut(..name.len())?.copy_from_slice(name);
    let mut info = Info { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    request.data = &raw mut info;
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None).ok()?;
    // SAFETY: the kernel writes one `ethtool_drvinfo` through `data`, which points to `info`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    let length = info.driver.iter().position(|byte| *byte == 0)?;
    let driver = std::str::from_utf8(&info.driver[..length]).ok()?;
    (result == 0 && !driver.is_empty()).then(|| Driver::named(driver.to_owned()))
}

/// Returns whether an interface with this index exists in this network namespace.
pub(super) fn exists(ifindex: u32) -> bool {
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None);
    socket.is_ok_and(|socket| rustix::net::netdevice::index_to_name(socket, ifindex).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_interfaces_and_invalid_names_have_no_driver() {
        for name in ["", "no-such-interfa", "a-name-that-is-too-long"] {
            assert_eq!(find(name), None, "{name}");
        }
    }

    #[test]
    fn drivers_that_reinitialize_their_rings_interrupt_traffic() {
        for name in ["ena", "i40e", "ice", "igb", "igc", "ixgbe", "mlx5_core"] {
            assert_eq!(Driver::named(name.to_owned()).cost, RESTARTS, "{name}");
        }
    }

    #[test]
    fn drivers_outside_the_table_have_unknown_cost() {
        assert_eq!(Driver::named("r8169".to_owned()).cost, Cost::Unknown);
        assert_eq!(Driver::named("bridge".to_owned()).cost, Cost::Unsupported);
    }
}

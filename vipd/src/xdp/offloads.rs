//! Offloads of an interface that change what an XDP program receives.

use std::os::fd::AsRawFd as _;

use super::driver::{Cost, find, inet_socket};

/// Returns the driver of an interface and the cost of its native mode, which completes the sentence
/// "native mode on DRIVER …"; `None` if the cost is unknown or there is none.
pub fn native_cost(interface: &str) -> Option<(String, &'static str)> {
    let driver = find(interface)?;
    match driver.cost {
        Cost::Loses(what) => Some((driver.name, what)),
        Cost::None | Cost::Unsupported | Cost::Unknown => None,
    }
}

/// Returns whether the NIC removes VLAN tags from received frames (`rxvlan` of `ethtool -k`), so that
/// an XDP program cannot recognize frames of other VLANs. Returns false if this is unknown.
pub fn removes_vlan_tags(interface: &str) -> bool {
    const SIOCETHTOOL: libc::Ioctl = 0x8946;
    const ETHTOOL_GFLAGS: u32 = 0x25;
    const ETH_FLAG_RXVLAN: u32 = 1 << 8;
    /// `struct ethtool_value`.
    #[repr(C)]
    struct Value {
        command: u32,
        data: u32,
    }
    /// `struct ifreq`.
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        data: *mut Value,
        rest: [u64; 2],
    }
    let name = interface.as_bytes();
    let mut value = Value { command: ETHTOOL_GFLAGS, data: 0 };
    let mut request = Request { name: [0; libc::IFNAMSIZ], data: &raw mut value, rest: [0; 2] };
    // The last byte must remain 0.
    let Some(room) = request.name[..libc::IFNAMSIZ - 1].get_mut(..name.len()) else { return false };
    room.copy_from_slice(name);
    let Ok(socket) = inet_socket() else { return false };
    // SAFETY: the kernel writes one `ethtool_value` through `data`, which points to `value`.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    result == 0 && value.data & ETH_FLAG_RXVLAN != 0
}

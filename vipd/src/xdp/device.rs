//! Queries interfaces by ioctl(2), as described in netdevice(7), and with ethtool commands.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, OwnedFd};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};

/// Commands and flags from `include/uapi/linux/sockios.h` and `ethtool.h`.
const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 3;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// `struct ethtool_drvinfo`; vipd uses only the command and the driver name.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// `struct ifreq`.
#[repr(C)]
struct Request<T> {
    name: [u8; libc::IFNAMSIZ],
    data: *mut T,
    rest: [u64; 2],
}

// The kernel writes the whole structure, so the sizes must match.
const _: () = assert!(size_of::<DriverInfo>() == 196 && size_of::<Value>() == 8);

/// Returns whether an interface with this index exists in this network namespace.
pub(crate) fn exists(ifindex: u32) -> bool {
    socket().is_ok_and(|socket| netdevice::index_to_name(socket, ifindex).is_ok())
}

/// Returns the name of the driver of an interface in this network namespace.
pub(super) fn driver_name(interface: &str) -> Option<String> {
    let mut info = DriverInfo { command: ETHTOOL_GDRVINFO, driver: [0; 32], rest: [0; 160] };
    ethtool(interface, &mut info)?;
    let length = info.driver.iter().position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&info.driver[..length]).ok()?;
    (!name.is_empty()).then(|| name.to_owned())
}

/// Returns whether the NIC removes VLAN tags from received frames (`rxvlan` of `ethtool -k`). If it
/// does, an XDP program cannot recognize frames of other VLANs. Returns false if this is unknown.
pub fn removes_vlan_tags(interface: &str) -> bool {
    let mut value = Value { command: ETHTOOL_GFLAGS, data: 0 };
    ethtool(interface, &mut value).is_some() && value.data & ETH_FLAG_RXVLAN != 0
}

/// Executes an ethtool command. `command` is the command's structure, which begins with its number.
fn ethtool<T>(interface: &str, command: &mut T) -> Option<()> {
    let name = interface.as_bytes();
    let mut request = Request { name: [0; libc::IFNAMSIZ], data: std::ptr::from_mut(command), rest: [0; 2] };
    // The last byte of the name must remain 0.
    request.name[..libc::IFNAMSIZ - 1].get_mut(..name.len())?.copy_from_slice(name);
    let socket = socket().ok()?;
    // SAFETY: `data` points to the structure of the command, which is what the kernel writes.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    (result == 0).then_some(())
}

/// Opens a socket for ioctl(2) that child processes do not inherit.
fn socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_interfaces_and_invalid_names_have_no_driver() {
        for name in ["", "no-such-interfa", "a-name-that-is-too-long"] {
            assert_eq!(driver_name(name), None, "{name}");
            assert!(!removes_vlan_tags(name), "{name}");
        }
    }

    #[test]
    fn loopback_exists_and_index_zero_does_not() {
        assert!(exists(1) && !exists(0));
    }
}

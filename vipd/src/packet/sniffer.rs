//! Receives the VRRP and neighbor frames of an interface without consuming them.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, MaybeUninitSlice, MsgHdrMut, SockAddr, SockAddrStorage, SockFilter, Socket, Type};
use vipd_common::wire::{ethernet, ipv4, ipv6};

use super::socket::link_layer;

/// `ETH_P_ALL` in network byte order.
const ETH_P_ALL: u16 = 0x0003_u16.to_be();
/// Size of the receive buffer in bytes.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Maximum number of bytes kept per frame. The longest advert in a jumbo frame fits.
const SNAPLEN: usize = 9216;
/// Length of a VLAN tag in bytes.
const TAG: usize = 4;
/// Flags of `tp_status` (`include/uapi/linux/if_packet.h`).
const TP_STATUS_VLAN_VALID: u32 = 1 << 4;
const TP_STATUS_VLAN_TPID_VALID: u32 = 1 << 6;

/// A packet socket that receives the VRRP, ARP and ICMPv6 frames of an interface in both
/// directions, and all frames with a VLAN tag that the kernel has not removed. On an interface
/// without Ethernet headers, it receives only VRRP packets.
///
/// The socket receives frames before TC ingress, but not the frames that an XDP program drops.
#[derive(Debug)]
pub struct Sniffer {
    socket: Socket,
    buffer: Vec<u8>,
}

/// A frame of an interface.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Time since the Unix epoch at which the frame was received or sent.
    pub time: Duration,
    /// Whether this host sent the frame.
    pub outgoing: bool,
    /// The frame as on the wire. A VLAN tag that the kernel has removed is inserted again.
    pub bytes: &'a [u8],
    /// Length on the wire in bytes; more than the length of `bytes` if the frame was cut.
    pub length: usize,
}

impl Sniffer {
    /// Opens the interface with this index. `has_ethernet` states whether its frames have an
    /// Ethernet header.
    ///
    /// # Errors
    /// `EPERM` without CAP_NET_RAW, `ENODEV` if the interface does not exist.
    pub fn open(ifindex: u32, has_ethernet: bool) -> io::Result<Self> {
        // With protocol 0, the socket receives nothing until `bind`, after the filter is attached.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        socket.attach_filter(&if has_ethernet { ethernet_filter() } else { bare_filter() })?;
        // Fails without CAP_NET_ADMIN; the default size is enough unless the interface is flooded.
        let _ = set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
        enable(&socket, libc::SOL_PACKET, libc::PACKET_AUXDATA)?;
        enable(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS)?;
        socket.set_nonblocking(true)?;
        socket.bind(&link_layer(ifindex, ETH_P_ALL)?)?;
        Ok(Self { socket, buffer: vec![0; TAG + SNAPLEN] })
    }

    /// Returns the number of frames that were lost since the last call, because the receive buffer
    /// was full.
    pub fn lost(&self) -> u64 {
        // `struct tpacket_stats`: number of frames, including lost ones, and number of lost frames.
        let mut stats = [0_u32; 2];
        let Ok(mut length) = libc::socklen_t::try_from(size_of_val(&stats)) else { return 0 };
        // SAFETY: the kernel writes at most `length` bytes, the size of the array.
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                stats.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result == 0 { stats[1].into() } else { 0 }
    }

    /// Sends a frame from the interface.
    ///
    /// # Errors
    /// `ENETDOWN` if the interface is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        self.socket.send(frame).map(drop)
    }

    /// Returns the next frame, or `None` if none is queued.
    ///
    /// # Errors
    /// `ENETDOWN` after the interface was set down; the socket remains usable.
    pub fn receive(&mut self) -> io::Result<Option<Received<'_>>> {
        let mut control = [MaybeUninit::<u8>::zeroed(); 128];
        let (_, room) = self.buffer.split_at_mut(TAG);
        // SAFETY: initialized bytes are also valid as `MaybeUninit`, and recvmsg(2) writes only
        // initialized bytes.
        let room = unsafe { &mut *(std::ptr::from_mut(room) as *mut [MaybeUninit<u8>]) };
        let mut parts = [MaybeUninitSlice::new(room)];
        let storage = SockAddrStorage::zeroed();
        let size = storage.size_of();
        // SAFETY: all-zero storage is a valid socket address.
        let mut from = unsafe { SockAddr::new(storage, size) };
        let mut message =
            MsgHdrMut::new().with_addr(&mut from).with_buffers(&mut parts).with_control(&mut control);
        let length = match self.socket.recvmsg(&mut message, libc::MSG_TRUNC) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            length => length?,
        };
        let control_length = message.control_len();
        // SAFETY: the array was zeroed, so all its bytes are initialized.
        let control = control.map(|byte| unsafe { byte.assume_init() });
        let mut time = None;
        let mut tag = None;
        for (level, kind, data) in messages(&control[..control_length]) {
            match (level, kind) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => time = timestamp(data),
                (libc::SOL_PACKET, libc::PACKET_AUXDATA) => tag = vlan_tag(data),
                _ => {}
            }
        }
        let kept = length.min(SNAPLEN);
        let (start, length) = match tag {
            Some(tag) if kept >= 12 => {
                self.buffer.copy_within(TAG..TAG + 12, 0);
                self.buffer[12..16].copy_from_slice(&tag);
                (0, length + TAG)
            }
            _ => (TAG, length),
        };
        let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Some(Received {
            time: time.unwrap_or_else(now),
            outgoing: is_outgoing(&from),
            bytes: &self.buffer[start..TAG + kept],
            length,
        }))
    }
}

impl AsFd for Sniffer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Opcodes of `include/uapi/linux/bpf_common.h`.
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const AND: u16 = 0x54;
const JUMP_EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;
const VRRP: u32 = ipv4::PROTOCOL_VRRP as u32;

/// Returns the classic BPF program that accepts ARP, ICMPv6, IP protocol 112, and frames with a
/// VLAN tag that the kernel has not removed.
fn ethernet_filter() -> Vec<SockFilter> {
    const ICMPV6: u32 = ipv6::NEXT_HEADER_ICMPV6 as u32;
    // Offset of a field of the IP header after an Ethernet header.
    let behind_ethernet = |field: usize| u32::try_from(ethernet::HEADER_LEN + field).unwrap_or(u32::MAX);
    vec![
        SockFilter::new(LOAD_HALF, 0, 0, 12),
        SockFilter::new(JUMP_EQUAL, 9, 0, ethernet::TYPE_ARP.into()),
        SockFilter::new(JUMP_EQUAL, 8, 0, ethernet::TYPE_VLAN.into()),
        SockFilter::new(JUMP_EQUAL, 7, 0, ethernet::TYPE_QINQ.into()),
        SockFilter::new(JUMP_EQUAL, 0, 2, ethernet::TYPE_IPV4.into()),
        SockFilter::new(LOAD_BYTE, 0, 0, behind_ethernet(ipv4::PROTOCOL)),
        SockFilter::new(JUMP_EQUAL, 4, 5, VRRP),
        SockFilter::new(JUMP_EQUAL, 0, 4, ethernet::TYPE_IPV6.into()),
        SockFilter::new(LOAD_BYTE, 0, 0, behind_ethernet(ipv6::NEXT_HEADER)),
        SockFilter::new(JUMP_EQUAL, 1, 0, VRRP),
        SockFilter::new(JUMP_EQUAL, 0, 1, ICMPV6),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

/// Returns the classic BPF program that accepts IP protocol 112 without a link-layer header.
fn bare_filter() -> Vec<SockFilter> {
    let field = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    vec![
        SockFilter::new(LOAD_BYTE, 0, 0, 0),
        SockFilter::new(AND, 0, 0, 0xf0),
        SockFilter::new(JUMP_EQUAL, 0, 2, 0x40),
        SockFilter::new(LOAD_BYTE, 0, 0, field(ipv4::PROTOCOL)),
        SockFilter::new(JUMP_EQUAL, 3, 4, VRRP),
        SockFilter::new(JUMP_EQUAL, 0, 3, 0x60),
        SockFilter::new(LOAD_BYTE, 0, 0, field(ipv6::NEXT_HEADER)),
        SockFilter::new(JUMP_EQUAL, 0, 1, VRRP),
        SockFilter::new(RETURN, 0, 0, u32::MAX),
        SockFilter::new(RETURN, 0, 0, 0),
    ]
}

fn enable(socket: &Socket, level: i32, option: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = libc::socklen_t::try_from(size_of_val(&on)).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the kernel reads an `int`, whose size is passed.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), length) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns the level, type and data of each control message. A message starts with its length
/// (`size_t`), level and type (`int`), and is padded to the size of a `size_t`.
fn messages(mut control: &[u8]) -> impl Iterator<Item = (i32, i32, &[u8])> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    std::iter::from_fn(move || {
        let length = usize::from_ne_bytes(*control.first_chunk()?);
        let level = i32::from_ne_bytes(*control.get(WORD..)?.first_chunk()?);
        let kind = i32::from_ne_bytes(*control.get(WORD + 4..)?.first_chunk()?);
        let data = control.get(HEADER..length)?;
        control = control.get(length.next_multiple_of(WORD)..).unwrap_or_default();
        Some((level, kind, data))
    })
}

/// Reads a `struct timespec`.
fn timestamp(data: &[u8]) -> Option<Duration> {
    let seconds = i64::from_ne_bytes(*data.first_chunk()?);
    let nanos = i64::from_ne_bytes(*data.get(8..)?.first_chunk()?);
    Some(Duration::new(seconds.try_into().ok()?, nanos.try_into().ok()?))
}

/// Returns the VLAN tag in a `struct tpacket_auxdata`, if the frame had one.
fn vlan_tag(data: &[u8]) -> Option<[u8; TAG]> {
    let status = u32::from_ne_bytes(*data.first_chunk()?);
    let half = |offset: usize| Some(u16::from_ne_bytes(*data.get(offset..)?.first_chunk()?));
    if status & TP_STATUS_VLAN_VALID == 0 {
        return None;
    }
    let tpid = if status & TP_STATUS_VLAN_TPID_VALID == 0 { ethernet::TYPE_VLAN } else { half(18)? };
    let ([a, b], [c, d]) = (tpid.to_be_bytes(), half(16)?.to_be_bytes());
    Some([a, b, c, d])
}

fn is_outgoing(from: &SockAddr) -> bool {
    if i32::from(from.family()) != libc::AF_PACKET {
        return false;
    }
    let mut storage: SockAddrStorage = from.clone().as_storage();
    // SAFETY: the family is AF_PACKET, so the storage contains a `sockaddr_ll`.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_pkttype == libc::PACKET_OUTGOING
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(level: i32, kind: i32, data: &[u8]) -> Vec<u8> {
        let mut bytes = (16 + data.len()).to_ne_bytes().to_vec();
        bytes.extend(level.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(data);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes
    }

    #[test]
    fn control_messages_are_read_until_the_first_malformed_one() {
        let mut control = message(1, 2, &[7; 3]);
        control.extend(message(3, 4, &[]));
        assert_eq!(messages(&control).collect::<Vec<_>>(), [(1, 2, &[7; 3][..]), (3, 4, &[][..])]);
        control.extend([0xff; 16]);
        assert_eq!(messages(&control).count(), 2);
        assert_eq!(messages(&[0; 32]).count(), 0);
    }

    /// Returns whether a filter accepts a frame. The kernel runs the filter as on a packet socket.
    fn accepts(filter: &[SockFilter], frame: &[u8]) -> bool {
        let (sender, receiver) = Socket::pair(Domain::UNIX, Type::DGRAM, None).expect("two sockets");
        receiver.attach_filter(filter).expect("a valid program");
        receiver.set_nonblocking(true).expect("non-blocking");
        // Also succeeds if the filter rejects the frame, which is then not queued.
        let _ = sender.send(frame);
        receiver.recv(&mut [MaybeUninit::uninit(); 64]).is_ok()
    }

    #[test]
    fn filters_accept_vrrp_with_and_without_ethernet() {
        let packet = |start: u8, at: usize, protocol: u8| {
            let mut packet = [0; 40];
            (packet[0], packet[at]) = (start, protocol);
            packet
        };
        for (packet, ethertype, expected) in [
            (packet(0x45, 9, 112), 0x0800_u16, true),
            (packet(0x60, 6, 112), 0x86dd, true),
            (packet(0x45, 9, 17), 0x0800, false),
            (packet(0x60, 6, 17), 0x86dd, false),
            // 112 at the offset of the other family's protocol field.
            (packet(0x45, 6, 112), 0x0800, false),
            (packet(0x60, 9, 112), 0x86dd, false),
        ] {
            assert_eq!(accepts(&bare_filter(), &packet), expected, "{packet:?}");
            let frame = [&[2; 12][..], &ethertype.to_be_bytes(), &packet].concat();
            assert_eq!(accepts(&ethernet_filter(), &frame), expected, "{frame:?}");
        }
        let arp = [&[2; 12][..], &[8, 6], &[0; 28]].concat();
        assert!(accepts(&ethernet_filter(), &arp));
    }

    #[test]
    fn vlan_tag_is_in_network_byte_order() {
        let aux = |status: u32| {
            let mut data = vec![0; 20];
            data[..4].copy_from_slice(&status.to_ne_bytes());
            data[16..18].copy_from_slice(&0x2007_u16.to_ne_bytes());
            data[18..20].copy_from_slice(&0x88a8_u16.to_ne_bytes());
            data
        };
        assert_eq!(vlan_tag(&aux(0)), None);
        assert_eq!(vlan_tag(&aux(TP_STATUS_VLAN_VALID)), Some([0x81, 0, 0x20, 0x07]));
        let both = TP_STATUS_VLAN_VALID | TP_STATUS_VLAN_TPID_VALID;
        assert_eq!(vlan_tag(&aux(both)), Some([0x88, 0xa8, 0x20, 0x07]));
        assert_eq!(vlan_tag(&[0; 3]), None);
    }
}

//! `AF_PACKET` sockets, and reception with kernel timestamps.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use rustix::net::sockopt::set_socket_recv_buffer_size_force;
use socket2::{Domain, MaybeUninitSlice, MsgHdrMut, SockAddr, SockAddrStorage, SockFilter, Socket, Type};

use crate::time::WallTime;

/// `ETH_P_ALL` in network byte order.
const ETH_P_ALL: u16 = 0x0003_u16.to_be();
/// Size of the receive buffer in bytes, large enough for the frames that arrive while the reader is
/// not scheduled.
const RECEIVE_BUFFER: usize = 64 << 20;

/// Metadata of a received packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) length: usize,
    /// Kernel receive timestamp, or the time of the read if the packet has none.
    pub(crate) time: WallTime,
    /// Index of the interface that received or sent the packet; 0 if the socket is not a packet
    /// socket.
    pub(crate) interface: u32,
    /// Whether the interface sent the packet. Only a socket from [`tap`] receives such packets.
    pub(crate) outgoing: bool,
}

/// Opens a socket that sends raw frames on an interface in the calling thread's namespace. The
/// socket receives no frames.
pub(crate) fn sender(interface: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.bind(&link_address(interface, 0)?)?;
    Ok(socket)
}

/// Opens a socket that receives the incoming frames of an interface in the calling thread's
/// namespace, or of all interfaces if `interface` is 0. The socket does not receive outgoing
/// frames.
pub(crate) fn receiver(interface: u32) -> io::Result<Socket> {
    open_receiver(interface, 1, &[])
}

/// Like [`receiver`], but the socket receives only the frames that [`segment_filter`] passes.
pub(crate) fn segment_receiver(interface: u32) -> io::Result<Socket> {
    open_receiver(interface, 1, &segment_filter())
}

/// Opens a socket that receives the incoming and outgoing frames of all interfaces in the calling
/// thread's namespace.
pub(crate) fn tap() -> io::Result<Socket> {
    open_receiver(0, 0, &[])
}

fn open_receiver(interface: u32, ignore_outgoing: i32, filter: &[SockFilter]) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    set_int(&socket, libc::SOL_PACKET, libc::PACKET_IGNORE_OUTGOING, ignore_outgoing)?;
    set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
    stamp(&socket)?;
    if !filter.is_empty() {
        // Before `bind`, which starts reception.
        socket.attach_filter(filter)?;
    }
    socket.bind(&link_address(interface, ETH_P_ALL)?)?;
    Ok(socket)
}

/// Returns a classic BPF program that passes VRRP, ARP, ICMP and ICMPv6, except frames that belong
/// to a VLAN.
///
/// The kernel removes a tag from a received frame and keeps it as metadata
/// (`__netif_receive_skb_core` in `net/core/dev.c`). A tag with VLAN identifier 0 only sets the
/// priority; the frame belongs to no VLAN. IPv6 packets with Hop-by-Hop Options, Routing or
/// Destination Options pass, because any header may follow.
fn segment_filter() -> [SockFilter; 19] {
    // Opcodes and ancillary loads (include/uapi/linux/filter.h and bpf_common.h).
    const LOAD_U8: u16 = 0x30;
    const LOAD_U16: u16 = 0x28;
    const IF_EQUAL: u16 = 0x15;
    const IF_ANY_BIT: u16 = 0x45;
    const RETURN: u16 = 0x06;
    const ANCILLARY: u32 = (-0x1000_i32).cast_unsigned();
    const VLAN_TAG: u32 = ANCILLARY + 44;
    const VLAN_TAG_PRESENT: u32 = ANCILLARY + 48;
    let statement = |code, k| SockFilter::new(code, 0, 0, k);
    [
        statement(LOAD_U8, VLAN_TAG_PRESENT),
        SockFilter::new(IF_EQUAL, 2, 0, 0),
        statement(LOAD_U16, VLAN_TAG),
        SockFilter::new(IF_ANY_BIT, 13, 0, 0xfff),
        // EtherType: ARP passes.
        statement(LOAD_U16, 12),
        SockFilter::new(IF_EQUAL, 12, 0, 0x0806),
        // IPv4: ICMP and VRRP pass.
        SockFilter::new(IF_EQUAL, 0, 3, 0x0800),
        statement(LOAD_U8, 23),
        SockFilter::new(IF_EQUAL, 9, 0, 1),
        SockFilter::new(IF_EQUAL, 8, 7, 112),
        // IPv6: VRRP, ICMPv6, Hop-by-Hop Options, Routing and Destination Options pass.
        SockFilter::new(IF_EQUAL, 0, 6, 0x86dd),
        statement(LOAD_U8, 20),
        SockFilter::new(IF_EQUAL, 5, 0, 112),
        SockFilter::new(IF_EQUAL, 4, 0, 58),
        SockFilter::new(IF_EQUAL, 3, 0, 0),
        SockFilter::new(IF_EQUAL, 2, 0, 43),
        SockFilter::new(IF_EQUAL, 1, 0, 60),
        // Drops the frame, or passes all of it.
        statement(RETURN, 0),
        statement(RETURN, u32::MAX),
    ]
}

/// Enables receive timestamps.
pub(crate) fn stamp(socket: &Socket) -> io::Result<()> {
    set_int(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Receives a packet, waiting no longer than the socket's read timeout.
pub(crate) fn receive(socket: &Socket, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buffer, 0)
}

/// Receives a packet without waiting.
pub(crate) fn receive_now(socket: &Socket, buffer: &mut [u8]) -> io::Result<Received> {
    receive_with(socket, buffer, libc::MSG_DONTWAIT)
}

fn receive_with(socket: &Socket, buffer: &mut [u8], flags: i32) -> io::Result<Received> {
    // SAFETY: all-zero storage is a valid socket address.
    let mut source = unsafe { SockAddr::new(SockAddrStorage::zeroed(), SockAddrStorage::zeroed().size_of()) };
    let mut control = [MaybeUninit::<u8>::zeroed(); 128];
    // SAFETY: the kernel writes initialized bytes or none, and no other code writes through this
    // view.
    let view = unsafe { &mut *(std::ptr::from_mut(buffer) as *mut [MaybeUninit<u8>]) };
    let mut parts = [MaybeUninitSlice::new(view)];
    let mut message =
        MsgHdrMut::new().with_addr(&mut source).with_buffers(&mut parts).with_control(&mut control);
    let length = socket.recvmsg(&mut message, flags)?;
    let control_length = message.control_len();
    // SAFETY: the array was zeroed, so all its bytes are initialized.
    let control = control.map(|byte| unsafe { byte.assume_init() });
    let (interface, outgoing) = interface_of(source);
    Ok(Received {
        length,
        time: stamp_in(&control[..control_length]).unwrap_or_else(WallTime::now),
        interface,
        outgoing,
    })
}

/// Sends frames with as few system calls as possible.
pub(crate) fn send_all(socket: &Socket, frames: &[&[u8]]) -> io::Result<()> {
    let mut parts: Vec<_> = frames
        .iter()
        .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
        .collect();
    let mut messages: Vec<_> = parts
        .iter_mut()
        .map(|part| {
            // SAFETY: an all-zero `mmsghdr` is a valid message without address, data or control.
            let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
            message.msg_hdr.msg_iov = part;
            message.msg_hdr.msg_iovlen = 1;
            message
        })
        .collect();
    let mut sent = 0;
    while let Some(rest) = messages.get_mut(sent..).filter(|rest| !rest.is_empty()) {
        let count = libc::c_uint::try_from(rest.len()).map_err(io::Error::other)?;
        // SAFETY: `rest` holds `count` messages, each with one part that points to a frame. All of
        // them outlive the call, and the kernel only reads the frames.
        let taken = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), count, 0) };
        sent += usize::try_from(taken).map_err(|_| io::Error::last_os_error())?;
    }
    Ok(())
}

/// Returns the number of packets dropped since the last call because the receive buffer was full.
pub(crate) fn drops(socket: &Socket) -> io::Result<u32> {
    let mut statistics = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut length = length_of::<libc::tpacket_stats>();
    // SAFETY: the kernel writes at most `length` bytes, the size of the structure.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            (&raw mut statistics).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(statistics.tp_drops) } else { Err(io::Error::last_os_error()) }
}

fn set_int(socket: &Socket, level: i32, option: i32, value: i32) -> io::Result<()> {
    // SAFETY: the kernel reads an `int`, whose size is passed.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const value).cast(), length_of::<i32>())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn link_address(interface: u32, protocol: u16) -> io::Result<SockAddr> {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: `sockaddr_ll` is an address structure, and shorter than the storage.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_protocol = protocol;
    address.sll_ifindex = i32::try_from(interface).map_err(io::Error::other)?;
    // SAFETY: the storage holds an address of that length.
    Ok(unsafe { SockAddr::new(storage, length_of::<libc::sockaddr_ll>()) })
}

/// Returns the index of a packet's interface, and whether the interface sent the packet.
fn interface_of(source: SockAddr) -> (u32, bool) {
    if i32::from(source.family()) != libc::AF_PACKET {
        return (0, false);
    }
    let mut storage = source.as_storage();
    // SAFETY: the family is AF_PACKET, so the storage holds a `sockaddr_ll`.
    let address = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    let outgoing = address.sll_pkttype == libc::PACKET_OUTGOING;
    (u32::try_from(address.sll_ifindex).unwrap_or(0), outgoing)
}

/// Returns the timestamp from the control messages of a received packet. Each control message
/// consists of its length (`size_t`), level and type (`int`), and data, padded to the size of a
/// `size_t`.
fn stamp_in(mut control: &[u8]) -> Option<WallTime> {
    const WORD: usize = size_of::<usize>();
    const HEADER: usize = WORD + 8;
    loop {
        let length = usize::from_ne_bytes(control.get(..WORD)?.try_into().ok()?);
        let level = i32::from_ne_bytes(control.get(WORD..WORD + 4)?.try_into().ok()?);
        let kind = i32::from_ne_bytes(control.get(WORD + 4..HEADER)?.try_into().ok()?);
        if level == libc::SOL_SOCKET && kind == libc::SCM_TIMESTAMPNS {
            let seconds = i64::from_ne_bytes(control.get(HEADER..HEADER + 8)?.try_into().ok()?);
            let nanoseconds = i64::from_ne_bytes(control.get(HEADER + 8..HEADER + 16)?.try_into().ok()?);
            return Some(WallTime::from_parts(seconds, nanoseconds));
        }
        control = control.get(length.max(HEADER).next_multiple_of(WORD)..)?;
    }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).expect("an option or address is a few bytes long")
}

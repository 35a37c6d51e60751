//! A received or sent frame, as the XDP and TC hooks present it.

use aya_ebpf::EbpfContext;
use aya_ebpf::helpers::generated::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use vipd_common::parse::Cursor as _;
use vipd_common::wire::ethernet;

use crate::cursor::Direct;

/// The context of a program that runs on a received or sent frame.
pub(crate) trait Frame: EbpfContext {
    /// Address of the first byte that can be read in place.
    fn start(&self) -> usize;
    /// Address after the last byte that can be read in place; the frame may be longer.
    fn end(&self) -> usize;
    /// Length of the whole frame in bytes.
    fn len(&self) -> usize;
    /// Index of the interface of the hook, which has received the frame or will send it.
    fn ifindex(&self) -> u32;
    /// Copies `length` bytes starting at `offset`, across all buffers of the frame. Returns whether
    /// the frame is long enough.
    ///
    /// # Safety
    /// `buffer` must have room for `length` bytes.
    unsafe fn load(&self, offset: usize, buffer: *mut u8, length: usize) -> bool;
}

impl Frame for XdpContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn len(&self) -> usize {
        // SAFETY: the kernel passed this context.
        unsafe { bpf_xdp_get_buff_len(self.ctx) as usize }
    }

    #[inline(always)]
    fn ifindex(&self) -> u32 {
        self.ingress_ifindex() as u32
    }

    #[inline(always)]
    unsafe fn load(&self, offset: usize, buffer: *mut u8, length: usize) -> bool {
        // SAFETY: the caller provides a buffer of this length; the kernel checks the offset.
        unsafe { bpf_xdp_load_bytes(self.ctx, offset as u32, buffer.cast(), length as u32) == 0 }
    }
}

impl Frame for TcContext {
    #[inline(always)]
    fn start(&self) -> usize {
        self.data()
    }

    #[inline(always)]
    fn end(&self) -> usize {
        self.data_end()
    }

    #[inline(always)]
    fn len(&self) -> usize {
        self.skb.len() as usize
    }

    /// At egress, the interface that will send the frame.
    #[inline(always)]
    fn ifindex(&self) -> u32 {
        // SAFETY: a field of the context that the kernel passed.
        unsafe { (*self.skb.skb).ifindex }
    }

    #[inline(always)]
    unsafe fn load(&self, offset: usize, buffer: *mut u8, length: usize) -> bool {
        // SAFETY: the caller provides a buffer of this length; the kernel checks the offset.
        unsafe { bpf_skb_load_bytes(self.as_ptr(), offset as u32, buffer.cast(), length as u32) == 0 }
    }
}

/// Number of bytes that the parser reads in place: an Ethernet header with two VLAN tags, and an
/// IPv4 header up to and including Protocol. The Next Header field of IPv6 is at a smaller offset.
const HEADERS: usize = 14 + 2 * 4 + 10;

/// Makes the headers readable in place. A driver may leave them outside the linear part of the
/// buffer until the IP layer pulls them. If the headers are already in the linear part, the call
/// costs two comparisons.
#[inline(always)]
pub(crate) fn pull_headers(ctx: &TcContext) {
    let linear = ctx.end() - ctx.start();
    let length = Frame::len(ctx);
    let wanted = if length < HEADERS { length } else { HEADERS };
    if linear < wanted {
        // Fails if memory cannot be allocated. If a header field is then unreadable, the frame is
        // passed, like a frame with a truncated header.
        let _ = ctx.pull_data(wanted as u32);
    }
}

/// Returns whether the frame belongs to another LAN, because its outer VLAN tag has an identifier
/// other than 0. At ingress, the kernel has moved the outer tag from the frame to its metadata
/// (`skb_vlan_untag` in `__netif_receive_skb_core`, `net/core/dev.c`); at egress, the VLAN device
/// has stored the tag there.
#[inline(always)]
pub(crate) fn is_other_vlan(ctx: &TcContext) -> bool {
    // SAFETY: the kernel passed this context.
    let skb = unsafe { &*ctx.skb.skb };
    skb.vlan_present != 0 && skb.vlan_tci & 0x0fff != 0
}

/// Returns whether the frame is an IP packet without its Ethernet header.
///
/// Another application's generic XDP program causes this if the program supports multi-buffer
/// frames. Before running such a program, the kernel copies frames that are cloned, non-linear or
/// short of headroom (`skb_pp_cow_data`, Linux commit e6d5dbdd20aa). The copy lacks `mac_len`, the
/// length of the header that `tcx_run` would restore.
#[inline(always)]
pub(crate) fn lacks_ethernet_header(ctx: &TcContext, frame: &Direct) -> bool {
    // SAFETY: a field of the context that the kernel passed.
    let protocol = u16::from_be(unsafe { (*ctx.skb.skb).protocol } as u16);
    (protocol == ethernet::TYPE_IPV4 || protocol == ethernet::TYPE_IPV6) && frame.be16(12) != Some(protocol)
}

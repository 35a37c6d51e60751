//! vipd's BPF programs for the XDP hooks, for TC ingress, and for TC egress.
//!
//! The entry points convert a verdict to the action of their hook. The parser,
//! `vipd_common::parse`, is shared with user space:
//!
//! ```text
//!  not VRRP, or no configured virtual router         ─► pass, untouched
//!  invalid advert ─► counted by reason               ─► drop
//!  valid advert   ─► counted, passed to user space   ─► drop
//!  packet to or from a VIP that is fenced or closed  ─► counted ─► drop
//! ```
//!
//! After the agent's process has ended without leaving its state to a successor, all adverts are
//! passed, but they can still fence the agent's VIPs.
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        clippy::inline_always,
        reason = "a function call uses BPF stack, and the verifier forgets bounds that the caller has checked"
    ),
    expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "the target has 64-bit pointers, and lengths and offsets of a frame fit into any integer"
    )
)]

#[cfg(target_arch = "bpf")]
mod cursor;
#[cfg(target_arch = "bpf")]
mod fast_path;
#[cfg(target_arch = "bpf")]
mod fence;
#[cfg(target_arch = "bpf")]
mod filter;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod hmac;
#[cfg(target_arch = "bpf")]
mod limit;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod signed;
#[cfg(target_arch = "bpf")]
mod signers;

#[cfg(target_arch = "bpf")]
#[expect(clippy::needless_pass_by_value, reason = "the signature that aya's macros call")]
mod program {
    use core::mem::transmute;

    use aya_ebpf::bindings::{BPF_RB_NO_WAKEUP, tcx_action_base, xdp_action};
    use aya_ebpf::helpers::bpf_ktime_get_ns;
    use aya_ebpf::macros::{classifier, xdp};
    use aya_ebpf::maps::ProgramArray;
    use aya_ebpf::programs::{TcContext, XdpContext};
    use aya_log_ebpf::debug;
    use vipd_common::address::FAMILY_IPV4;
    use vipd_common::counters::Counter;
    use vipd_common::filter::{Direction, Network};
    use vipd_common::lease::Reason;
    use vipd_common::parse::{Advert, ChecksumForm, Expected, Located, NotOurs, Trailer, locate, validate};
    use vipd_common::records::{AdvertRecord, PeerKey, RouterKey, RouterSlot};
    use vipd_common::wire::ip::{self, Ip};
    use vipd_common::wire::{ethernet, ipv4};

    use crate::cursor::{Direct, Windowed};
    use crate::fast_path::{Novelty, compare, wake};
    use crate::fence;
    use crate::filter::{self, Packet, Skb};
    use crate::frame::{Frame, is_other_vlan, lacks_ethernet_header, pull_headers};
    use crate::limit::{charge, charge_sender};
    use crate::maps::{
        ADVERTS, AGENT_TC, AGENT_XDP, AGENT_XDP_FRAGS, PEERS, ROUTERS, count, count_discarded, count_lost,
        count_unassigned,
    };
    use crate::signed::publish_signed;

    /// For drivers that support only linear buffers.
    #[xdp]
    pub(crate) fn vipd_xdp(ctx: XdpContext) -> u32 {
        let frame = Direct::new(&ctx);
        xdp_action(&ctx, &AGENT_XDP, classify(&ctx, ethernet::ip(&frame), || ethernet::arp(&frame)))
    }

    /// For drivers that support multi-buffer frames (Linux 5.18), and for the generic hook.
    #[xdp(frags)]
    pub(crate) fn vipd_xdp_frags(ctx: XdpContext) -> u32 {
        let frame = Direct::new(&ctx);
        xdp_action(&ctx, &AGENT_XDP_FRAGS, classify(&ctx, ethernet::ip(&frame), || ethernet::arp(&frame)))
    }

    /// For interfaces without a link-layer header: WireGuard, GRE, tun.
    #[xdp(frags)]
    pub(crate) fn vipd_xdp_bare(ctx: XdpContext) -> u32 {
        xdp_action(&ctx, &AGENT_XDP_FRAGS, classify(&ctx, ip::bare(&Direct::new(&ctx)), || None))
    }

    /// For TC ingress (TCX, Linux 6.6).
    #[classifier]
    pub(crate) fn vipd_tc(ctx: TcContext) -> i32 {
        if is_other_vlan(&ctx) {
            return tcx_action_base::TCX_NEXT;
        }
        pull_headers(&ctx);
        let frame = Direct::new(&ctx);
        let ip = if lacks_ethernet_header(&ctx, &frame) { ip::bare(&frame) } else { ethernet::ip(&frame) };
        tc_action(&ctx, classify(&ctx, ip, || ethernet::arp(&frame)))
    }

    /// For TC ingress of interfaces without a link-layer header.
    #[classifier]
    pub(crate) fn vipd_tc_bare(ctx: TcContext) -> i32 {
        pull_headers(&ctx);
        tc_action(&ctx, classify(&ctx, ip::bare(&Direct::new(&ctx)), || None))
    }

    /// For TC ingress of interfaces that have VIPs but no virtual routers.
    #[classifier]
    pub(crate) fn vipd_fence_in(ctx: TcContext) -> i32 {
        filter_skb(&ctx, Direction::Received)
    }

    /// For TC egress.
    #[classifier]
    pub(crate) fn vipd_fence_out(ctx: TcContext) -> i32 {
        filter_skb(&ctx, Direction::Sent)
    }

    /// Drops an advert that [`vipd_xdp`] has processed.
    #[xdp]
    pub(crate) fn consume_xdp(_: XdpContext) -> u32 {
        xdp_action::XDP_DROP
    }

    /// Drops an advert that [`vipd_xdp_frags`] or [`vipd_xdp_bare`] has processed.
    #[xdp(frags)]
    pub(crate) fn consume_xdp_frags(_: XdpContext) -> u32 {
        xdp_action::XDP_DROP
    }

    /// Drops an advert that [`vipd_tc`] or [`vipd_tc_bare`] has processed.
    #[classifier]
    pub(crate) fn consume_tc(_: TcContext) -> i32 {
        tcx_action_base::TCX_DROP
    }

    #[inline(always)]
    fn xdp_action(ctx: &XdpContext, agent: &ProgramArray, verdict: Verdict) -> u32 {
        match verdict {
            Verdict::Pass => xdp_action::XDP_PASS,
            Verdict::Drop => xdp_action::XDP_DROP,
            Verdict::Consume => {
                // SAFETY: a successful tail call does not return, and no value needs to be dropped.
                unsafe { agent.tail_call(ctx, 0) };
                xdp_action::XDP_PASS
            }
        }
    }

    /// Converts a verdict to the action at the TC hook. `TCX_NEXT` passes the frame to the next
    /// program there.
    #[inline(always)]
    fn tc_action(ctx: &TcContext, verdict: Verdict) -> i32 {
        match verdict {
            Verdict::Pass => tcx_action_base::TCX_NEXT,
            Verdict::Drop => tcx_action_base::TCX_DROP,
            Verdict::Consume => {
                // SAFETY: a successful tail call does not return, and no value needs to be dropped.
                unsafe { AGENT_TC.tail_call(ctx, 0) };
                tcx_action_base::TCX_NEXT
            }
        }
    }

    /// The action to take on a frame.
    enum Verdict {
        /// Pass the frame to the network stack, unchanged.
        Pass,
        /// Drop the frame: a packet to or from a VIP that is fenced or closed.
        Drop,
        /// An advert for a configured virtual router, valid or not: drop the frame if the agent's
        /// process exists or has left its state to a successor. Otherwise pass it, because another
        /// VRRP daemon may have been started.
        Consume,
    }

    /// Filters a sent packet, or a packet received on an interface without virtual routers.
    #[inline(always)]
    fn filter_skb(ctx: &TcContext, direction: Direction) -> i32 {
        if !filter::is_active() || is_other_vlan(ctx) {
            return tcx_action_base::TCX_NEXT;
        }
        let packet = Skb(ctx);
        match packet.network() {
            Some(network) if filter::drops(&packet, ctx.ifindex(), network, direction) => {
                tcx_action_base::TCX_DROP
            }
            _ => tcx_action_base::TCX_NEXT,
        }
    }

    /// Filters a received packet that is not an advert.
    #[inline(always)]
    fn filter_received<F: Frame>(frame: &F, offset: usize, network: Network) -> Verdict {
        let packet = Packet { frame, offset };
        let drops = filter::drops(&packet, frame.ifindex(), network, Direction::Received);
        if drops { Verdict::Drop } else { Verdict::Pass }
    }

    /// Returns the verdict on a frame with this IP packet. Counts adverts, and publishes valid
    /// adverts to user space. `arp` finds the ARP packet in a frame without an IP packet.
    #[inline(always)]
    fn classify<F: Frame>(ctx: &F, ip: Option<Ip>, arp: impl FnOnce() -> Option<usize>) -> Verdict {
        let Some(ip) = ip else {
            return match arp() {
                Some(offset) if filter::is_active() => filter_received(ctx, offset, Network::Arp),
                _ => Verdict::Pass,
            };
        };
        if ip.protocol != ipv4::PROTOCOL_VRRP {
            if !filter::is_active() {
                return Verdict::Pass;
            }
            let network = if ip.version == FAMILY_IPV4 { Network::Ipv4 } else { Network::Ipv6 };
            return filter_received(ctx, ip.offset, network);
        }
        let Some(packet) = Windowed::copy(ctx, ip.offset) else {
            return Verdict::Pass;
        };
        let ifindex = ctx.ifindex();
        let (located, slot) = match claim(&packet, ip.version, ifindex) {
            Ok(found) => found,
            Err(reason) => {
                count_unassigned(reason.counter());
                return Verdict::Pass;
            }
        };
        match check(&packet, &located, &slot) {
            Ok(advert) if advert.is_signed => {
                publish_signed(&packet, located.packet_len(), ifindex, slot.row, &advert);
            }
            Ok(advert) => publish(ifindex, slot.row, &advert),
            Err(reason) => {
                count_discarded(slot.row, reason);
                // Removed by the verifier unless the loader enables debug logging.
                debug!(
                    ctx,
                    "vrid {} on interface {}: advert discarded, counter {}",
                    located.vrid,
                    ifindex,
                    reason as u32
                );
            }
        }
        Verdict::Consume
    }

    /// Finds the virtual router that a packet is addressed to.
    #[inline(always)]
    fn claim(packet: &Windowed, version: u8, ifindex: u32) -> Result<(Located, RouterSlot), NotOurs> {
        let located = locate(packet, version)?;
        let key = RouterKey::new(ifindex, located.vrid, located.family);
        // SAFETY: the memory stays valid while the program runs. User space replaces values as a
        // whole, but the kernel may reuse the memory of a replaced value during the copy. The copy
        // is then a mixture of two values, for this packet only; rows beyond the maps are ignored.
        let Some(slot) = (unsafe { ROUTERS.get(key) }).copied() else {
            return Err(located.unclaimed());
        };
        if located.destination != slot.destination {
            return Err(NotOurs::Destination);
        }
        Ok((located, slot))
    }

    /// Validates an advert, and its source if the router has unicast peers.
    #[inline(always)]
    fn check(packet: &Windowed, located: &Located, slot: &RouterSlot) -> Result<Advert, Counter> {
        let ttl = if slot.unicast == 0 {
            ipv4::VRRP_TTL
        } else {
            let peer = PeerKey { row: slot.row, address: located.source };
            // SAFETY: a single byte, which user space does not change.
            unsafe { PEERS.get(peer) }.copied().ok_or(Counter::PeerErrors)?
        };
        let expected = Expected {
            version: slot.version,
            authentication: slot.authentication,
            password: slot.password,
            ttl,
            empty: slot.empty != 0,
            // SAFETY: user space stores the number of a `Trailer`. A conversion with comparisons
            // would double the number of paths that the verifier follows through the loops of the
            // parser.
            trailer: unsafe { transmute::<u8, Trailer>(slot.trailer) },
        };
        validate(packet, located, &expected)
    }

    /// Counts an unsigned advert, and fences the row if necessary. Stores the arrival time of an
    /// unchanged advert. For any other advert within the rate limit, writes a record to the ring
    /// and wakes the reader, or counts the loss if the ring is full.
    #[inline(always)]
    fn publish(ifindex: u32, row: u32, advert: &Advert) {
        count(row, Counter::AdvertisementRcvd);
        match advert.checksum {
            ChecksumForm::V2 | ChecksumForm::Ipv6 => {}
            ChecksumForm::Rfc5798 => count(row, Counter::ChecksumRfc5798Rcvd),
            ChecksumForm::Rfc9568 => count(row, Counter::ChecksumRfc9568Rcvd),
        }
        if !advert.link_local {
            count(row, Counter::NotLinkLocal);
        }
        if advert.priority == 0 {
            count(row, Counter::PriorityZeroRcvd);
        }
        // SAFETY: the helper has no preconditions.
        let arrival = unsafe { bpf_ktime_get_ns() };
        let fenced = fence::check(row, advert.priority, arrival);
        if fenced == Some(Reason::Expired) {
            fence::fence(row);
        }
        let (last_unchanged, conforms) = match compare(row, advert, arrival) {
            Novelty::Unchanged => return,
            Novelty::PreviouslySteady { last_unchanged, bucket } => (last_unchanged, charge(bucket, arrival)),
            Novelty::New { last_unchanged } => (last_unchanged, charge_sender(row, advert, arrival)),
        };
        if !conforms {
            count_discarded(row, Counter::RateLimited);
            return;
        }
        let Some(mut entry) = ADVERTS.reserve::<AdvertRecord>(0) else {
            count_lost(row);
            return;
        };
        entry.write(record(arrival, ifindex, row, advert, last_unchanged));
        if fenced == Some(Reason::Outranked) {
            fence::fence(row);
        }
        // Committing is a full barrier (xchg in `bpf_ringbuf_commit`). The reader checks the ring
        // after setting ASLEEP, so either it finds this record, or `wake` finds ASLEEP set.
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
        wake();
    }

    /// Returns the record of an advert that arrived at `arrival`. `last_unchanged` is 0 for a
    /// signed advert, which does not take the fast path.
    #[inline(always)]
    pub(crate) fn record(
        arrival: u64,
        ifindex: u32,
        row: u32,
        advert: &Advert,
        last_unchanged: u64,
    ) -> AdvertRecord {
        AdvertRecord {
            arrival,
            addresses: advert.addresses,
            row,
            ifindex,
            source: advert.source,
            interval: advert.interval,
            vrid: advert.vrid,
            family: advert.family,
            version: advert.version,
            priority: advert.priority,
            count: advert.count,
            checksum: advert.checksum as u8,
            last_unchanged,
        }
    }

    /// Never called: the verifier would reject an endless loop in a reachable path.
    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo) -> ! {
        loop {}
    }

    /// The kernel provides some helpers only to GPL-compatible programs.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

/// Empty in the host build of the workspace.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

//! vipd's program for the XDP hooks and for TC ingress.
//!
//! The entry points convert a verdict to the action of their hook. The parser,
//! `vipd_common::parse`, is shared with user space:
//!
//! ```text
//!  not VRRP, or no configured virtual router         ─► pass, untouched
//!  invalid advert ─► counted by reason               ─► drop
//!  valid advert   ─► counted, passed to user space   ─► drop
//!  packet to a VIP with Accept_Mode false ─► counted ─► drop
//! ```
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
mod accept;
#[cfg(target_arch = "bpf")]
mod cursor;
#[cfg(target_arch = "bpf")]
mod fast_path;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod limit;
#[cfg(target_arch = "bpf")]
mod maps;

#[cfg(target_arch = "bpf")]
#[expect(clippy::needless_pass_by_value, reason = "the signature that aya's macros call")]
mod program {
    use aya_ebpf::bindings::{BPF_RB_NO_WAKEUP, tcx_action_base, xdp_action};
    use aya_ebpf::helpers::bpf_ktime_get_ns;
    use aya_ebpf::macros::{classifier, xdp};
    use aya_ebpf::programs::{TcContext, XdpContext};
    use aya_log_ebpf::debug;
    use vipd_common::counters::Counter;
    use vipd_common::parse::{Advert, ChecksumForm, Expected, Located, NotOurs, locate, validate};
    use vipd_common::records::{AdvertRecord, PeerKey, RouterKey, RouterSlot};
    use vipd_common::wire::ip::{self, Ip};
    use vipd_common::wire::{ethernet, ipv4};

    use crate::accept::is_closed;
    use crate::cursor::{Direct, Windowed};
    use crate::fast_path::{Novelty, compare, wake};
    use crate::frame::{Frame, is_other_vlan, lacks_ethernet_header, pull_headers};
    use crate::limit::{charge, charge_sender};
    use crate::maps::{ADVERTS, PEERS, ROUTERS, count, count_discarded, count_lost, count_unassigned};

    /// For drivers that support linear buffers only.
    #[xdp]
    pub(crate) fn vipd_xdp(ctx: XdpContext) -> u32 {
        xdp_action(classify(&ctx, ethernet::ip(&Direct::new(&ctx))))
    }

    /// For drivers that support multi-buffer frames (Linux 5.18), and for the generic hook.
    #[xdp(frags)]
    pub(crate) fn vipd_xdp_frags(ctx: XdpContext) -> u32 {
        xdp_action(classify(&ctx, ethernet::ip(&Direct::new(&ctx))))
    }

    /// For interfaces without a link-layer header: WireGuard, GRE, tun.
    #[xdp(frags)]
    pub(crate) fn vipd_xdp_bare(ctx: XdpContext) -> u32 {
        xdp_action(classify(&ctx, ip::bare(&Direct::new(&ctx))))
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
        tc_action(classify(&ctx, ip))
    }

    /// For TC ingress of interfaces without a link-layer header.
    #[classifier]
    pub(crate) fn vipd_tc_bare(ctx: TcContext) -> i32 {
        pull_headers(&ctx);
        tc_action(classify(&ctx, ip::bare(&Direct::new(&ctx))))
    }

    #[inline(always)]
    fn xdp_action(verdict: Verdict) -> u32 {
        match verdict {
            Verdict::Pass => xdp_action::XDP_PASS,
            Verdict::Drop => xdp_action::XDP_DROP,
        }
    }

    /// Converts a verdict to the action at the TC hook. `TCX_NEXT` passes the frame to the next
    /// program there.
    #[inline(always)]
    fn tc_action(verdict: Verdict) -> i32 {
        match verdict {
            Verdict::Pass => tcx_action_base::TCX_NEXT,
            Verdict::Drop => tcx_action_base::TCX_DROP,
        }
    }

    /// The action to take on a frame.
    enum Verdict {
        /// Pass the frame to the network stack, unchanged.
        Pass,
        /// Drop the frame: an advert for a configured virtual router, valid or not, or a packet to
        /// a VIP with Accept_Mode false.
        Drop,
    }

    /// Classifies and counts the frame of an IP packet. Publishes the packet to user space if it is
    /// a valid advert.
    #[inline(always)]
    fn classify<F: Frame>(ctx: &F, ip: Option<Ip>) -> Verdict {
        let Some(ip) = ip else {
            return Verdict::Pass;
        };
        if ip.protocol != ipv4::PROTOCOL_VRRP {
            return if is_closed(ctx, &ip) { Verdict::Drop } else { Verdict::Pass };
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
        Verdict::Drop
    }

    /// Finds the virtual router that a packet is addressed to.
    #[inline(always)]
    fn claim(packet: &Windowed, version: u8, ifindex: u32) -> Result<(Located, RouterSlot), NotOurs> {
        let located = locate(packet, version)?;
        let key = RouterKey::new(ifindex, located.vrid, located.family);
        // SAFETY: the value is copied in one read; user space only replaces it as a whole.
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
        };
        validate(packet, located, &expected)
    }

    /// Counts the advert. If it is unchanged, stores its arrival time. Otherwise, if it is within
    /// the rate limit, writes a record to the ring and wakes the reader, or counts the loss if the
    /// ring is full.
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
        entry.write(AdvertRecord {
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
        });
        // Committing is a full barrier (xchg in `bpf_ringbuf_commit`). The reader checks the ring
        // after setting ASLEEP, so either it finds this record, or `wake` finds ASLEEP set.
        entry.submit(u64::from(BPF_RB_NO_WAKEUP));
        wake();
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

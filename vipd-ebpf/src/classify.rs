//! What a frame is.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use vipd_common::counters::Counter;
use vipd_common::parse::{Advert, Expected, Foreign, Located, judge, locate};
use vipd_common::records::{PeerKey, RouterKey, RouterSlot};
use vipd_common::wire::{ethernet, ipv4};

use crate::cursor::{Direct, Windowed};
use crate::filter::is_closed;
use crate::maps::{FILTERING, PEERS, ROUTERS, count_discarded, count_foreign};
use crate::publish::publish;

/// Whose the frame is.
pub(crate) enum Verdict {
    /// Not ours: to be passed on untouched.
    Foreign,
    /// For a configured virtual router: handed over or discarded, in either case finished with.
    Ours,
}

/// Decides, counts, and hands a valid advert over.
#[inline(always)]
pub(crate) fn classify(ctx: &XdpContext) -> Verdict {
    let Some(ip) = ethernet::ip(&Direct::new(ctx)) else {
        return Verdict::Foreign;
    };
    if ip.protocol != ipv4::PROTOCOL_VRRP {
        // Removed by the verifier unless the loader asks for it.
        if FILTERING.load() != 0 && is_closed(ctx, &ip) {
            return Verdict::Ours;
        }
        return Verdict::Foreign;
    }
    let Some(packet) = Windowed::copy(ctx, ip.offset) else {
        return Verdict::Foreign;
    };
    let ifindex = ctx.ingress_ifindex() as u32;
    let (located, slot) = match claim(&packet, ip.version, ifindex) {
        Ok(found) => found,
        Err(foreign) => {
            count_foreign(foreign.counter());
            return Verdict::Foreign;
        }
    };
    match check(&packet, &located, &slot) {
        Ok(advert) => publish(ifindex, slot.row, &advert),
        Err(reason) => {
            count_discarded(slot.row, reason);
            // Removed by the verifier unless the loader asks for debug logging.
            debug!(
                ctx,
                "vrid {} on interface {}: advert discarded, counter {}", located.vrid, ifindex, reason as u32
            );
        }
    }
    Verdict::Ours
}

/// The virtual router that a packet is for.
#[inline(always)]
fn claim(packet: &Windowed, version: u8, ifindex: u32) -> Result<(Located, RouterSlot), Foreign> {
    let located = locate(packet, version)?;
    let key = RouterKey::new(ifindex, located.vrid, located.family);
    // SAFETY: the value is read once and copied; user space replaces it as a whole.
    let Some(slot) = (unsafe { ROUTERS.get(key) }).copied() else {
        return Err(located.unclaimed());
    };
    if located.destination != slot.destination {
        return Err(Foreign::Destination);
    }
    Ok((located, slot))
}

/// Whether it is a valid advert, of a peer where peers are configured.
#[inline(always)]
fn check(packet: &Windowed, located: &Located, slot: &RouterSlot) -> Result<Advert, Counter> {
    let ttl = if slot.unicast == 0 {
        ipv4::VRRP_TTL
    } else {
        let peer = PeerKey { row: slot.row, address: located.source };
        // SAFETY: one byte, which user space writes once.
        unsafe { PEERS.get(peer) }.copied().ok_or(Counter::PeerErrors)?
    };
    let expected = Expected {
        version: slot.version,
        authentication: slot.authentication,
        password: slot.password,
        ttl,
        empty: slot.empty != 0,
    };
    judge(packet, located, &expected)
}

//! What a frame is.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use vipd_common::counters::Counter;
use vipd_common::parse::{judge, locate};
use vipd_common::records::RouterKey;
use vipd_common::wire::ethernet;

use crate::cursor::{Direct, Windowed};
use crate::maps::{ROUTERS, count, count_foreign};
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
    let Some(offset) = ethernet::vrrp_offset(&Direct::new(ctx)) else {
        return Verdict::Foreign;
    };
    let Some(packet) = Windowed::copy(ctx, offset) else {
        return Verdict::Foreign;
    };
    let located = match locate(&packet) {
        Ok(located) => located,
        Err(foreign) => {
            count_foreign(foreign.counter());
            return Verdict::Foreign;
        }
    };
    let ifindex = ctx.ingress_ifindex() as u32;
    // SAFETY: the value is read once and copied; user space replaces it as a whole.
    let Some(slot) = (unsafe { ROUTERS.get(RouterKey::ipv4(ifindex, located.vrid)) }).copied() else {
        count_foreign(Counter::VridErrors);
        return Verdict::Foreign;
    };
    match judge(&packet, &located, slot.version) {
        Ok(advert) => publish(ifindex, slot.row, &advert),
        Err(reason) => {
            count(slot.row, reason);
            // Removed by the verifier unless the loader asks for debug logging.
            debug!(
                ctx,
                "vrid {} on interface {}: advert discarded, counter {}", located.vrid, ifindex, reason as u32
            );
        }
    }
    Verdict::Ours
}

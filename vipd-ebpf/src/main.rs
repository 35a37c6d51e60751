//! vipd's program for the XDP hooks and for TC ingress.
//!
//! The entry points convert a verdict to the action of their hook. The parser, `vipd_common::parse`, is
//! shared with user space:
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
    expect(clippy::inline_always, reason = "a call uses stack, and the verifier loses bounds"),
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
mod classify;
#[cfg(target_arch = "bpf")]
mod cursor;
#[cfg(target_arch = "bpf")]
mod frame;
#[cfg(target_arch = "bpf")]
mod limit;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod publish;

#[cfg(target_arch = "bpf")]
#[expect(clippy::needless_pass_by_value, reason = "the signature that aya's macros call")]
mod entry {
    use aya_ebpf::bindings::{tcx_action_base, xdp_action};
    use aya_ebpf::macros::{classifier, xdp};
    use aya_ebpf::programs::{TcContext, XdpContext};
    use vipd_common::wire::{ethernet, ip};

    use crate::classify::{Verdict, classify};
    use crate::cursor::Direct;
    use crate::frame::{is_other_vlan, lacks_ethernet_header, pull_headers};

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

    /// Passing leaves the decision to the next program of the hook.
    #[inline(always)]
    fn tc_action(verdict: Verdict) -> i32 {
        match verdict {
            Verdict::Pass => tcx_action_base::TCX_NEXT,
            Verdict::Drop => tcx_action_base::TCX_DROP,
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

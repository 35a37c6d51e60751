//! vipd's XDP program.
//!
//! The entry points convert a verdict to an action. The parser, `vipd_common::parse`, is shared with user
//! space:
//!
//! ```text
//!  not VRRP, or no configured virtual router        ─► XDP_PASS, untouched
//!  invalid advert ─► counted by reason              ─► XDP_DROP
//!  valid advert   ─► counted, passed to user space  ─► XDP_DROP
//!  packet to a VIP with Accept_Mode false ─► counted ─► XDP_DROP
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
mod limit;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod publish;

#[cfg(target_arch = "bpf")]
#[expect(clippy::needless_pass_by_value, reason = "the signature that aya's macro calls")]
mod entry {
    use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
    use aya_ebpf::macros::xdp;
    use aya_ebpf::programs::XdpContext;
    use vipd_common::wire::ip::Ip;
    use vipd_common::wire::{ethernet, ip};

    use crate::classify::{Verdict, classify};
    use crate::cursor::Direct;

    /// For drivers that support linear buffers only.
    #[xdp]
    pub(crate) fn vipd_xdp(ctx: XdpContext) -> u32 {
        action(&ctx, ethernet::ip(&Direct::new(&ctx)))
    }

    /// For drivers that support multi-buffer frames (Linux 5.18).
    #[xdp(frags)]
    pub(crate) fn vipd_xdp_frags(ctx: XdpContext) -> u32 {
        action(&ctx, ethernet::ip(&Direct::new(&ctx)))
    }

    /// For interfaces without a link-layer header: WireGuard, GRE, tun.
    #[xdp(frags)]
    pub(crate) fn vipd_xdp_bare(ctx: XdpContext) -> u32 {
        action(&ctx, ip::bare(&Direct::new(&ctx)))
    }

    #[inline(always)]
    fn action(ctx: &XdpContext, ip: Option<Ip>) -> u32 {
        match classify(ctx, ip) {
            Verdict::Pass => XDP_PASS,
            Verdict::Drop => XDP_DROP,
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

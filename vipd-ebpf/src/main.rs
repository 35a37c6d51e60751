//! vipd's XDP program.
//!
//! The entry points do nothing but map a verdict to an action. What a frame is, is decided by
//! `vipd_common::parse`, the parser that user space runs too:
//!
//! ```text
//!  not VRRP, or not for a configured virtual router ─► XDP_PASS, untouched
//!  ours, but wrong ─► counted with its reason        ─► XDP_DROP
//!  ours and valid  ─► counted, handed to user space  ─► XDP_DROP (consumed)
//!  to a virtual address that accepts nothing ─► counted ─► XDP_DROP (where Accept_Mode is false)
//! ```
#![cfg_attr(target_arch = "bpf", no_std, no_main, feature(asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    expect(clippy::inline_always, reason = "a call costs the program stack and the verifier its bounds"),
    expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        clippy::cast_sign_loss,
        reason = "the target has 64-bit pointers, and lengths and offsets of a frame fit into any integer"
    )
)]

#[cfg(target_arch = "bpf")]
mod classify;
#[cfg(target_arch = "bpf")]
mod cursor;
#[cfg(target_arch = "bpf")]
mod filter;
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

    use crate::classify::{Verdict, classify};

    /// For drivers that hand over a frame in one linear buffer.
    #[xdp]
    pub(crate) fn vipd_xdp(ctx: XdpContext) -> u32 {
        action(&ctx)
    }

    /// For drivers that may hand over a frame in several buffers (Linux 5.18).
    #[xdp(frags)]
    pub(crate) fn vipd_xdp_frags(ctx: XdpContext) -> u32 {
        action(&ctx)
    }

    #[inline(always)]
    fn action(ctx: &XdpContext) -> u32 {
        match classify(ctx) {
            Verdict::Foreign => XDP_PASS,
            Verdict::Ours => XDP_DROP,
        }
    }

    /// The program has no panicking path; were there one, the verifier would refuse the endless loop.
    #[panic_handler]
    fn panic(_info: &core::panic::PanicInfo) -> ! {
        loop {}
    }

    /// The kernel reads the licence to decide which helpers may be called.
    #[unsafe(link_section = "license")]
    #[unsafe(no_mangle)]
    static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
}

/// The host build of the workspace has nothing to do here.
#[cfg(not(target_arch = "bpf"))]
fn main() {}

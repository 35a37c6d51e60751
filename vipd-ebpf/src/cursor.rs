//! Cursors in the kernel: [`Direct`] reads a frame in place, and [`Windowed`] reads a copy.

use core::arch::asm;

use vipd_common::parse::Cursor;
use vipd_common::records::AdvertRecord;

use crate::frame::Frame;
use crate::maps::{WINDOW, WINDOW_LEN, Window};

/// The frame in place, up to the end of its first buffer. Used for constant offsets.
pub(crate) struct Direct {
    start: usize,
    end: usize,
}

impl Direct {
    #[inline(always)]
    pub(crate) fn new<F: Frame>(ctx: &F) -> Self {
        Self { start: ctx.start(), end: ctx.end() }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if self.start + offset + N > self.end {
            return None;
        }
        // SAFETY: the comparison above ensures that the bytes lie between start and end.
        Some(unsafe { *((self.start + offset) as *const [u8; N]) })
    }
}

impl Cursor for Direct {
    #[inline(always)]
    fn len(&self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn byte(&self, offset: usize) -> Option<u8> {
        self.load::<1>(offset).map(|[byte]| byte)
    }

    #[inline(always)]
    fn be16(&self, offset: usize) -> Option<u16> {
        self.load(offset).map(u16::from_be_bytes)
    }

    #[inline(always)]
    fn be32(&self, offset: usize) -> Option<u32> {
        self.load(offset).map(u32::from_be_bytes)
    }

    #[inline(always)]
    fn be32_before(&self, offset: usize, end: usize) -> u32 {
        if offset < end { self.be32(offset).unwrap_or(0) } else { 0 }
    }
}

/// A copy of the packet in this CPU's window, starting at the IP header.
///
/// The IHL and the address count make the parser's offsets variable. In a map value, a mask is
/// enough to bound an offset for the verifier; with packet pointers, each access would need a
/// comparison. The copy also covers frames that span several buffers.
pub(crate) struct Windowed {
    window: *mut Window,
    bytes: *const u8,
    len: usize,
}

impl Windowed {
    /// Copies the frame, starting at `offset`, up to the length of the window.
    #[inline(always)]
    pub(crate) fn copy<F: Frame>(ctx: &F, offset: usize) -> Option<Self> {
        let window = WINDOW.get_ptr_mut(0)?;
        // SAFETY: the pointer refers to the map's value, so the field is in bounds.
        let bytes = unsafe { &raw mut (*window).packet }.cast::<u8>();
        let frame = ctx.len();
        if frame <= offset {
            return None;
        }
        let available = frame - offset;
        let len = if available > WINDOW_LEN { WINDOW_LEN } else { available };
        // The mask bounds the length to 1..=WINDOW_LEN for the verifier.
        let len = (opaque(len - 1) & (WINDOW_LEN - 1)) + 1;
        // SAFETY: `len` is at most WINDOW_LEN, the capacity of the window's packet.
        let loaded = unsafe { ctx.load(offset, bytes, len) };
        loaded.then_some(Self { window, bytes, len })
    }

    /// Returns the packet that this CPU has copied before.
    #[inline(always)]
    pub(crate) fn copied(len: usize) -> Option<Self> {
        let window = WINDOW.get_ptr_mut(0)?;
        // SAFETY: the pointer refers to the map's value, so the field is in bounds.
        let bytes = unsafe { &raw mut (*window).packet }.cast::<u8>();
        Some(Self { window, bytes, len })
    }

    /// Returns this CPU's window.
    #[inline(always)]
    pub(crate) const fn window(&self) -> *mut Window {
        self.window
    }

    /// Stores a record before the packet. Returns the record and the first `length` bytes of the
    /// packet. `length` is at least 1.
    #[inline(always)]
    pub(crate) fn with_record(&self, record: AdvertRecord, length: usize) -> &[u8] {
        let length = (opaque(length - 1) & (WINDOW_LEN - 1)) + 1;
        // SAFETY: the pointer refers to the map's value, which only this run of the program uses on
        // this CPU.
        unsafe { (*self.window).record = record };
        let start = self.window.cast::<u8>();
        // SAFETY: the packet directly follows the record, and `length` is at most its capacity.
        unsafe { core::slice::from_raw_parts(start, size_of::<AdvertRecord>() + length) }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset + N > self.len { None } else { Some(self.load_masked(offset)) }
    }

    /// Reads `N` bytes, where `N` is a power of two. First rounds the offset down to a multiple of
    /// `N` inside the window, so that the read is a single instruction.
    #[inline(always)]
    fn load_masked<const N: usize>(&self, offset: usize) -> [u8; N] {
        let offset = opaque(offset) & (WINDOW_LEN - N);
        // SAFETY: `offset` is at most WINDOW_LEN - N, and `bytes` points to the window's packet,
        // which is WINDOW_LEN bytes long.
        let bytes = unsafe { self.bytes.add(offset) };
        // SAFETY: the N bytes are inside the window, which the kernel zeroed when it created the
        // map.
        unsafe { *bytes.cast::<[u8; N]>() }
    }
}

impl Cursor for Windowed {
    #[inline(always)]
    fn len(&self) -> usize {
        self.len
    }

    #[inline(always)]
    fn byte(&self, offset: usize) -> Option<u8> {
        self.load::<1>(offset).map(|[byte]| byte)
    }

    #[inline(always)]
    fn be16(&self, offset: usize) -> Option<u16> {
        self.load(offset).map(u16::from_be_bytes)
    }

    #[inline(always)]
    fn be32(&self, offset: usize) -> Option<u32> {
        self.load(offset).map(u32::from_be_bytes)
    }

    #[inline(always)]
    fn be32_before(&self, offset: usize, end: usize) -> u32 {
        // The mask has all bits set if `offset < end`. It is computed from the sign of the
        // difference, because a comparison would become a branch and give the verifier two paths.
        let mask = (opaque(offset.wrapping_sub(end)) as i64 >> 63) as u32;
        u32::from_be_bytes(self.load_masked(offset)) & mask
    }
}

/// Hides a value's range from the compiler, which would otherwise drop the mask that the verifier
/// needs.
///
/// The assembly moves a register to itself, but the compiler must assume that the assembly changes
/// the register and memory. (With empty assembly, the next instruction would have two source lines
/// in the BTF, which the kernel rejects.) `core::hint::black_box` would write the value to the
/// stack. If the assembly did not seem to change memory, the compiler would move all reads to the
/// start of the program, and their results would not fit in ten registers and 512 bytes of stack.
#[inline(always)]
fn opaque(mut value: usize) -> usize {
    // SAFETY: the register keeps its value.
    unsafe { asm!("{0} = {0}", inout(reg) value, options(nostack, preserves_flags)) };
    value
}

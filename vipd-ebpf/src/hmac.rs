//! Verifies the HMAC of a signed advert.
//!
//! The functions are global functions: the verifier checks each of them once, for any arguments,
//! and not for each call (Linux 5.6). If the blocks were hashed in a loop of the program, the
//! verifier would follow the 64 rounds of each of up to 65 blocks. Of these functions, only
//! [`vipd_verify`] calls the others, because a program and all functions on the way to the deepest
//! call share 512 bytes of stack, of which the parser uses 344.

use vipd_common::address::FAMILY_IPV6;
use vipd_common::hmac::{BLOCK_WORDS, Covered, KeyState, is_fresh};
use vipd_common::parse::Cursor as _;
use vipd_common::records::{AdvertRecord, HmacKey};
use vipd_common::wire::{ipv6, trailer, vrrp};

use crate::cursor::Windowed;
use crate::limit::charge_blocks;
use crate::maps::{CLOCK, HMAC_KEYS, SIGNERS, WINDOW_LEN};

/// The sender has a slot in `SIGNERS`.
pub(crate) const KNOWN: u32 = 1;
/// The lease has expired.
pub(crate) const EXPIRED: u32 = 2;

const NANOSECONDS: u64 = 1_000_000_000;
/// Largest number of blocks that the inner hash of an advert processes.
const MAX_BLOCKS: usize = Covered { message: 0, len: vrrp::MAX_LEN }.blocks();

/// Returns 1 if the HMAC of the advert in this CPU's window is correct and the advert's time is
/// accepted ([`SignerRow::window`](vipd_common::records::SignerRow::window)), otherwise 0. `length`
/// is the length of the packet in bytes; the packet must be valid and preceded by its record.
/// `flags` is any combination of [`KNOWN`] and [`EXPIRED`]. Also returns 0 if too many blocks have
/// been hashed recently.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn vipd_verify(length: u32, flags: u32) -> u32 {
    let blocks = vipd_begin(length, flags);
    if blocks == 0 {
        return 0;
    }
    for block in 0..MAX_BLOCKS as u32 {
        if block >= blocks {
            break;
        }
        vipd_cover(length, block);
        vipd_compress();
    }
    if vipd_outer(length) == 0 {
        return 0;
    }
    vipd_compress();
    vipd_compare(length)
}

/// Returns the number of blocks to hash; 0 if the advert cannot be verified.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn vipd_begin(length: u32, flags: u32) -> u32 {
    begin(length as usize, flags).unwrap_or(0)
}

/// Copies a block of the data that the HMAC covers to the hash in this CPU's window.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn vipd_cover(length: u32, block: u32) -> u32 {
    cover(length as usize, block as usize).map_or(0, |()| 1)
}

/// Compresses the block in this CPU's window.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn vipd_compress() -> u32 {
    let Some(packet) = Windowed::copied(WINDOW_LEN) else { return 0 };
    // SAFETY: only this run of the program uses the window on this CPU.
    unsafe { (*packet.window()).hash.compress() };
    0
}

/// Begins the outer hash with the result of the inner hash. Returns 0 if the key has been removed.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn vipd_outer(length: u32) -> u32 {
    outer(length as usize).map_or(0, |()| 1)
}

/// Returns 1 if the HMAC in the trailer is the result of the outer hash, otherwise 0.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn vipd_compare(length: u32) -> u32 {
    u32::from(compare(length as usize) == Some(true))
}

#[inline(always)]
fn begin(length: usize, flags: u32) -> Option<u32> {
    let packet = Windowed::copied(WINDOW_LEN)?;
    let AdvertRecord { arrival, row, .. } = record(&packet);
    let trailer = length - trailer::LEN;
    let signers = SIGNERS.get_ptr(row)?;
    // SAFETY: the pointer refers to the map's value, so the field is in bounds.
    let window = unsafe { &raw const (*signers).window };
    // SAFETY: an aligned word of a map, which user space writes with single stores.
    let window = unsafe { window.read_volatile() };
    // SAFETY: as above.
    let offset = unsafe { CLOCK.get_ptr(0)?.read_volatile() };
    let seconds = arrival.wrapping_add(offset) / NANOSECONDS;
    let sequence = u64::from(packet.be32(trailer + trailer::SEQUENCE)?) << 32;
    if !is_fresh(sequence, seconds as u32, window as u32) {
        return None;
    }
    let key = key(&packet, trailer, row)?;
    let blocks = covered(&packet, trailer)?.blocks();
    if !charge_blocks(flags & KNOWN != 0, flags & EXPIRED != 0, blocks as u64 + 1, arrival) {
        return None;
    }
    // SAFETY: the value of a map. If user space replaces it during the verification, the HMAC is
    // wrong, as with another key.
    let inner = unsafe { (*key).inner };
    // SAFETY: only this run of the program uses the window on this CPU.
    unsafe { (*packet.window()).hash.state = inner };
    Some(blocks as u32)
}

#[inline(always)]
fn cover(length: usize, block: usize) -> Option<()> {
    let packet = Windowed::copied(WINDOW_LEN)?;
    let covered = covered(&packet, length - trailer::LEN)?;
    // SAFETY: only this run of the program uses the window on this CPU.
    let words = unsafe { &mut (*packet.window()).hash.words };
    for (at, word) in words.iter_mut().enumerate() {
        *word = covered.word(&packet, block * BLOCK_WORDS + at);
    }
    if block == 0 {
        let AdvertRecord { source, vrid, family, version, .. } = record(&packet);
        words[0] = u32::from_be_bytes([family, version, vrid, 0]);
        for (word, source) in words[1..Covered::HEADER].iter_mut().zip(source) {
            *word = u32::from_be(source);
        }
    }
    Some(())
}

#[inline(always)]
fn outer(length: usize) -> Option<()> {
    let packet = Windowed::copied(WINDOW_LEN)?;
    let trailer = length - trailer::LEN;
    let key = key(&packet, trailer, record(&packet).row)?;
    // SAFETY: only this run of the program uses the window on this CPU.
    let hash = unsafe { &mut (*packet.window()).hash };
    // SAFETY: the value of a map, as in `begin`.
    hash.begin_outer(unsafe { &(*key).outer });
    Some(())
}

#[inline(always)]
fn compare(length: usize) -> Option<bool> {
    let packet = Windowed::copied(WINDOW_LEN)?;
    let trailer = length - trailer::LEN;
    // SAFETY: only this run of the program uses the window on this CPU.
    let hash = unsafe { &(*packet.window()).hash };
    let mut difference = 0;
    for word in 0..trailer::HMAC_LEN / 4 {
        difference |= packet.be32(trailer + trailer::HMAC + word * 4)? ^ hash.state[word];
    }
    Some(difference == 0)
}

/// Returns the record before the packet.
#[inline(always)]
fn record(packet: &Windowed) -> AdvertRecord {
    // SAFETY: only this run of the program uses the window on this CPU.
    unsafe { (*packet.window()).record }
}

/// Returns the data that the HMAC covers. `trailer` is the offset of the trailer in the packet.
#[inline(always)]
fn covered(packet: &Windowed, trailer: usize) -> Option<Covered> {
    let header = if record(packet).family == FAMILY_IPV6 {
        ipv6::HEADER_LEN
    } else {
        usize::from(packet.byte(0)? & 0x0f) * 4
    };
    Some(Covered { message: header, len: trailer - header })
}

/// Returns the key with which the advert is signed; `None` if the row has no such key.
#[inline(always)]
fn key(packet: &Windowed, trailer: usize, row: u32) -> Option<*const KeyState> {
    let key_id = u32::from(packet.byte(trailer + trailer::KEY_ID)?);
    HMAC_KEYS.get_ptr(HmacKey { row, key_id })
}

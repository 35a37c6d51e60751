//! HMAC-SHA-256 on precomputed states of a key.

use alloc::sync::Arc;
use core::slice;

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;
use vipd_common::hmac::{BLOCK, INITIAL, KeyState, PseudoHeader, State};
use vipd_common::wire::trailer::{HMAC_LEN, LEN};
use vipd_common::wire::vrrp;
use zeroize::Zeroize as _;

/// A key and its ID. All clones share the hash states of the key, whose memory is cleared when the
/// last clone is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    id: u8,
    state: Arc<Cleared>,
}

impl Key {
    /// Returns the key with this ID (1 to 255). `key` has at most [`MAX_KEY`](super::MAX_KEY)
    /// bytes; further bytes are ignored.
    pub fn new(id: u8, key: &[u8]) -> Self {
        Self::with_states(id, |KeyState { inner, outer }| {
            for (state, pad) in [(inner, 0x36), (outer, 0x5c)] {
                let mut block = [pad; BLOCK];
                block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
                compress(state, &block);
                block.zeroize();
            }
        })
    }

    /// Returns the key with this ID (1 to 255) whose hash states `write` produces from the
    /// [initial state](INITIAL) of SHA-256. The states are written in place, because a value that
    /// is moved leaves a copy on the stack.
    pub fn with_states(id: u8, write: impl FnOnce(&mut KeyState)) -> Self {
        let mut state = Arc::new(Cleared(KeyState { inner: INITIAL, outer: INITIAL }));
        let Some(Cleared(states)) = Arc::get_mut(&mut state) else {
            unreachable!("nothing shares the new states");
        };
        write(states);
        Self { id, state }
    }

    /// Returns the ID, 1 to 255.
    pub fn id(&self) -> u8 {
        self.id
    }

    /// Returns the hash states, which suffice to sign: as secret as the key itself.
    pub fn state(&self) -> &KeyState {
        &self.state.0
    }
}

/// Hash states whose memory is cleared when they are dropped.
#[derive(Debug, PartialEq, Eq)]
struct Cleared(KeyState);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.inner.zeroize();
        self.0.outer.zeroize();
    }
}

/// Returns the truncated HMAC of an advert. The checksum of `message` and the HMAC of `trailer`
/// count as zero.
pub(super) fn tag(
    key: &KeyState,
    header: &PseudoHeader,
    message: &[u8],
    trailer: &[u8; LEN],
) -> [u8; HMAC_LEN] {
    let mut inner = Hash::new(&key.inner);
    inner.update(&header.encode());
    let (start, rest) = message.split_at_checked(vrrp::HEADER_LEN).unwrap_or((message, &[]));
    inner.update(start.get(..vrrp::CHECKSUM).unwrap_or(start));
    inner.update(&[0; vrrp::HEADER_LEN - vrrp::CHECKSUM]);
    inner.update(rest);
    inner.update(&trailer[..LEN - HMAC_LEN]);
    inner.update(&[0; HMAC_LEN]);
    let mut outer = Hash::new(&key.outer);
    outer.update(&bytes(inner.finish()));
    let digest = bytes(outer.finish());
    let mut tag = [0; HMAC_LEN];
    tag.copy_from_slice(&digest[..HMAC_LEN]);
    tag
}

/// A hash whose first block, which is derived from the key, has already been processed.
struct Hash {
    state: State,
    block: [u8; BLOCK],
    /// Number of bytes at the start of `block` that are waiting to be hashed; less than [`BLOCK`].
    filled: usize,
    /// Number of bytes passed to the hash, including those waiting in `block`.
    length: u64,
}

impl Hash {
    fn new(state: &State) -> Self {
        Self { state: *state, block: [0; BLOCK], filled: 0, length: BLOCK as u64 }
    }

    fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = &mut self.block[self.filled..];
            let (part, rest) = bytes.split_at(room.len().min(bytes.len()));
            room[..part.len()].copy_from_slice(part);
            self.filled += part.len();
            bytes = rest;
            if self.filled == BLOCK {
                compress(&mut self.state, &self.block);
                self.filled = 0;
            }
        }
    }

    /// Appends the padding (FIPS 180-4 section 5.1.1) and returns the state, which replaces the
    /// key's state in `self`.
    fn finish(&mut self) -> State {
        let bits = (self.length * 8).to_be_bytes();
        self.update(&[0x80]);
        if self.filled > BLOCK - bits.len() {
            self.update(&[0; BLOCK][self.filled..]);
        }
        self.block[self.filled..BLOCK - bits.len()].fill(0);
        self.block[BLOCK - bits.len()..].copy_from_slice(&bits);
        compress(&mut self.state, &self.block);
        self.state
    }
}

fn compress(state: &mut State, block: &[u8; BLOCK]) {
    compress256(state, slice::from_ref(GenericArray::from_slice(block)));
}

fn bytes(state: State) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    bytes
}

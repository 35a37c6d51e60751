//! HMAC-SHA-256 on precomputed states of a key.

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;
use vipd_common::hmac::{BLOCK, INITIAL, KeyState, PseudoHeader, State};
use vipd_common::wire::trailer::{HMAC_LEN, LEN};
use vipd_common::wire::vrrp;
use zeroize::Zeroize as _;

/// Returns the states of a key of at most [`MAX_KEY`](super::MAX_KEY) bytes. Ignores further bytes.
pub fn key_state(key: &[u8]) -> KeyState {
    let state = |pad: u8| {
        let mut block = [pad; BLOCK];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        let mut state = INITIAL;
        compress(&mut state, &block);
        block.zeroize();
        state
    };
    KeyState { inner: state(0x36), outer: state(0x5c) }
}

/// Returns the truncated HMAC of an advert. The checksum of `message` and the HMAC of `trailer`
/// count as zero.
pub(super) fn tag(
    key: &KeyState,
    header: &PseudoHeader,
    message: &[u8],
    trailer: &[u8; LEN],
) -> [u8; HMAC_LEN] {
    let mut inner = Hash::new(key.inner);
    inner.update(&header.encode());
    let (start, rest) = message.split_at_checked(vrrp::HEADER_LEN).unwrap_or((message, &[]));
    inner.update(start.get(..vrrp::CHECKSUM).unwrap_or(start));
    inner.update(&[0; vrrp::HEADER_LEN - vrrp::CHECKSUM]);
    inner.update(rest);
    inner.update(&trailer[..LEN - HMAC_LEN]);
    inner.update(&[0; HMAC_LEN]);
    let mut outer = Hash::new(key.outer);
    outer.update(&bytes(inner.finish()));
    let digest = bytes(outer.finish());
    let mut tag = [0; HMAC_LEN];
    tag.copy_from_slice(&digest[..HMAC_LEN]);
    tag
}

/// A hash that has begun with one block.
struct Hash {
    state: State,
    block: [u8; BLOCK],
    /// Number of bytes in `block`, less than its length.
    filled: usize,
    /// Number of bytes hashed, including those in `block`.
    length: u64,
}

impl Hash {
    fn new(state: State) -> Self {
        Self { state, block: [0; BLOCK], filled: 0, length: BLOCK as u64 }
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

    /// Appends the padding (FIPS 180-4 section 5.1.1) and returns the state.
    fn finish(mut self) -> State {
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
    compress256(state, &[*GenericArray::from_slice(block)]);
}

fn bytes(state: State) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (bytes, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    bytes
}

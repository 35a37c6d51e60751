use std::net::{IpAddr, Ipv4Addr};
use std::vec::Vec;

use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::address::to_words;

/// Length of the IP headers of the packets.
const IP_HEADER: usize = 20;

/// Returns the states of a key that is at most one block long.
fn key_state(key: &[u8]) -> KeyState {
    let state = |pad: u8| {
        let mut block = [pad; BLOCK];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        let mut hash = Hash { state: INITIAL, words: words(&block), ..Hash::zeroed() };
        hash.compress();
        hash.state
    };
    KeyState { inner: state(0x36), outer: state(0x5c) }
}

fn words(block: &[u8; BLOCK]) -> [u32; BLOCK_WORDS] {
    let mut words = [0; BLOCK_WORDS];
    for (word, bytes) in words.iter_mut().zip(block.as_chunks::<4>().0) {
        *word = u32::from_be_bytes(*bytes);
    }
    words
}

/// Returns the HMAC of a packet whose trailer is at its end, as the BPF program computes it.
fn tag(key: &KeyState, header: PseudoHeader, packet: &[u8]) -> [u8; trailer::HMAC_LEN] {
    let covered = Covered { message: IP_HEADER, len: packet.len() - IP_HEADER - trailer::LEN };
    let mut hash = Hash { state: key.inner, ..Hash::zeroed() };
    for block in 0..covered.blocks() {
        for (at, word) in hash.words.iter_mut().enumerate() {
            *word = covered.word(&packet, block * BLOCK_WORDS + at);
        }
        if block == 0 {
            for (word, bytes) in hash.words.iter_mut().zip(header.encode().as_chunks::<4>().0) {
                *word = u32::from_be_bytes(*bytes);
            }
        }
        hash.compress();
    }
    hash.begin_outer(&key.outer);
    hash.compress();
    let mut tag = [0; trailer::HMAC_LEN];
    for (bytes, word) in tag.as_chunks_mut::<4>().0.iter_mut().zip(hash.state) {
        *bytes = word.to_be_bytes();
    }
    tag
}

/// Returns the HMAC as RFC 2104 defines it, computed by the crate sha2.
fn reference(key: &[u8], header: PseudoHeader, packet: &[u8]) -> Vec<u8> {
    let mut message = packet[IP_HEADER..].to_vec();
    message[vrrp::CHECKSUM..][..2].fill(0);
    let length = message.len();
    message[length - trailer::HMAC_LEN..].fill(0);
    let pad = |pad: u8| (0..BLOCK).map(|at| key.get(at).copied().unwrap_or(0) ^ pad).collect::<Vec<_>>();
    let inner = Sha256::new().chain_update(pad(0x36)).chain_update(header.encode()).chain_update(message);
    let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner.finalize());
    outer.finalize()[..trailer::HMAC_LEN].to_vec()
}

fn header(family: u8, source: IpAddr) -> PseudoHeader {
    PseudoHeader { family, version: 3, vrid: 51, source: to_words(source) }
}

/// Adverts of keepalived 2.4.3, with the key 00 01 … 1f.
#[test]
fn hmac_of_keepalived_s_adverts_is_computed() {
    let ipv4 = [
        0x31, 0x33, 0xc8, 1, 0, 0x0a, 0xa1, 0xf3, 192, 0, 2, 50, 1, 7, 0, 0, 0x69, 0x25, 0xf0, 0xa0, 0x80, 0,
        0, 1, 0x67, 0xdd, 0x68, 0x49, 0x66, 0x95, 0x29, 0x27, 0x23, 0xac, 0x51, 0x4a, 0x42, 0x91, 0xd6, 0xd4,
    ];
    let ipv6 = [
        0x31, 0x33, 0x64, 2, 0, 0x64, 0x3f, 0x4d, 0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50,
        0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 1, 7, 0, 0, 0x69, 0x25, 0xf0, 0xa0, 0x80,
        0, 0, 1, 0x06, 0x10, 0xb0, 0xe4, 0x3f, 0xf6, 0x4e, 0x63, 0x74, 0xc3, 0xa7, 0x3c, 0x69, 0xfd, 0x57,
        0xb3,
    ];
    let key: Vec<u8> = (0..32).collect();
    let adverts: [(u8, IpAddr, &[u8]); 2] = [
        (4, Ipv4Addr::new(192, 0, 2, 11).into(), &ipv4),
        (6, "fe80::11".parse().expect("an address"), &ipv6),
    ];
    for (family, source, advert) in adverts {
        let packet = [&[0; IP_HEADER][..], advert].concat();
        let sent = &packet[packet.len() - trailer::HMAC_LEN..];
        assert_eq!(tag(&key_state(&key), header(family, source), &packet), sent);
    }
}

#[test]
fn hmac_of_every_length_equals_that_of_the_crate_sha2() {
    let key = [0x5a; 40];
    for addresses in 0..=vrrp::MAX_LEN / 4 {
        let message: Vec<u8> = (0..=255).cycle().take(IP_HEADER + 8 + 4 * addresses + trailer::LEN).collect();
        let header = header(4, Ipv4Addr::new(10, 0, 0, 1).into());
        assert_eq!(tag(&key_state(&key), header, &message)[..], reference(&key, header, &message)[..]);
    }
}

proptest! {
    #[test]
    fn hmac_of_any_advert_equals_that_of_the_crate_sha2(
        key in vec(any::<u8>(), 32..=64),
        source: [u8; 16],
        words in vec(any::<[u8; 4]>(), 14..100),
    ) {
        let packet = words.concat();
        let header = header(6, source.into());
        prop_assert_eq!(&tag(&key_state(&key), header, &packet)[..], &reference(&key, header, &packet)[..]);
    }
}

#[test]
fn time_of_a_sequence_is_compared_with_the_clock() {
    let now = 0x6925_f0a0;
    let sequence = |seconds: u32| u64::from(seconds) << 32 | 0xffff_ffff;
    for (seconds, window, expected) in [
        (now, 1, true),
        (now + 5, 5, true),
        (now + 6, 5, false),
        (now - 5, 5, true),
        (now - 6, 5, false),
        (0, 300, false),
        (0, 0, true),
    ] {
        assert_eq!(is_fresh(sequence(seconds), now, window), expected, "{seconds} {window}");
    }
    assert!(is_fresh(sequence(2), u32::MAX, 3), "in 2106");
}

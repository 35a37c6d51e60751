use core::net::IpAddr;

use vipd_common::Timestamp;
use vipd_common::address::to_words;
use vipd_common::hmac::PseudoHeader;
use vipd_common::wire::trailer;
use vipd_witness::{Vector, signed_adverts};

use super::*;

const KEY: [u8; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
    29, 30, 31,
];
/// 2025-11-25 18:08:32.5 UTC.
const NOW: WallTime = WallTime::new(0x6925_f0a0, 500_000_000);

fn config(ids: &[u8]) -> Config {
    let key = |id: &u8| Key::new(*id, &KEY);
    Config {
        keys: ids.iter().map(key).collect(),
        active: ids[0],
        mode: Mode::Enforce,
        anti_replay: AntiReplay::Time,
        window: 5,
    }
}

/// Source, pseudo-header, message and trailer of an advert with sequence 0x6925f0a080000001 and key
/// 7.
fn vector(family: u8) -> (IpAddr, PseudoHeader, Vec<u8>, [u8; trailer::LEN]) {
    let vector = &signed_adverts()[usize::from(family == 6)];
    (vector.source, header_of(vector), vector.message.clone(), vector.trailer)
}

fn header_of(vector: &Vector) -> PseudoHeader {
    let family = if vector.source.is_ipv4() { 4 } else { 6 };
    let (version, vrid) = (vector.message[0] >> 4, vector.message[1]);
    PseudoHeader { family, version, vrid, source: to_words(vector.source) }
}

fn verify(
    authenticator: &mut Authenticator,
    now: WallTime,
    trailer: &[u8; trailer::LEN],
) -> Result<Option<Verified>, Refusal> {
    let (source, header, message, _) = vector(4);
    authenticator.verify(now, Timestamp::ZERO, source, &header, &message, Some(trailer))
}

fn sign(authenticator: &mut Authenticator, now: WallTime) -> [u8; trailer::LEN] {
    let (_, header, message, _) = vector(4);
    authenticator.sign(now, &header, &message).expect("signed")
}

#[test]
fn vectors_are_verified_and_produced() {
    for vector in signed_adverts() {
        let key_id = vector.key_id();
        let config = Config { keys: vec![Key::new(key_id, &vector.key)], active: key_id, ..config(&[1]) };
        let (header, sequence) = (header_of(&vector), vector.sequence());
        // Rounded up, because `WallTime::new` rounds down.
        let nanoseconds = ((sequence >> 16 & 0xffff) * 1_000_000_000).div_ceil(1 << 16);
        let nanoseconds = u32::try_from(nanoseconds).expect("below one second");
        let now = WallTime::new(sequence >> 32, nanoseconds);

        let mut receiver = Authenticator::new(config.clone(), MULTICAST_SENDERS);
        let (message, trailer) = (&vector.message, Some(&vector.trailer));
        let verified = receiver.verify(now, Timestamp::ZERO, vector.source, &header, message, trailer);
        let (address, mark) = (vector.source, sequence);
        let sender = Sender { address, mark, key_id, clock_offset: 0, last_arrival: 0 };
        // Until the second after the window, counted from the advert's second.
        let lifetime = Some(6_000_000_000 - (((sequence >> 16 & 0xffff) * 1_000_000_000) >> 16));
        assert_eq!(verified, Ok(Some(Verified { sender, position: 0, lifetime })), "{}", vector.name);

        let mut sender = Authenticator::new(config, MULTICAST_SENDERS);
        sender.sent = Some(Sequence(sequence - 1));
        assert_eq!(sender.sign(now, &header, message), Some(vector.trailer), "{}", vector.name);
    }
}

#[test]
fn every_covered_bit_changes_the_hmac_and_the_checksum_does_not() {
    let (source, header, message, trailer) = vector(4);
    let refusal = |header: &PseudoHeader, message: &[u8], trailer: &[u8; trailer::LEN]| {
        let mut receiver = Authenticator::new(Config { window: 300, ..config(&[7]) }, MULTICAST_SENDERS);
        receiver.verify(NOW, Timestamp::ZERO, source, header, message, Some(trailer)).err()
    };
    for bit in 0..message.len() * 8 {
        let mut changed = message.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let is_checksum = (6..8).contains(&(bit / 8));
        let expected = (!is_checksum).then_some(Refusal::WrongHmac);
        assert_eq!(refusal(&header, &changed, &trailer), expected, "message, bit {bit}");
    }
    for bit in 0..trailer::LEN * 8 {
        let mut changed = trailer;
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(refusal(&header, &message, &changed).is_some(), "trailer, bit {bit}");
    }
    for changed in [
        PseudoHeader { vrid: 0x34, ..header },
        PseudoHeader { version: 2, ..header },
        PseudoHeader { family: 6, ..header },
        PseudoHeader { source: to_words("192.0.2.12".parse().expect("an address")), ..header },
    ] {
        assert_eq!(refusal(&changed, &message, &trailer), Some(Refusal::WrongHmac), "{changed:?}");
    }
}

#[test]
fn messages_of_any_length_are_hashed_like_by_the_crate() {
    use sha2::{Digest as _, Sha256};
    let (_, header, _, _) = vector(4);
    let mut message = Vec::new();
    for length in 0..300_u32 {
        let mut sender = Authenticator::new(config(&[1]), MULTICAST_SENDERS);
        let trailer = sender.sign(NOW, &header, &message).expect("signed");
        let pad = |pad: u8| {
            let mut block = [pad; 64];
            block.iter_mut().zip(KEY).for_each(|(byte, key)| *byte ^= key);
            block
        };
        let mut covered = message.clone();
        covered.iter_mut().skip(6).take(2).for_each(|byte| *byte = 0);
        if covered.len() < 8 {
            covered.truncate(6);
            covered.extend([0; 2]);
        }
        let inner = Sha256::new()
            .chain_update(pad(0x36))
            .chain_update(header.encode())
            .chain_update(&covered)
            .chain_update(&trailer[..12])
            .chain_update([0; 16])
            .finalize();
        let expected = Sha256::new().chain_update(pad(0x5c)).chain_update(inner).finalize();
        assert_eq!(trailer[12..], expected[..16], "{length} bytes");
        message.push(u8::try_from(length % 251).expect("a byte"));
    }
}

#[test]
fn time_outside_of_the_window_is_stale_before_the_hmac_is_computed() {
    let mut receiver = Authenticator::new(config(&[7]), MULTICAST_SENDERS);
    let (.., mut trailer) = vector(4);
    trailer[27] ^= 1;
    for (seconds, expected) in
        [(-6, Refusal::Stale), (-5, Refusal::WrongHmac), (5, Refusal::WrongHmac), (6, Refusal::Stale)]
    {
        let now = WallTime::new(0x6925_f0a0_u64.checked_add_signed(seconds).expect("a time"), 0);
        assert_eq!(verify(&mut receiver, now, &trailer), Err(expected), "{seconds} s");
    }
    let monotonic = Config { anti_replay: AntiReplay::Monotonic, ..config(&[7]) };
    let mut receiver = Authenticator::new(monotonic, MULTICAST_SENDERS);
    assert_eq!(verify(&mut receiver, WallTime::new(0, 0), &trailer), Err(Refusal::WrongHmac));
}

#[test]
fn replays_are_refused_while_the_mark_is_within_the_window() {
    let mut sender = Authenticator::new(config(&[7]), MULTICAST_SENDERS);
    let mut receiver = Authenticator::new(config(&[7]), MULTICAST_SENDERS);
    let [first, second] = [0; 2].map(|_| sign(&mut sender, NOW));
    assert!(verify(&mut receiver, NOW, &second).is_ok());
    for replayed in [first, second] {
        assert_eq!(verify(&mut receiver, NOW, &replayed), Err(Refusal::Replayed));
    }
    // The clocks of both routers were 8 s ahead and have been corrected.
    let corrected = WallTime::new(0x6925_f0a0 - 8, 0);
    let third = sign(&mut sender, corrected);
    assert!(verify(&mut receiver, corrected, &third).is_ok(), "the mark is outside of the window");
    assert_eq!(verify(&mut receiver, corrected, &second), Err(Refusal::Stale));
}

/// The BPF program recognizes a replay by the mark until its lifetime is over. From then on, the
/// replay is stale.
#[test]
fn lifetime_of_a_mark_ends_when_it_is_no_longer_fresh() {
    // Nanoseconds: more than 2⁻¹⁶ s, the resolution of the times in adverts.
    const RESOLUTION: u64 = 20_000;
    let time = |nanoseconds: u64| {
        let below_a_second = u32::try_from(nanoseconds % 1_000_000_000).expect("below one second");
        WallTime::new(0x6925_f0a0 + nanoseconds / 1_000_000_000, below_a_second)
    };
    for window in [1, 5, 300] {
        let config = Config { window, ..config(&[7]) };
        for sent in [0, 1, 499_999_999, 500_000_000, 999_999_999] {
            let mut sender = Authenticator::new(config.clone(), MULTICAST_SENDERS);
            let trailer = sign(&mut sender, time(sent));
            let mark = Sequence(sender.sent().expect("sent"));
            for latency in [0, 50_000, 1_000_000, 700_000_000] {
                let mut receiver = Authenticator::new(config.clone(), MULTICAST_SENDERS);
                let arrival = sent + latency;
                let verified =
                    verify(&mut receiver, time(arrival), &trailer).expect("fresh").expect("signed");
                let end = arrival + verified.lifetime.expect("an end");
                assert!(config.is_fresh(mark, time(end - RESOLUTION)), "{window} {sent} {latency}");
                assert!(!config.is_fresh(mark, time(end + RESOLUTION)), "{window} {sent} {latency}");
            }
        }
    }
    let monotonic = Config { anti_replay: AntiReplay::Monotonic, ..config(&[7]) };
    let mut receiver = Authenticator::new(monotonic, MULTICAST_SENDERS);
    let (.., trailer) = vector(4);
    assert_eq!(verify(&mut receiver, NOW, &trailer).expect("genuine").expect("signed").lifetime, None);
}

#[test]
fn replays_are_refused_after_adverts_of_59_other_routers() {
    let monotonic = Config { anti_replay: AntiReplay::Monotonic, ..config(&[7]) };
    let mut receiver = Authenticator::new(monotonic, MULTICAST_SENDERS);
    let (_, header, message, _) = vector(4);
    let mut receive = |last: u8, trailer: Option<[u8; trailer::LEN]>| {
        let source: IpAddr = [192, 0, 2, last].into();
        let header = PseudoHeader { source: to_words(source), ..header };
        let sign = || Authenticator::new(config(&[7]), 1).sign(NOW, &header, &message).expect("signed");
        let trailer = trailer.unwrap_or_else(sign);
        let arrival = Timestamp::from_nanos(last.into());
        receiver.verify(NOW, arrival, source, &header, &message, Some(&trailer)).map(|_| trailer)
    };
    let first = receive(1, None).expect("genuine");
    for last in 2..=60 {
        receive(last, None).expect("genuine");
    }
    assert_eq!(receive(1, Some(first)), Err(Refusal::Replayed));
}

#[test]
fn mode_decides_about_adverts_without_trailer() {
    let (source, header, message, _) = vector(4);
    for (mode, expected) in
        [(Mode::Enforce, Err(Refusal::Missing)), (Mode::Permissive, Ok(None)), (Mode::ReceiveOnly, Ok(None))]
    {
        let mut router = Authenticator::new(Config { mode, ..config(&[7]) }, MULTICAST_SENDERS);
        assert_eq!(router.verify(NOW, Timestamp::ZERO, source, &header, &message, None), expected);
        assert_eq!(router.sign(NOW, &header, &message).is_some(), mode != Mode::ReceiveOnly);
        let (.., mut trailer) = vector(4);
        trailer[27] ^= 1;
        assert_eq!(verify(&mut router, NOW, &trailer), Err(Refusal::WrongHmac), "{mode:?}");
    }
}

#[test]
fn keys_are_rotated_in_three_steps() {
    let mut sender = Authenticator::new(config(&[1]), MULTICAST_SENDERS);
    let mut receiver = Authenticator::new(config(&[1]), MULTICAST_SENDERS);
    let steps: [&[u8]; 4] = [&[1], &[1, 2], &[2, 1], &[2]];
    for (step, pair) in steps.windows(2).enumerate() {
        // The receiver is changed first in one step, last in the next one.
        for is_receiver in [step % 2 == 0, step % 2 != 0] {
            if is_receiver { &mut receiver } else { &mut sender }.reconfigure(config(pair[1]));
            let trailer = sign(&mut sender, NOW);
            let verified = verify(&mut receiver, NOW, &trailer);
            assert!(verified.is_ok(), "step {step}, {is_receiver}: {verified:?}");
        }
    }
    sender.reconfigure(config(&[3]));
    let trailer = sign(&mut sender, NOW);
    assert_eq!(verify(&mut receiver, NOW, &trailer), Err(Refusal::UnknownKey));
}

#[test]
fn position_of_a_sender_stays_until_it_is_the_oldest_of_all() {
    let mut receiver = Authenticator::new(config(&[7]), 4);
    let (_, header, message, _) = vector(4);
    let mut receive = |last: u8, at: u64| {
        let source: IpAddr = [192, 0, 2, last].into();
        let header = PseudoHeader { source: to_words(source), ..header };
        let mut sender = Authenticator::new(config(&[7]), MULTICAST_SENDERS);
        let now = WallTime::new(0x6925_f0a0 + at, 0);
        let trailer = sender.sign(now, &header, &message).expect("signed");
        let arrival = Timestamp::from_nanos(at);
        let verified = receiver.verify(now, arrival, source, &header, &message, Some(&trailer));
        verified.expect("genuine").expect("signed").position
    };
    assert_eq!([1, 2, 3, 4].map(|last| receive(last, u64::from(last))), [0, 1, 2, 3]);
    assert_eq!(receive(1, 5), 0);
    assert_eq!(receive(5, 6), 1, "the second sender is the oldest");
    assert_eq!((receive(1, 7), receive(4, 8)), (0, 3));
}

#[test]
fn position_of_a_sender_is_reused_once_its_mark_is_out_of_date() {
    let (_, header, message, _) = vector(4);
    for (anti_replay, expected) in [(AntiReplay::Time, 1), (AntiReplay::Monotonic, 3)] {
        let config = Config { anti_replay, ..config(&[7]) };
        let mut receiver = Authenticator::new(config.clone(), MULTICAST_SENDERS);
        let mut receive = |last: u8, at: u64| {
            let source: IpAddr = [192, 0, 2, last].into();
            let header = PseudoHeader { source: to_words(source), ..header };
            let now = WallTime::new(0x6925_f0a0 + at, 0);
            let trailer = Authenticator::new(config.clone(), 1).sign(now, &header, &message).expect("signed");
            let arrival = Timestamp::from_nanos(at);
            let verified = receiver.verify(now, arrival, source, &header, &message, Some(&trailer));
            verified.expect("genuine").expect("signed").position
        };
        assert_eq!((receive(1, 1), receive(2, 2), receive(1, 6), receive(3, 6)), (0, 1, 0, 2));
        assert_eq!(receive(4, 8), expected, "{anti_replay:?}: only the mark of sender 2 is older than 5 s");
    }
}

#[test]
fn latest_senders_are_kept_if_there_are_too_many() {
    let sender = |last: u8, last_arrival: u64| {
        let address = [192, 0, 2, last].into();
        Sender { address, mark: 0, key_id: 7, clock_offset: 0, last_arrival }
    };
    let all = [sender(1, 30), sender(2, 10), sender(3, 20)];
    let mut receiver = Authenticator::new(config(&[7]), 2);
    receiver.resume(&Saved { sent: None, senders: all.to_vec() });
    assert_eq!(receiver.senders(), [all[0], all[2]]);
}

#[test]
fn resumed_authenticator_continues_the_sequences() {
    let mut sender = Authenticator::new(config(&[7]), MULTICAST_SENDERS);
    let mut receiver = sender.clone();
    let first = sign(&mut sender, NOW);
    assert!(verify(&mut receiver, NOW, &first).is_ok());
    let [mut next_sender, mut next_receiver] =
        [(); 2].map(|()| Authenticator::new(config(&[7]), MULTICAST_SENDERS));
    next_sender.resume(&sender.save());
    next_receiver.resume(&receiver.save());
    assert_eq!(verify(&mut next_receiver, NOW, &first), Err(Refusal::Replayed));
    let earlier = WallTime::new(0x6925_f0a0 - 3, 0);
    let second = sign(&mut next_sender, earlier);
    assert!(verify(&mut next_receiver, NOW, &second).is_ok(), "the clock has been set back");
}

/// When the primary address changes, the adverts that were sent from the former address are
/// replays.
#[test]
fn own_adverts_from_a_former_address_are_replays() {
    let mut own = Authenticator::new(config(&[7]), MULTICAST_SENDERS);
    let (former, ..) = vector(4);
    assert_eq!(own.leave(former, NOW, Timestamp::ZERO), None, "nothing was sent");
    let last = sign(&mut own, NOW);
    let left = own.leave(former, NOW, Timestamp::ZERO).expect("an advert was sent");
    assert_eq!((left.sender.address, Some(left.sender.mark)), (former, own.sent()));
    assert_eq!(verify(&mut own, NOW, &last), Err(Refusal::Replayed));
    let mut other = Authenticator::new(config(&[7]), MULTICAST_SENDERS);
    let later = WallTime::new(0x6925_f0a1, 0);
    let advert = sign(&mut other, later);
    assert!(verify(&mut own, later, &advert).is_ok(), "a router that has the address now");
}

#[test]
fn last_advert_is_signed_after_the_last_sequence() {
    let mut sender = Authenticator::new(config(&[7]), MULTICAST_SENDERS);
    let mut receiver = sender.clone();
    let (_, header, message, _) = vector(4);
    let first = sign(&mut sender, NOW);
    assert!(verify(&mut receiver, NOW, &first).is_ok());
    let key = sender.config().signing_key().expect("signs").clone();
    let earlier = WallTime::new(0x6925_f0a0 - 1, 0);
    let last =
        sign_once((key.id(), key.state()), sender.sent().expect("sent"), earlier, Some(5), &header, &message);
    assert!(verify(&mut receiver, NOW, &last).is_ok());
}

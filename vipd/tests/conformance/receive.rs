//! Converts frames to inputs of the core with the user-space parser.

use std::collections::BTreeMap;

use vipd::vrrp::Received;
use vipd_common::Timestamp;
use vipd_common::address::from_words;
use vipd_common::counters::Counter;
use vipd_common::parse::{ChecksumForm, Expected, locate, validate};
use vipd_common::wire::{ethernet, ipv4, ipv6, vrrp};
use vipd_tests::configuration::Family;
use vipd_tests::conformance::received::UNDER_TEST;
use vipd_tests::conformance::syntax::RouterSpec;
use vipd_tests::protocol::Version;

/// Counters by name as in `vipd stats`.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

/// Returns the advert in a frame if it is valid for this router. Otherwise returns `None` and, if
/// the frame is a VRRP packet of the router's address family, counts the reason.
pub(crate) fn receive(
    frame: &[u8],
    router: &RouterSpec,
    arrival: Timestamp,
    counts: &mut Counts,
) -> Option<Received> {
    let mut count = |counter: Counter| *counts.entry(name(counter)).or_default() += 1;
    let ip_header = ethernet::ip(&frame)?;
    let family = if router.family == Family::V6 { 6 } else { 4 };
    if ip_header.protocol != ipv4::PROTOCOL_VRRP || ip_header.version != family {
        return None;
    }
    let packet = &frame[ip_header.offset..];
    let located = match locate(&packet, family) {
        Ok(located) => located,
        Err(not_ours) => {
            count(not_ours.counter());
            return None;
        }
    };
    if located.vrid != router.vrid {
        count(located.unclaimed().counter());
        return None;
    }
    if from_words(family, located.destination) != destination(router) {
        count(Counter::DestinationPassed);
        return None;
    }
    match validate(&packet, &located, &expected(router)) {
        Ok(advert) => {
            match advert.checksum {
                ChecksumForm::Rfc5798 => count(Counter::ChecksumRfc5798Rcvd),
                ChecksumForm::Rfc9568 => count(Counter::ChecksumRfc9568Rcvd),
                ChecksumForm::V2 | ChecksumForm::Ipv6 => {}
            }
            if !advert.link_local {
                count(Counter::NotLinkLocal);
            }
            Some(Received {
                arrival,
                source: from_words(family, advert.source),
                priority: advert.priority,
                interval: advert.interval,
                addresses: advert.addresses,
                checksum: advert.checksum,
            })
        }
        Err(reason) => {
            count(reason);
            None
        }
    }
}

fn destination(router: &RouterSpec) -> std::net::IpAddr {
    match (router.unicast, router.family) {
        (true, _) => UNDER_TEST.ipv4().into(),
        (false, Family::V4) => ipv4::VRRP_GROUP.into(),
        (false, Family::V6) => ipv6::VRRP_GROUP.into(),
    }
}

fn expected(router: &RouterSpec) -> Expected {
    let version = match router.version {
        Version::V2 => 2,
        Version::V3 => 3,
    };
    let mut expected = Expected::version(version);
    if let Some(password) = password(router) {
        expected.authentication = vrrp::AUTH_PASS;
        expected.password = bytemuck::cast(password);
    }
    expected
}

/// Returns the VRRPv2 authentication data, padded with zeros.
pub(crate) fn password(router: &RouterSpec) -> Option<[u8; vrrp::AUTH_LEN]> {
    let text = router.password.as_ref()?;
    let mut data = [0; vrrp::AUTH_LEN];
    data.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
    Some(data)
}

/// Returns the counter's name in `vipd stats`.
fn name(counter: Counter) -> &'static str {
    match counter {
        Counter::ChecksumRfc5798Rcvd => "vipd:checksum-rfc5798-rcvd",
        Counter::ChecksumRfc9568Rcvd => "vipd:checksum-rfc9568-rcvd",
        Counter::IpHeaderErrors => "vipd:ip-header-errors",
        Counter::IpTtlErrors => "ip-ttl-errors",
        Counter::VersionErrors => "version-errors",
        Counter::InvalidTypeRcvd => "invalid-type-pkts-rcvd",
        Counter::PacketLengthErrors => "packet-length-errors",
        Counter::AddressCountErrors => "vipd:address-count-errors",
        Counter::ChecksumErrors => "checksum-errors",
        Counter::IntervalZeroErrors => "vipd:interval-zero-errors",
        Counter::InvalidAuthType => "vipd:invalid-auth-type",
        Counter::AuthTypeMismatch => "vipd:auth-type-mismatch",
        Counter::AuthFailures => "vipd:auth-failures",
        Counter::NotLinkLocal => "vipd:not-link-local-rcvd",
        Counter::HmacMissing => "vipd:hmac-missing",
        Counter::HmacMalformed => "vipd:hmac-malformed",
        Counter::HmacReplayed => "vipd:hmac-replayed",
        Counter::VridErrors => "vrid-errors",
        Counter::FragmentsPassed => "vipd:fragments-passed",
        Counter::DestinationPassed => "vipd:destination-passed",
        Counter::UnparsablePassed => "vipd:unparsable-passed",
        Counter::AdvertisementRcvd
        | Counter::PriorityZeroRcvd
        | Counter::RingFull
        | Counter::PeerErrors
        | Counter::NotAccepted
        | Counter::RateLimited
        | Counter::Fenced => "not counted here",
    }
}

//! Derives configurations and inputs of a virtual router from the fuzzer's bytes.

use std::net::{IpAddr, Ipv6Addr};

use arbitrary::Arbitrary;
use vipd::vrrp::config::Family;
use vipd::vrrp::{
    Announcements, Fault, GroupInput, Impediment, Input, Interval, Received, RouterConfig, Version,
    VirtualAddress,
};
use vipd_common::Timestamp;
use vipd_common::parse::{ChecksumForm, address_digest};

const SECOND: u64 = 1_000_000_000;

/// All impediments, in their order of precedence.
pub(super) const KINDS: [Impediment; 8] = [
    Impediment::Link,
    Impediment::Io,
    Impediment::PrimaryAddress,
    Impediment::AddressInterface,
    Impediment::Tracking,
    Impediment::Administrator,
    Impediment::Drained,
    Impediment::Group,
];

const FAULTS: [Fault; 12] = [
    Fault::NoInterface,
    Fault::InterfaceDown,
    Fault::NotAttached,
    Fault::NotReceiving,
    Fault::NoHardwareAddress,
    Fault::NoPrimaryAddress,
    Fault::PrimaryIsVirtual,
    Fault::AddressInterface,
    Fault::Tracking,
    Fault::Group,
    Fault::Administrator,
    Fault::Drained,
];

/// A configuration. Numbers wrap around into the allowed ranges, or are limited to them.
#[derive(Debug, Arbitrary)]
pub(super) struct Configuration {
    version2: bool,
    ipv6: bool,
    interval: u16,
    priority: u8,
    preempt: bool,
    addresses: u8,
    /// Number of excluded addresses; up to 3 are used.
    excluded: u8,
    preempt_delay: Span,
    startup_delay: Span,
    down_after_adverts: u8,
    /// `repeat`, `delay`, `refresh` and `refresh_repeat`.
    announcements: (u8, Span, Span, u8),
}

impl Configuration {
    pub(super) fn build(&self) -> RouterConfig {
        let (version, longest) = if self.version2 { (Version::V2, 255) } else { (Version::V3, 4095) };
        let interval = Interval::from_wire(version, self.interval % longest + 1).expect("in range");
        // VRRPv2 does not support IPv6.
        let (family, prefix) = if self.ipv6 && !self.version2 { (Family::V6, 64) } else { (Family::V4, 24) };
        let address = |last| VirtualAddress { address: address(family, 50 + last), prefix };
        let addresses = (0..self.addresses % 9).map(address);
        let excluded = (0..self.excluded % 4).map(|last| address(100 + last));
        let (repeat, delay, refresh, refresh_repeat) = self.announcements;
        // The configuration does not allow a refresh interval below a second.
        let refresh = match refresh.nanos() {
            0 => 0,
            nanos => nanos.clamp(SECOND, 86_400 * SECOND),
        };
        RouterConfig {
            preempt_delay: self.preempt_delay.nanos().min(1000 * SECOND),
            startup_delay: self.startup_delay.nanos().min(1000 * SECOND),
            down_after_adverts: self.down_after_adverts % 100 + 1,
            announcements: Announcements {
                repeat: repeat.max(1),
                delay: delay.nanos().min(1000 * SECOND),
                refresh,
                refresh_repeat: refresh_repeat.max(1),
            },
            excluded_addresses: excluded.collect(),
            priority: self.priority.max(1),
            preempt: self.preempt,
            ..RouterConfig::new(51, family, interval, addresses.collect())
        }
    }
}

/// A duration, on one of several scales.
#[derive(Clone, Copy, Debug, Arbitrary)]
pub(super) enum Span {
    None,
    Micros(u16),
    Millis(u16),
    Seconds(u16),
    Nanos(u64),
}

impl Span {
    pub(super) fn nanos(self) -> u64 {
        match self {
            Self::None => 0,
            Self::Micros(count) => u64::from(count) * 1000,
            Self::Millis(count) => u64::from(count) * 1_000_000,
            Self::Seconds(count) => u64::from(count) * 1_000_000_000,
            // At most about three days, so that the clock does not overflow.
            Self::Nanos(count) => count >> 16,
        }
    }
}

/// A step of the fuzzer's input.
#[derive(Debug, Arbitrary)]
pub(super) enum Step {
    /// Time passes without a timeout.
    Pass(Span),
    /// Time passes until this long after the next deadline, followed by a timeout.
    Serve(Span),
    /// A timeout now, whether or not it is due.
    Timeout,
    /// An input to the router, repeated up to seven times.
    Give(Piece, u8),
    /// An advert, repeated up to seven times. A separate variant, because adverts are the most
    /// frequent input.
    Advert(Advert, u8),
    /// Clears all impediments and reports a primary address.
    Recover(u8),
}

/// An input other than [`Input::Timeout`] and [`Input::Advert`].
#[derive(Debug, Arbitrary)]
pub(super) enum Piece {
    PrimaryAddress(u8),
    Impede(u8),
    Clear(u8),
    Priority(u8),
    Shutdown,
    FeedLoss,
    Restored(u8),
    Failover,
    Suspend(Span),
    Group(GroupPiece),
}

/// An input from a sync group.
#[derive(Debug, Arbitrary)]
pub(super) enum GroupPiece {
    Priority(u8),
    Lead,
    Yield,
    Wait(Span),
    Contest(Advert),
}

#[derive(Debug, Arbitrary)]
pub(super) struct Advert {
    age: Span,
    source: u8,
    /// The priority, or its difference from the configured priority, modulo 256.
    priority: u8,
    relative: bool,
    interval: AdvertInterval,
    other_addresses: bool,
}

#[derive(Debug, Arbitrary)]
enum AdvertInterval {
    Configured,
    Times(u8),
    Any(u16),
}

impl Piece {
    /// Returns whether other routers can cause the input at an unlimited rate.
    pub(super) fn is_from_the_wire(&self) -> bool {
        matches!(self, Self::FeedLoss | Self::Group(GroupPiece::Contest(_)))
    }

    pub(super) fn input(&self, now: Timestamp, config: &RouterConfig) -> Input {
        match self {
            Self::PrimaryAddress(last) => Input::PrimaryAddress(primary(config, *last)),
            Self::Impede(which) => Input::Impede(FAULTS[usize::from(*which) % FAULTS.len()]),
            Self::Clear(which) => Input::Clear(KINDS[usize::from(*which) % KINDS.len()]),
            Self::Priority(priority) => Input::Priority(*priority),
            Self::Shutdown => Input::Shutdown,
            Self::Failover => Input::Failover,
            Self::Suspend(span) => Input::Suspend(now + span.nanos()),
            Self::FeedLoss => Input::FeedLoss,
            Self::Group(piece) => Input::Group(match piece {
                GroupPiece::Priority(priority) => GroupInput::Priority((*priority).max(1)),
                GroupPiece::Lead => GroupInput::Lead,
                GroupPiece::Yield => GroupInput::Yield,
                // The end of the wait is always after `now`.
                GroupPiece::Wait(span) => GroupInput::Wait(now + span.nanos().max(1)),
                GroupPiece::Contest(advert) => GroupInput::Contest(advert.received(now, config)),
            }),
            Self::Restored(which) => {
                let other = VirtualAddress { address: address(config.family, 1), prefix: 9 };
                let found = config.all_addresses().nth(usize::from(which % 13));
                Input::AddressRestored(found.unwrap_or(other))
            }
        }
    }
}

impl Advert {
    pub(super) fn received(&self, now: Timestamp, config: &RouterConfig) -> Received {
        let digest = address_digest(config.virtual_addresses.iter().map(|vip| vip.address));
        Received {
            arrival: Timestamp::from_nanos(now.as_nanos().saturating_sub(self.age.nanos())),
            source: address(config.family, self.source % 4 + 1),
            priority: if self.relative { config.priority.wrapping_add(self.priority) } else { self.priority },
            interval: match self.interval {
                AdvertInterval::Configured => config.interval.wire(),
                AdvertInterval::Times(factor) => config.interval.wire().saturating_mul(factor.into()),
                AdvertInterval::Any(interval) => interval,
            },
            addresses: digest.wrapping_add(u64::from(self.other_addresses)),
            checksum: match (config.family, config.version()) {
                (Family::V6, _) => ChecksumForm::Ipv6,
                (Family::V4, Version::V2) => ChecksumForm::V2,
                (Family::V4, Version::V3) => ChecksumForm::Rfc5798,
            },
        }
    }
}

/// Returns a primary address for the router under test.
pub(super) fn primary(config: &RouterConfig, last: u8) -> IpAddr {
    address(config.family, last % 8 + 1)
}

fn address(family: Family, last: u8) -> IpAddr {
    match family {
        Family::V4 => [10, 0, 0, last].into(),
        Family::V6 => Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last.into()).into(),
    }
}

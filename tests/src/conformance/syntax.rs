//! The arguments of a scenario's verbs: `key value` pairs.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::segment::Segment;
use super::signed::ReceivedTrailer;
use crate::configuration::Family;
use crate::hmac::Hmac;
use crate::protocol::Version;
use crate::station::Station;

/// Configuration of the router under test: `router version 3 family ipv4 priority 100 …`.
#[derive(Debug, Clone)]
pub struct RouterSpec {
    /// `version 2`: the VRRP version.
    pub version: Version,
    /// `family ipv6`: the address family.
    pub family: Family,
    /// `vrid 51`: the virtual router identifier.
    pub vrid: u8,
    /// `priority 100`: the configured priority.
    pub priority: u8,
    /// `interval 1s`: the advert interval.
    pub interval: Duration,
    /// `preempt off`: Preempt_Mode. `None` if the scenario does not depend on it: it is then on in
    /// the lab and in virtual time; with a device, it is as declared.
    pub preempt: Option<bool>,
    /// `virtual_mac on`: whether to use the virtual router MAC.
    pub virtual_mac: bool,
    /// `unicast on`: nodes 1 and 3 are unicast peers.
    pub unicast: bool,
    /// `password secret`: the VRRPv2 password.
    pub password: Option<String>,
    /// `hmac enforce` and `keys 2`: the mode of signed adverts, and the number of keys, whose IDs
    /// count from 1.
    pub hmac: Option<Hmac>,
    /// `addresses 3`: number of VIPs; for IPv6, without the link-local VIP, which is added.
    pub addresses: u8,
    /// The addresses of a device's segment; `None` in the lab.
    pub segment: Option<Segment>,
}

impl Default for RouterSpec {
    fn default() -> Self {
        Self {
            version: Version::V3,
            family: Family::V4,
            vrid: 51,
            priority: 100,
            interval: Duration::from_secs(1),
            preempt: None,
            virtual_mac: false,
            unicast: false,
            password: None,
            hmac: None,
            addresses: 1,
            segment: None,
        }
    }
}

/// How the VRRP checksum of an injected advert is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceivedChecksum {
    /// The correct checksum for the version and family. For VRRPv3 over IPv4, the RFC 5798 form, or
    /// the form that the device sends.
    Right,
    /// `checksum pseudo-header`: covers the message and the pseudo-header.
    PseudoHeader,
    /// `checksum message`: covers only the message.
    Message,
    /// `checksum bad`: wrong in every form.
    Bad,
    /// `checksum zero`: 0.
    Zero,
}

/// An injected advert: `receive advert from higher priority 200 …`. By default, the advert is sent
/// by *higher* to the multicast group, with priority 200, without authentication data and without
/// the trailer of a signed advert; other omitted fields match the router under test.
#[expect(clippy::struct_excessive_bools, reason = "each switch is a separate key in a scenario")]
#[derive(Debug, Clone)]
pub struct ReceivedAdvert {
    /// `family ipv6`: selects between the routers under test.
    pub family: Option<Family>,
    /// `from lower` (node 1), `from higher` (node 3) or `from itself` (node 2's address).
    pub from: Station,
    /// `source 10.0.0.1`: overrides the IPv4 source address.
    pub source: Option<Ipv4Addr>,
    /// `priority 200`: the priority field.
    pub priority: u8,
    /// `interval 1s`: the interval field; it may also be 0.
    pub interval: Option<Duration>,
    /// `ttl 254`: the TTL or Hop Limit.
    pub ttl: u8,
    /// `version 2`: the version field.
    pub version: Option<u8>,
    /// `type 2`: the type field.
    pub kind: u8,
    /// `vrid 52`: the VRID field.
    pub vrid: Option<u8>,
    /// `count 0`: overrides the address count in the message.
    pub count: Option<u8>,
    /// `checksum bad`: how the VRRP checksum is computed.
    pub checksum: ReceivedChecksum,
    /// The address list. `list other`: differs from the configured list; `list global`: no
    /// link-local address (IPv6); `list none`: empty (IPv4; without effect in IPv6).
    pub list: Option<String>,
    /// `cut 4`: number of bytes cut off the end of the message.
    pub cut: usize,
    /// `trailing 4`: number of extra bytes after the message.
    pub trailing: usize,
    /// `padding 20`: number of bytes after the packet.
    pub padding: usize,
    /// `reserved 15`: value of the four reserved bits before the interval.
    pub reserved: u8,
    /// `fragment on`: sets More Fragments.
    pub fragment: bool,
    /// `options on`: 4 bytes of IPv4 options, or IPv6 Destination Options.
    pub options: bool,
    /// `header bad`: a wrong IPv4 header checksum.
    pub header_bad: bool,
    /// `vlan 7`: adds an 802.1Q tag with this VLAN identifier.
    pub vlan: Option<u16>,
    /// `auth 1`: the authentication type.
    pub auth: u8,
    /// `password secret`: the authentication data.
    pub password: Option<String>,
    /// `destination unicast`: to node 2's own address.
    pub unicast: bool,
    /// `key 1 …`: the trailer of a signed advert.
    pub trailer: ReceivedTrailer,
}

impl Default for ReceivedAdvert {
    fn default() -> Self {
        Self {
            family: None,
            from: Station::Node(3),
            source: None,
            priority: 200,
            interval: None,
            ttl: 255,
            version: None,
            kind: 1,
            vrid: None,
            count: None,
            checksum: ReceivedChecksum::Right,
            list: None,
            cut: 0,
            trailing: 0,
            padding: 0,
            reserved: 0,
            fragment: false,
            options: false,
            header_bad: false,
            vlan: None,
            auth: 0,
            password: None,
            unicast: false,
            trailer: ReceivedTrailer::default(),
        }
    }
}

/// A frame that the router under test is expected to send.
#[expect(clippy::struct_excessive_bools, reason = "each switch is a separate key in a scenario")]
#[derive(Debug, Clone, Default)]
pub struct ExpectedFrame {
    /// Whether an announcement is expected instead of an advert.
    pub announcement: bool,
    /// `family ipv6`: selects between the routers under test.
    pub family: Option<Family>,
    /// `of 2`: an announcement of the router's second VIP.
    pub of: Option<usize>,
    /// `first`: no announcement is sent before this frame.
    pub first: bool,
    /// `priority 100`: the priority field.
    pub priority: Option<u8>,
    /// `interval 1s`: the interval field.
    pub interval: Option<Duration>,
    /// `version 3`: the version field.
    pub version: Option<u8>,
    /// `ttl 255`: the TTL or Hop Limit.
    pub ttl: Option<u8>,
    /// `source own`: node 2's primary or link-local address.
    pub own_source: bool,
    /// `destination group` or `destination peer`: the multicast group, or a unicast address.
    pub destination: Option<String>,
    /// `mac virtual` or `mac own`: the virtual router MAC, or the MAC of node 2.
    pub mac: Option<String>,
    /// `checksum right`: any form that is valid for the version and family; `checksum rfc5798` or
    /// `checksum rfc9568`: that form.
    pub checksum: Option<String>,
    /// `list configured`: the VIPs, in configuration order.
    pub list: bool,
    /// `auth 0`: the authentication type.
    pub auth: Option<u8>,
    /// `signed 1`: signed with the key that has this ID; `signed off`: not signed.
    pub signed: Option<u8>,
}

/// Reads `key value` pairs.
pub(super) struct Words<'a>(std::str::SplitWhitespace<'a>);

impl<'a> Words<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self(text.split_whitespace())
    }

    fn next(&mut self) -> Option<&'a str> {
        self.0.next()
    }

    pub(super) fn value(&mut self, key: &str) -> Result<&'a str> {
        self.0.next().with_context(|| format!("{key} needs a value"))
    }

    pub(super) fn parsed<T>(&mut self, key: &str) -> Result<T>
    where
        T: std::str::FromStr,
        T::Err: std::error::Error + Send + Sync + 'static,
    {
        let value = self.value(key)?;
        value.parse().with_context(|| format!("invalid {key} {value:?}"))
    }

    fn switch(&mut self, key: &str) -> Result<bool> {
        match self.value(key)? {
            "on" => Ok(true),
            "off" => Ok(false),
            other => bail!("{key} must be on or off, not {other:?}"),
        }
    }

    /// Reads a value that must be one of `choices`.
    fn one_of(&mut self, key: &str, choices: &[&str]) -> Result<&'a str> {
        let value = self.value(key)?;
        ensure!(choices.contains(&value), "{key} must be {}, not {value:?}", choices.join(" or "));
        Ok(value)
    }

    fn family(&mut self) -> Result<Family> {
        match self.value("family")? {
            "ipv4" => Ok(Family::V4),
            "ipv6" => Ok(Family::V6),
            other => bail!("family must be ipv4 or ipv6, not {other:?}"),
        }
    }
}

/// Parses a duration: `1s`, `0.5s`, `20ms` or `0`.
pub(super) fn duration(text: &str) -> Result<Duration> {
    let wrong = || format!("invalid duration {text:?}: expected, for example, 1s, 0.5s or 20ms");
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1e-3),
        None if text == "0" => (text, 1.0),
        None => (text.strip_suffix('s').with_context(wrong)?, 1.0),
    };
    let seconds = number.parse::<f64>().ok().with_context(wrong)?;
    Duration::try_from_secs_f64(seconds * unit).with_context(wrong)
}

impl RouterSpec {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut words = Words::new(text);
        let mut router = Self::default();
        while let Some(key) = words.next() {
            match key {
                "version" => {
                    router.version = match words.value(key)? {
                        "2" => Version::V2,
                        "3" => Version::V3,
                        other => bail!("version must be 2 or 3, not {other:?}"),
                    }
                }
                "family" => router.family = words.family()?,
                "vrid" => router.vrid = words.parsed(key)?,
                "priority" => router.priority = words.parsed(key)?,
                "interval" => router.interval = duration(words.value(key)?)?,
                "preempt" => router.preempt = Some(words.switch(key)?),
                "virtual_mac" => router.virtual_mac = words.switch(key)?,
                "unicast" => router.unicast = words.switch(key)?,
                "password" => router.password = Some(words.value(key)?.to_owned()),
                "hmac" => {
                    let modes = ["enforce", "permissive", "receive-only"];
                    router.hmac =
                        Some(Hmac { mode: words.one_of(key, &modes)?.to_owned(), ..Hmac::enforce() });
                }
                "keys" => {
                    let hmac = router.hmac.as_mut().context("`keys` needs `hmac` before it")?;
                    hmac.keys = (1..=words.parsed(key)?).collect();
                }
                "addresses" => router.addresses = words.parsed(key)?,
                other => bail!("unknown router key {other:?}"),
            }
        }
        Ok(router)
    }
}

impl ReceivedAdvert {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut words = Words::new(text);
        let mut received = Self::default();
        while let Some(key) = words.next() {
            match key {
                "family" => received.family = Some(words.family()?),
                "from" => {
                    received.from = Station::Node(match words.value(key)? {
                        "lower" => 1,
                        "itself" => 2,
                        "higher" => 3,
                        other => bail!("from must be lower, higher or itself, not {other:?}"),
                    });
                }
                "source" => received.source = Some(words.parsed(key)?),
                "priority" => received.priority = words.parsed(key)?,
                "interval" => received.interval = Some(duration(words.value(key)?)?),
                "ttl" => received.ttl = words.parsed(key)?,
                "version" => received.version = Some(words.parsed(key)?),
                "type" => received.kind = words.parsed(key)?,
                "vrid" => received.vrid = Some(words.parsed(key)?),
                "count" => received.count = Some(words.parsed(key)?),
                "checksum" => {
                    received.checksum = match words.value(key)? {
                        "message" => ReceivedChecksum::Message,
                        "pseudo-header" => ReceivedChecksum::PseudoHeader,
                        "bad" => ReceivedChecksum::Bad,
                        "zero" => ReceivedChecksum::Zero,
                        other => bail!("checksum must be message, pseudo-header, bad or zero, not {other:?}"),
                    }
                }
                "list" => received.list = Some(words.one_of(key, &["other", "global", "none"])?.to_owned()),
                "cut" => received.cut = words.parsed(key)?,
                "trailing" => received.trailing = words.parsed(key)?,
                "padding" => received.padding = words.parsed(key)?,
                "reserved" => received.reserved = words.parsed(key)?,
                "fragment" => received.fragment = words.switch(key)?,
                "options" => received.options = words.switch(key)?,
                "header" => received.header_bad = words.one_of(key, &["bad"])? == "bad",
                "vlan" => received.vlan = Some(words.parsed(key)?),
                "auth" => received.auth = words.parsed(key)?,
                "password" => received.password = Some(words.value(key)?.to_owned()),
                "destination" => received.unicast = words.one_of(key, &["unicast"])? == "unicast",
                other if received.trailer.read(other, &mut words)? => {}
                other => bail!("unknown key {other:?} of a received advert"),
            }
        }
        Ok(received)
    }
}

impl ExpectedFrame {
    /// Parses a frame, without the `at once` or `after …` that follows it.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut words = Words::new(text);
        let mut expected = Self::default();
        match words.next() {
            Some("advert") => {}
            Some("announcement") => expected.announcement = true,
            other => bail!("expected `advert` or `announcement`, found {other:?}"),
        }
        while let Some(key) = words.next() {
            match key {
                "first" => expected.first = true,
                "of" => expected.of = Some(words.parsed(key)?),
                "family" => expected.family = Some(words.family()?),
                "priority" => expected.priority = Some(words.parsed(key)?),
                "interval" => expected.interval = Some(duration(words.value(key)?)?),
                "version" => expected.version = Some(words.parsed(key)?),
                "ttl" => expected.ttl = Some(words.parsed(key)?),
                "source" => expected.own_source = words.one_of(key, &["own"])? == "own",
                "destination" => {
                    expected.destination = Some(words.one_of(key, &["group", "peer"])?.to_owned());
                }
                "mac" => expected.mac = Some(words.one_of(key, &["virtual", "own"])?.to_owned()),
                "checksum" => {
                    let forms = ["right", "rfc5798", "rfc9568"];
                    expected.checksum = Some(words.one_of(key, &forms)?.to_owned());
                }
                "list" => expected.list = words.one_of(key, &["configured"])? == "configured",
                "auth" => expected.auth = Some(words.parsed(key)?),
                "signed" => {
                    expected.signed = Some(match words.value(key)? {
                        "off" => 0,
                        id => id
                            .parse()
                            .with_context(|| format!("signed must be off or a key ID, not {id:?}"))?,
                    });
                }
                other => bail!("unknown key {other:?} of a sent frame"),
            }
        }
        Ok(expected)
    }
}

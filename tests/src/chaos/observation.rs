//! The meaning of captured frames for the judge: adverts, questions, answers and announcements.
//!
//! A frame is attributed to the node behind the switch port that it entered, so a virtual MAC does
//! not hide its sender.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::genuine::{Attack, Genuine};
use super::segment::{Router, Segment};
use super::wire::Record;
use crate::configuration::Family;
use crate::station::Station;
use crate::time::WallTime;

/// Number of source addresses that the clients use for ARP requests and Neighbor Solicitations.
/// Each question uses the next address, so that an answer can be matched with its question.
pub(crate) const SOURCES: u16 = 32;
/// Last byte of the first IPv4 source address.
const FIRST_SOURCE: u8 = 128;
/// ICMP identifier of echo requests to the MAC that the client has learned.
pub(crate) const LEARNED: u16 = 0xc405;
/// ICMP identifier of echo requests that are sent to a node at its switch port.
pub(crate) const DIRECT: u16 = 0xc406;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const VRRP: u8 = 112;

/// The meaning of a frame, and where and when the frame was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Time of capture.
    pub time: WallTime,
    /// Station whose switch port the frame passed through.
    pub port: Station,
    /// Whether the station sent the frame; otherwise the frame was sent to the station.
    pub sent: bool,
    /// Index of the virtual router in the segment.
    pub router: usize,
    /// Meaning of the frame for this router.
    pub meaning: Meaning,
}

/// The meaning of a frame for a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// An advert.
    Advert {
        /// Node that sent the advert.
        node: u8,
        /// Priority; 0 if the sender relinquishes mastership.
        priority: u8,
    },
    /// A question about the router's address.
    Request(Question),
    /// The answer to a question.
    Answer(Question),
    /// An unsolicited claim of the address: gratuitous ARP, unsolicited Neighbor Advertisement, or
    /// an ARP request or Neighbor Solicitation with the address as its source.
    Announcement,
}

/// A client's question, identified by its number until the number is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// ARP request or Neighbor Solicitation: which MAC has the address?
    Neighbor(u16),
    /// Echo request to the MAC that the client has learned.
    Echo(u16),
    /// Echo request to one node, sent at the node's switch port.
    Direct(u16),
}

impl Question {
    /// Returns the name of this kind of question, as used in timelines.
    pub fn word(self, family: Family) -> &'static str {
        match (self, family) {
            (Self::Neighbor(_), Family::V4) => "ARP",
            (Self::Neighbor(_), Family::V6) => "ND",
            (Self::Echo(_) | Self::Direct(_), _) => "ping",
        }
    }

    fn echo(identifier: u16, sequence: u16) -> Option<Self> {
        match identifier {
            LEARNED => Some(Self::Echo(sequence)),
            DIRECT => Some(Self::Direct(sequence)),
            _ => None,
        }
    }
}

/// Returns the source address of the client's ARP request with this number.
pub(crate) fn source4(number: u16) -> Ipv4Addr {
    let offset = u8::try_from(number % SOURCES).unwrap_or(0);
    Ipv4Addr::new(192, 168, 122, FIRST_SOURCE + offset)
}

/// Returns the source address of the client's Neighbor Solicitation with this number.
pub(crate) fn source6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0x122, 0, 0, 0, 0, 1, number % SOURCES)
}

/// Returns the number of the question with this source address.
fn number_of(source: IpAddr) -> Option<u16> {
    match source {
        IpAddr::V4(source) => (0..SOURCES).find(|number| source4(*number) == source),
        IpAddr::V6(source) => (0..SOURCES).find(|number| source6(*number) == source),
    }
}

/// Interprets the frames of an episode, in order of capture.
#[derive(Debug)]
pub(crate) struct Interpreter {
    by_address: HashMap<IpAddr, usize>,
    by_vrid: HashMap<(u8, bool), usize>,
    /// Node that last sent an advert with this source address.
    senders: HashMap<IpAddr, u8>,
    /// The adverts of the nodes, if there is an attacker. Other adverts are irrelevant to the
    /// judge, because signed routers must ignore them.
    genuine: Option<Genuine>,
}

impl Interpreter {
    pub(crate) fn new(segment: &Segment) -> Self {
        let indexed = || segment.routers.iter().enumerate();
        let key = |router: &Router| (router.vrid, router.address.is_ipv6());
        Self {
            by_address: indexed().map(|(index, router)| (router.address, index)).collect(),
            by_vrid: indexed().map(|(index, router)| (key(router), index)).collect(),
            senders: HashMap::new(),
            genuine: None,
        }
    }

    /// Like [`Self::new`], for a segment with an attacker.
    pub(crate) fn with_attacker(segment: &Segment) -> Self {
        Self { genuine: Some(Genuine::default()), ..Self::new(segment) }
    }

    /// Returns the forged and replayed adverts that have reached nodes since the last call.
    pub(crate) fn take_attack(&mut self) -> Attack {
        self.genuine.as_mut().map(Genuine::take_attack).unwrap_or_default()
    }

    /// Returns the meaning of a frame, or `None` if the frame is irrelevant to the judge.
    pub(crate) fn read(&mut self, record: &Record) -> Option<Observation> {
        let (router, meaning) = self.meaning(record)?;
        Some(Observation { time: record.time, port: record.port, sent: record.sent, router, meaning })
    }

    fn meaning(&mut self, record: &Record) -> Option<(usize, Meaning)> {
        let bytes = &record.bytes[..];
        match u16_at(bytes, 12)? {
            ETHERTYPE_ARP => self.arp(bytes),
            ETHERTYPE_IPV4 => {
                let (source, target) = (v4_at(bytes, 26)?, v4_at(bytes, 30)?);
                let payload = bytes.get(14 + usize::from(bytes.get(14)? & 0xf) * 4..)?;
                match *bytes.get(23)? {
                    ICMP => self.echo(source, target, payload, (8, 0)),
                    VRRP => self.advert(record, source, payload),
                    _ => None,
                }
            }
            ETHERTYPE_IPV6 => {
                let (source, target) = (v6_at(bytes, 22)?, v6_at(bytes, 38)?);
                let payload = bytes.get(54..)?;
                match *bytes.get(20)? {
                    ICMPV6 => self
                        .echo(source, target, payload, (128, 129))
                        .or_else(|| self.neighbor_discovery(source, target, payload)),
                    VRRP => self.advert(record, source, payload),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    fn arp(&self, bytes: &[u8]) -> Option<(usize, Meaning)> {
        let (sender, target) = (v4_at(bytes, 28)?, v4_at(bytes, 38)?);
        if let Some(router) = self.router(sender) {
            let is_reply = u16_at(bytes, 20)? == 2;
            return match number_of(target) {
                Some(number) if is_reply => Some((router, Meaning::Answer(Question::Neighbor(number)))),
                // A reply to a host other than the client is not an unsolicited claim.
                None if is_reply && sender != target => None,
                _ => Some((router, Meaning::Announcement)),
            };
        }
        Some((self.router(target)?, Meaning::Request(Question::Neighbor(number_of(sender)?))))
    }

    fn echo(
        &self,
        source: IpAddr,
        target: IpAddr,
        icmp: &[u8],
        (request, reply): (u8, u8),
    ) -> Option<(usize, Meaning)> {
        let question = || Question::echo(u16_at(icmp, 4)?, u16_at(icmp, 6)?);
        match *icmp.first()? {
            kind if kind == request => Some((self.router(target)?, Meaning::Request(question()?))),
            kind if kind == reply => Some((self.router(source)?, Meaning::Answer(question()?))),
            _ => None,
        }
    }

    fn neighbor_discovery(&self, source: IpAddr, target: IpAddr, icmp: &[u8]) -> Option<(usize, Meaning)> {
        const SOLICITATION: u8 = 135;
        const ADVERTISEMENT: u8 = 136;
        const SOLICITED: u8 = 0x40;
        let asked = v6_at(icmp, 8);
        match *icmp.first()? {
            SOLICITATION => {
                if let Some(router) = self.router(source) {
                    return Some((router, Meaning::Announcement));
                }
                Some((self.router(asked?)?, Meaning::Request(Question::Neighbor(number_of(source)?))))
            }
            ADVERTISEMENT => {
                let router = self.router(asked?)?;
                match number_of(target) {
                    Some(number) => Some((router, Meaning::Answer(Question::Neighbor(number)))),
                    None if icmp.get(4)? & SOLICITED != 0 => None,
                    None => Some((router, Meaning::Announcement)),
                }
            }
            _ => None,
        }
    }

    fn advert(&mut self, record: &Record, source: IpAddr, vrrp: &[u8]) -> Option<(usize, Meaning)> {
        const ADVERTISEMENT: u8 = 1;
        if vrrp.first()? & 0xf != ADVERTISEMENT {
            return None;
        }
        if self.genuine.as_mut().is_some_and(|genuine| !genuine.observe(record, source, vrrp)) {
            return None;
        }
        let router = *self.by_vrid.get(&(*vrrp.get(1)?, source.is_ipv6()))?;
        let node = match record.port {
            Station::Node(node) if record.sent => {
                self.senders.insert(source, node);
                node
            }
            _ => *self.senders.get(&source)?,
        };
        Some((router, Meaning::Advert { node, priority: *vrrp.get(2)? }))
    }

    fn router(&self, address: IpAddr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }
}

fn array_at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..offset + N)?.try_into().ok()
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    array_at(bytes, offset).map(u16::from_be_bytes)
}

fn v4_at(bytes: &[u8], offset: usize) -> Option<IpAddr> {
    array_at::<4>(bytes, offset).map(|octets| Ipv4Addr::from(octets).into())
}

fn v6_at(bytes: &[u8], offset: usize) -> Option<IpAddr> {
    array_at::<16>(bytes, offset).map(|octets| Ipv6Addr::from(octets).into())
}

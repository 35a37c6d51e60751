//! The guardian's record of a virtual router: its priority-0 adverts, and the addresses, routes,
//! rules and macvlan to remove once another router has taken over.
//!
//! ```text
//!  0         4      5        6         7      8          12          16        20
//!  +---------+------+--------+---------+------+----------+-----------+---------+----------+
//!  | ifindex | vrid | family | macvlan |fence | interval | addresses | packets | requests |
//!  +---------+------+--------+---------+------+----------+-----------+---------+----------+
//!  24
//!  +--------------------------------------+
//!  | EncodedSigning                       |  96 bytes, zero if adverts are not signed
//!  | for each address: AddressKey         |  24 bytes
//!  +--------------------------------------+
//!  | for each packet: length, is_unicast  |  2 × u32
//!  |   if unicast: source, destination    |  2 × Address
//!  |   bytes, padded to 8                 |
//!  +--------------------------------------+
//!  | for each request: length, zero       |  2 × u32
//!  |   netlink message, padded to 8       |
//!  +--------------------------------------+
//! ```
//!
//! `addresses`, `packets` and `requests` are numbers of elements. All numbers are in host byte
//! order. IP addresses are in network byte order.

use std::net::IpAddr;
use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use vipd_common::address::{Address, from_words, to_words};
use vipd_common::hmac::{KeyState, PseudoHeader};
use vipd_common::records::AddressKey;
use vipd_common::wire::trailer;
use zeroize::Zeroizing;

use crate::vrrp::hmac::{self, Key, WallTime};

/// The record of a router, as the engine builds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Index of the interface on which the router sends adverts.
    pub(crate) ifindex: u32,
    pub(crate) vrid: u8,
    /// IP version, 4 or 6.
    pub(crate) family: u8,
    /// Whether the router has a macvlan.
    pub(crate) has_macvlan: bool,
    /// Whether the VIPs can still be fenced after the agent's process has ended.
    pub(crate) is_fence_permanent: bool,
    /// The advert interval in milliseconds.
    pub(crate) interval: u32,
    /// The VIPs: a key for each interface on which packets to and from a VIP are filtered.
    pub(crate) addresses: Vec<AddressKey>,
    /// How the adverts are signed; `None` if they are not.
    pub(crate) signing: Option<Signing>,
    /// The priority-0 adverts.
    pub(crate) packets: Vec<Packet>,
    /// Netlink requests that remove the routes and rules of the router.
    pub(crate) requests: Vec<Vec<u8>>,
}

/// A priority-0 advert, without its trailer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    /// Source and destination of a VRRP message to a unicast peer; `None` for an Ethernet frame.
    pub(crate) route: Option<(IpAddr, IpAddr)>,
    pub(crate) bytes: Vec<u8>,
}

/// How the guardian signs the adverts of a router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signing {
    pub(crate) key: Key,
    /// VRRP version, 2 or 3.
    pub(crate) version: u8,
    /// Offset of the VRRP message in each packet.
    pub(crate) message: usize,
    /// Largest accepted difference between clocks in seconds; `None` if clocks are not compared.
    pub(crate) window: Option<u32>,
    /// Source address of the adverts.
    pub(crate) source: IpAddr,
}

/// An encoded [`Signing`].
///
/// ```text
///  0           64       68         72        76      80              96
///  +-----------+--------+----------+---------+-------+---------------+
///  | key state | key ID | version  | message | window| source        |
///  |   16 × u32|    u32 |     u32  |    u32  |  u32  |      4 × u32  |
///  +-----------+--------+----------+---------+-------+---------------+
/// ```
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct EncodedSigning {
    state: KeyState,
    /// 0 if adverts are not signed.
    key_id: u32,
    version: u32,
    message: u32,
    /// 0 if clocks are not compared.
    window: u32,
    source: Address,
}

impl EncodedSigning {
    fn set(&mut self, Signing { key, version, message, window, source }: &Signing) {
        self.state = *key.state();
        self.key_id = key.id().into();
        self.version = (*version).into();
        self.message = count(*message);
        self.window = window.unwrap_or(0);
        self.source = to_words(*source);
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Head {
    ifindex: u32,
    vrid: u8,
    family: u8,
    has_macvlan: u8,
    is_fence_permanent: u8,
    interval: u32,
    addresses: u32,
    packets: u32,
    requests: u32,
}

/// The header of a packet or a request.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Length {
    bytes: u32,
    is_unicast: u32,
}

impl Record {
    /// Encodes the record.
    pub(super) fn encode(&self) -> Zeroizing<Vec<u64>> {
        let mut bytes = Vec::new();
        let head = Head {
            ifindex: self.ifindex,
            vrid: self.vrid,
            family: self.family,
            has_macvlan: self.has_macvlan.into(),
            is_fence_permanent: self.is_fence_permanent.into(),
            interval: self.interval,
            addresses: count(self.addresses.len()),
            packets: count(self.packets.len()),
            requests: count(self.requests.len()),
        };
        bytes.extend_from_slice(bytemuck::bytes_of(&head));
        let signing = bytes.len()..bytes.len() + size_of::<EncodedSigning>();
        bytes.resize(signing.end, 0);
        bytes.extend_from_slice(bytemuck::cast_slice(&self.addresses));
        let mut append = |part: &[u8], route: Option<(IpAddr, IpAddr)>| {
            let length = Length { bytes: count(part.len()), is_unicast: route.is_some().into() };
            bytes.extend_from_slice(bytemuck::bytes_of(&length));
            for address in route.iter().flat_map(|(source, destination)| [source, destination]) {
                bytes.extend_from_slice(bytemuck::bytes_of(&to_words(*address)));
            }
            bytes.extend_from_slice(part);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        };
        self.packets.iter().for_each(|packet| append(&packet.bytes, packet.route));
        self.requests.iter().for_each(|request| append(request, None));
        let mut words: Zeroizing<Vec<u64>> =
            bytes.chunks_exact(8).map(bytemuck::pod_read_unaligned).collect::<Vec<_>>().into();
        // The key is written last, so that only the buffer that is cleared contains it.
        if let Some(from) = &self.signing {
            let bytes = bytemuck::cast_slice_mut(&mut words[..]);
            bytemuck::from_bytes_mut::<EncodedSigning>(&mut bytes[signing]).set(from);
        }
        words
    }
}

/// Converts a number of bytes or elements. The numbers of a record fit, because the largest record
/// has [`LARGEST`](super::writer::LARGEST) words.
fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The words of an encoded record that contain the states of the key.
pub(super) const KEY_WORDS: Range<usize> = {
    let start = size_of::<Head>();
    start / size_of::<u64>()..(start + size_of::<KeyState>()) / size_of::<u64>()
};

/// An encoded record, as the guardian reads it. No method allocates.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    head: Head,
    signing: &'a EncodedSigning,
    /// The bytes after the head and [`EncodedSigning`].
    body: &'a [u8],
}

/// A packet borrowed from an encoded record; see [`Packet`].
pub(super) struct PacketView<'a> {
    pub(super) route: Option<(IpAddr, IpAddr)>,
    pub(super) bytes: &'a [u8],
}

impl<'a> View<'a> {
    pub(super) fn new(record: &'a [u64]) -> Option<Self> {
        let mut body = bytemuck::cast_slice(record);
        let head = take(&mut body)?;
        let (signing, body) = body.split_at_checked(size_of::<EncodedSigning>())?;
        Some(Self { head, signing: bytemuck::try_from_bytes(signing).ok()?, body })
    }

    pub(super) fn ifindex(&self) -> u32 {
        self.head.ifindex
    }

    pub(super) fn vrid(&self) -> u8 {
        self.head.vrid
    }

    pub(super) fn family(&self) -> u8 {
        self.head.family
    }

    pub(super) fn has_macvlan(&self) -> bool {
        self.head.has_macvlan != 0
    }

    pub(super) fn is_fence_permanent(&self) -> bool {
        self.head.is_fence_permanent != 0
    }

    /// Returns the advert interval in milliseconds.
    pub(super) fn interval(&self) -> u32 {
        self.head.interval
    }

    /// Signs a packet of this record, and returns the trailer, which all packets of the record
    /// share; `None` if adverts are not signed. `sent` is the sequence of the router's last signed
    /// advert, 0 if there was none.
    pub(super) fn sign(
        &self,
        packet: &PacketView<'_>,
        sent: u64,
        now: WallTime,
    ) -> Option<[u8; trailer::LEN]> {
        let EncodedSigning { state, key_id, version, message, window, source } = self.signing;
        let id = u8::try_from(*key_id).ok().filter(|id| *id != 0)?;
        let version = u8::try_from(*version).ok()?;
        let header =
            PseudoHeader { family: self.head.family, version, vrid: self.head.vrid, source: *source };
        let message = packet.bytes.get(*message as usize..)?;
        Some(hmac::sign_once((id, state), sent, now, (*window != 0).then_some(*window), &header, message))
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = AddressKey> + use<'a> {
        let keys = self.body.chunks_exact(size_of::<AddressKey>());
        keys.take(self.head.addresses as usize).map(bytemuck::pod_read_unaligned)
    }

    pub(super) fn packets(&self) -> impl Iterator<Item = PacketView<'a>> + use<'a> {
        self.parts().take(self.head.packets as usize)
    }

    pub(super) fn requests(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.parts().skip(self.head.packets as usize).map(|part| part.bytes)
    }

    /// Iterates over the packets, and then the requests.
    fn parts(&self) -> impl Iterator<Item = PacketView<'a>> + use<'a> {
        let addresses = self.head.addresses as usize * size_of::<AddressKey>();
        let mut rest = self.body.get(addresses..).unwrap_or_default();
        let family = self.head.family;
        let count = self.head.packets as usize + self.head.requests as usize;
        std::iter::from_fn(move || part(&mut rest, family)).take(count)
    }
}

fn part<'a>(rest: &mut &'a [u8], family: u8) -> Option<PacketView<'a>> {
    let length: Length = take(rest)?;
    let route = if length.is_unicast == 0 {
        None
    } else {
        let [source, destination]: [Address; 2] = [take(rest)?, take(rest)?];
        Some((from_words(family, source), from_words(family, destination)))
    };
    let length = length.bytes as usize;
    let bytes = rest.get(..length)?;
    *rest = rest.get(length.next_multiple_of(8)..)?;
    Some(PacketView { route, bytes })
}

fn take<T: Pod>(rest: &mut &[u8]) -> Option<T> {
    let (value, after) = rest.split_at_checked(size_of::<T>())?;
    *rest = after;
    Some(bytemuck::pod_read_unaligned(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoded_records_equal_the_encoded_ones() {
        let [source, peer]: [IpAddr; 2] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().expect("valid"));
        for (addresses, packets, requests) in [(0, 0, 0), (1, 1, 0), (3, 2, 2), (255, 5, 1)] {
            let key = |last: u32| AddressKey::new(last, 4, [0, 0, 0, last]);
            let record = Record {
                ifindex: 7,
                vrid: 51,
                family: 4,
                has_macvlan: addresses == 3,
                is_fence_permanent: packets == 1,
                interval: 40_950,
                addresses: (0..addresses).map(key).collect(),
                signing: (packets == 2).then(|| Signing {
                    key: Key::new(3, &[7; 32]),
                    version: 3,
                    message: 34,
                    window: Some(5),
                    source,
                }),
                packets: (0..packets)
                    .map(|length| Packet {
                        route: (length % 2 == 0).then_some((source, peer)),
                        bytes: vec![0x5a; 60 + length],
                    })
                    .collect(),
                requests: vec![vec![1, 2, 3]; requests],
            };
            let words = record.encode();
            let view = View::new(&words).expect("a head");
            let decoded = Record {
                ifindex: view.ifindex(),
                vrid: view.vrid(),
                family: view.family(),
                has_macvlan: view.has_macvlan(),
                is_fence_permanent: view.is_fence_permanent(),
                interval: view.interval(),
                addresses: view.addresses().collect(),
                // Compared below.
                signing: record.signing.clone(),
                packets: view
                    .packets()
                    .map(|packet| Packet { route: packet.route, bytes: packet.bytes.to_vec() })
                    .collect(),
                requests: view.requests().map(<[u8]>::to_vec).collect(),
            };
            assert_eq!(decoded, record);
            let mut signing = EncodedSigning::zeroed();
            record.signing.iter().for_each(|from| signing.set(from));
            assert_eq!(bytemuck::bytes_of(view.signing), bytemuck::bytes_of(&signing));
            assert_eq!(bytemuck::cast_slice::<_, u8>(&words[KEY_WORDS]), bytemuck::bytes_of(&signing.state));
            for length in 0..words.len() {
                let cut = View::new(&words[..length]).map_or(0, |view| view.requests().count());
                assert!(cut <= requests);
            }
        }
    }
}

//! Builds the frames of the clients' questions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vipd_witness::internet_checksum;

use super::observation::{source4, source6};
use super::segment::Router;
use crate::station::{Mac, Station};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Returns an ARP request or Neighbor Solicitation for the router's address.
pub(super) fn neighbor(router: &Router, number: u16) -> Vec<u8> {
    match router.address {
        IpAddr::V4(address) => arp_request(address, source4(number)),
        IpAddr::V6(address) => solicitation(address, source6(number)),
    }
}

/// Returns an echo request to the router's address, with `mac` as its destination MAC.
pub(super) fn echo(router: &Router, mac: Mac, identifier: u16, sequence: u16) -> Vec<u8> {
    let message = |kind: u8| {
        let mut message = vec![kind, 0, 0, 0];
        message.extend(identifier.to_be_bytes());
        message.extend(sequence.to_be_bytes());
        message.extend([0; 8]);
        message
    };
    match router.address {
        IpAddr::V4(address) => ipv4(mac, Station::Client.ipv4(), address, message(8)),
        IpAddr::V6(address) => ipv6(mac, (Station::Client.ipv6(), address), 64, message(128)),
    }
}

fn arp_request(address: Ipv4Addr, source: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(Mac::BROADCAST, ETHERTYPE_ARP);
    // Hardware type Ethernet, protocol type IPv4, address lengths, and operation 1 (request).
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(Station::Client.mac().0);
    frame.extend(source.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

fn solicitation(address: Ipv6Addr, source: Ipv6Addr) -> Vec<u8> {
    // The solicited-node multicast group of the address (RFC 4291 section 2.7.1).
    let [.., a, b, c] = address.octets();
    let group = Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, a, b, c]);
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(address.octets());
    // Source Link-Layer Address option.
    message.extend([1, 1]);
    message.extend(Station::Client.mac().0);
    ipv6(Mac([0x33, 0x33, 0xff, a, b, c]), (source, group), 255, message)
}

fn ipv4(mac: Mac, source: Ipv4Addr, destination: Ipv4Addr, mut icmp: Vec<u8>) -> Vec<u8> {
    let checksum = internet_checksum(&icmp);
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut header = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, ICMP, 0, 0];
    let length = u16::try_from(20 + icmp.len()).unwrap_or(u16::MAX);
    header[2..4].copy_from_slice(&length.to_be_bytes());
    header.extend(source.octets());
    header.extend(destination.octets());
    let checksum = internet_checksum(&header);
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    [ethernet(mac, ETHERTYPE_IPV4), header, icmp].concat()
}

fn ipv6(mac: Mac, (source, destination): (Ipv6Addr, Ipv6Addr), hop_limit: u8, mut icmp: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(icmp.len()).unwrap_or(u16::MAX);
    let addresses = [source.octets(), destination.octets()].concat();
    // The pseudo-header (RFC 8200 section 8.1).
    let pseudo = [&addresses[..], &u32::from(length).to_be_bytes(), &[0, 0, 0, ICMPV6]].concat();
    let checksum = internet_checksum(&[&pseudo[..], &icmp].concat());
    icmp[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut frame = ethernet(mac, ETHERTYPE_IPV6);
    frame.extend([0x60, 0, 0, 0]);
    frame.extend(length.to_be_bytes());
    frame.extend([ICMPV6, hop_limit]);
    frame.extend(addresses);
    frame.extend(icmp);
    frame
}

fn ethernet(destination: Mac, ethertype: u16) -> Vec<u8> {
    let mut frame = destination.0.to_vec();
    frame.extend(Station::Client.mac().0);
    frame.extend(ethertype.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::chaos::observation::{DIRECT, Interpreter, LEARNED, Meaning, Question};
    use crate::chaos::segment::Segment;
    use crate::chaos::wire::Record;
    use crate::random::Random;
    use crate::time::WallTime;

    #[test]
    fn questions_are_recognized_in_both_families() {
        let mut segment = Segment::with_interval(2, 2, Duration::from_millis(100), &mut Random::new(1));
        segment.routers[0].address = Ipv4Addr::new(192, 168, 122, 51).into();
        segment.routers[1].address = Ipv6Addr::new(0xfd00, 0x122, 0, 0, 0, 0, 0, 52).into();
        let mut interpreter = Interpreter::new(&segment);
        for (index, router) in segment.routers.iter().enumerate() {
            let frames = [
                (neighbor(router, 7), Question::Neighbor(7)),
                (echo(router, router.mac(1), LEARNED, 300), Question::Echo(300)),
                (echo(router, router.mac(2), DIRECT, 301), Question::Direct(301)),
            ];
            for (bytes, question) in frames {
                let (time, port) = (WallTime::from_parts(1, 0), Station::Node(1));
                let observation = interpreter.read(&Record { time, port, sent: false, bytes }).unwrap();
                assert_eq!((observation.router, observation.meaning), (index, Meaning::Request(question)));
            }
        }
    }
}

//! Frames: a valid advert, and anything that is wrong with one.

use vipd_common::address;
use vipd_common::wire::checksum::Sum;
use vipd_common::wire::{ethernet, ipv4, ipv6, vrrp};

use crate::bench::PEER;

/// A description of a frame; what is not said is right.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// TPID and TCI of each tag.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) ethertype: u16,
    /// IP version, 4 or 6.
    pub(crate) family: u8,
    pub(crate) ihl: u8,
    pub(crate) version: u8,
    pub(crate) vrid: u8,
    pub(crate) priority: u8,
    /// The interval word: VRRPv2's authentication type is its high byte.
    pub(crate) word: u16,
    pub(crate) addresses: u8,
    /// VRRPv3: the checksum without pseudo-header.
    pub(crate) message_only: bool,
    pub(crate) padding: usize,
    /// Bytes from the start of the IPv4 header to be set before the checksums are made.
    pub(crate) header: Vec<(usize, u8)>,
    /// Bytes from the start of the message to be set before the checksum is made.
    pub(crate) message: Vec<(usize, u8)>,
    /// VRRPv2's authentication data.
    pub(crate) data: [u8; 8],
    /// Added inside the total length.
    pub(crate) trailing: usize,
    /// Bytes from the start of the IPv4 header to be flipped at last.
    pub(crate) damage: Vec<usize>,
}

impl Frame {
    /// A valid advert of one address for VRID 51 (VRRPv3) or 52 (VRRPv2).
    pub(crate) fn valid(version: u8) -> Self {
        Self {
            tags: Vec::new(),
            ethertype: ethernet::TYPE_IPV4,
            family: 4,
            ihl: 5,
            version,
            vrid: if version == 2 { 52 } else { 51 },
            priority: 100,
            word: if version == 2 { 1 } else { 100 },
            addresses: 1,
            message_only: false,
            padding: 0,
            header: Vec::new(),
            message: Vec::new(),
            data: [0; 8],
            trailing: 0,
            damage: Vec::new(),
        }
    }

    /// A valid VRRPv3 advert of one address over IPv6, for VRID 51.
    pub(crate) fn valid6() -> Self {
        Self { ethertype: ethernet::TYPE_IPV6, family: 6, ..Self::valid(3) }
    }

    /// Offset of the message from the IP header.
    pub(crate) fn header_len(&self) -> usize {
        if self.family == 6 { ipv6::HEADER_LEN } else { usize::from(self.ihl) * 4 }
    }

    /// Offset of the IP header.
    pub(crate) fn packet(&self) -> usize {
        ethernet::HEADER_LEN + 4 * self.tags.len()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(if self.family == 6 { ipv6::VRRP_GROUP_MAC } else { ipv4::VRRP_GROUP_MAC });
        frame.extend([2, 0, 0, 0, 0, 1]);
        for (tpid, tci) in &self.tags {
            frame.extend(tpid.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        frame.extend(self.ethertype.to_be_bytes());
        let mut packet = self.ip_packet();
        for at in &self.damage {
            packet[*at] ^= 0x40;
        }
        frame.extend(packet);
        frame.extend((0..self.padding).map(|_| 0xa5));
        frame
    }

    fn ip_packet(&self) -> Vec<u8> {
        let header = self.header_len();
        let length = vrrp::message_len(self.version, self.family, self.addresses) + self.trailing;
        let mut packet = vec![0; header + length];
        self.write_header(&mut packet, header, length);
        let (source, destination) = if self.family == 6 {
            let (halves, _) = packet[ipv6::SOURCE..40].as_chunks::<16>();
            (address::ipv6(halves[0]), address::ipv6(halves[1]))
        } else {
            let (halves, _) = packet[ipv4::SOURCE..20].as_chunks::<4>();
            (address::ipv4(halves[0]), address::ipv4(halves[1]))
        };

        let message = &mut packet[header..];
        message[0] = self.version << 4 | vrrp::TYPE_ADVERTISEMENT;
        message[vrrp::VRID] = self.vrid;
        message[vrrp::PRIORITY] = self.priority;
        message[vrrp::COUNT] = self.addresses;
        message[vrrp::INTERVAL..6].copy_from_slice(&self.word.to_be_bytes());
        let size = if self.family == 6 { 16 } else { 4 };
        for index in 0..self.addresses {
            let at = vrrp::HEADER_LEN + size * usize::from(index);
            if self.family == 6 {
                message[at..at + 2].copy_from_slice(&[0xfe, 0x80]);
                message[at + 15] = index;
            } else {
                message[at..at + 4].copy_from_slice(&[10, 1, 0, index]);
            }
        }
        if self.version == 2 {
            let at = vrrp::HEADER_LEN + size * usize::from(self.addresses);
            message[at..at + 8].copy_from_slice(&self.data);
        }
        for (at, value) in &self.message {
            message[*at] = *value;
        }
        message[vrrp::CHECKSUM..8].fill(0);
        let pseudo = if self.version == 2 || self.message_only {
            Sum::new()
        } else {
            vrrp::pseudo_header(&source, &destination, message.len())
        };
        let checksum = pseudo.bytes(message).checksum();
        message[vrrp::CHECKSUM..8].copy_from_slice(&checksum.to_be_bytes());
        packet
    }

    fn write_header(&self, packet: &mut [u8], header: usize, length: usize) {
        if self.family == 6 {
            let source = [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
            ipv6::write(packet, source, ipv6::VRRP_GROUP, ipv4::PROTOCOL_VRRP, length)
        } else {
            ipv4::write_vrrp(packet, PEER, header - ipv4::HEADER_LEN + length)
        }
        .expect("there is room");
        if self.family == 4 {
            packet[0] = 0x40 | self.ihl;
            packet[ipv4::HEADER_LEN..header].fill(1);
        }
        for (at, value) in &self.header {
            packet[*at] = *value;
        }
        if self.family == 4 {
            packet[ipv4::CHECKSUM..12].fill(0);
            let checksum = Sum::new().bytes(&packet[..header]).checksum();
            packet[ipv4::CHECKSUM..12].copy_from_slice(&checksum.to_be_bytes());
        }
    }
}

//! Frames: a valid advert, and anything that is wrong with one.

use vipd_common::wire::checksum::Sum;
use vipd_common::wire::{ethernet, ipv4, vrrp};

/// A description of a frame; what is not said is right.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// TPID and TCI of each tag.
    pub(crate) tags: Vec<(u16, u16)>,
    pub(crate) ethertype: u16,
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
            trailing: 0,
            damage: Vec::new(),
        }
    }

    /// Offset of the IPv4 header.
    pub(crate) fn packet(&self) -> usize {
        ethernet::HEADER_LEN + 4 * self.tags.len()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut frame = Vec::new();
        frame.extend(ipv4::VRRP_GROUP_MAC);
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
        const SOURCE: [u8; 4] = [10, 0, 0, 1];
        let header = usize::from(self.ihl) * 4;
        let length = vrrp::message_len(self.version, self.addresses);
        let mut packet = vec![0; header + length + self.trailing];
        ipv4::write_vrrp(&mut packet, SOURCE, header - ipv4::HEADER_LEN + length + self.trailing)
            .expect("there is room");
        packet[0] = 0x40 | self.ihl;
        for option in &mut packet[ipv4::HEADER_LEN..header] {
            *option = 1;
        }
        for (at, value) in &self.header {
            packet[*at] = *value;
        }
        packet[ipv4::CHECKSUM..12].fill(0);
        let checksum = Sum::new().bytes(&packet[..header]).checksum();
        packet[ipv4::CHECKSUM..12].copy_from_slice(&checksum.to_be_bytes());

        let fields =
            vrrp::Fields { version: self.version, vrid: self.vrid, priority: self.priority, interval: 1 };
        let list = (0..usize::from(self.addresses)).map(|_| [0; 4]);
        let message = &mut packet[header..];
        vrrp::write(message, fields, SOURCE, list).expect("there is room");
        for index in 0..self.addresses {
            let at = vrrp::HEADER_LEN + 4 * usize::from(index);
            message[at..at + 4].copy_from_slice(&[10, 1, 0, index]);
        }
        message[vrrp::INTERVAL..6].copy_from_slice(&self.word.to_be_bytes());
        for (at, value) in &self.message {
            message[*at] = *value;
        }
        message[vrrp::CHECKSUM..8].fill(0);
        let pseudo = if self.version == 2 || self.message_only {
            Sum::new()
        } else {
            vrrp::pseudo_header(
                u32::from_be_bytes(SOURCE),
                u32::from_be_bytes(ipv4::VRRP_GROUP),
                message.len(),
            )
        };
        let checksum = pseudo.bytes(message).checksum();
        message[vrrp::CHECKSUM..8].copy_from_slice(&checksum.to_be_bytes());
        packet
    }
}

//! Prepared frames.

use std::net::Ipv4Addr;

use vipd_common::wire::{arp, checksum, ethernet, ipv4, vrrp};

/// Offset of the VRRP message in the frame: no VLAN tag, no IPv4 options.
const MESSAGE: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;

/// The advert does not fit into a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an advert carries 1 to 255 addresses")]
pub struct FrameError;

/// A virtual router's advert as it goes out, ready but for its priority.
///
/// ```text
///  0          14        34                36
///  +----------+---------+------+----------+----------+----- …
///  | Ethernet | IPv4    | VRID | priority | count …  | checksum …
///  +----------+---------+------+----------+----------+----- …
/// ```
#[derive(Clone, Debug)]
pub struct AdvertFrame(Vec<u8>);

impl AdvertFrame {
    /// Prepares the frame.
    ///
    /// # Errors
    /// [`FrameError`] above 255 addresses.
    pub fn new(
        mac: [u8; 6],
        source: Ipv4Addr,
        fields: vrrp::Fields,
        addresses: impl ExactSizeIterator<Item = Ipv4Addr>,
    ) -> Result<Self, FrameError> {
        let source = source.octets();
        let mut frame = vec![0; MESSAGE + vrrp::MAX_LEN];
        let (headers, message) = frame.split_at_mut(MESSAGE);
        let length = vrrp::write(message, fields, source, addresses.map(|address| address.octets()));
        let length = length.ok_or(FrameError)?;
        ethernet::write(headers, ipv4::VRRP_GROUP_MAC, mac, ethernet::TYPE_IPV4).ok_or(FrameError)?;
        ipv4::write_vrrp(&mut headers[ethernet::HEADER_LEN..], source, length).ok_or(FrameError)?;
        frame.truncate(MESSAGE + length);
        Ok(Self(frame))
    }

    /// The frame with this priority: the byte and the checksum are patched, if they are not so already.
    pub fn with_priority(&mut self, priority: u8) -> &[u8] {
        let message = &mut self.0[MESSAGE..];
        // The 16-bit word of the checksum that the priority is in: priority and address count.
        let count = message[vrrp::COUNT];
        let old = u16::from_be_bytes([message[vrrp::PRIORITY], count]);
        let new = u16::from_be_bytes([priority, count]);
        if old != new {
            let sum = u16::from_be_bytes([message[vrrp::CHECKSUM], message[vrrp::CHECKSUM + 1]]);
            let sum = checksum::update(sum, old, new).to_be_bytes();
            message[vrrp::PRIORITY] = priority;
            message[vrrp::CHECKSUM..vrrp::CHECKSUM + 2].copy_from_slice(&sum);
        }
        &self.0
    }
}

/// A gratuitous ARP frame of one MAC address, ready but for the IPv4 address.
#[derive(Clone, Debug)]
pub struct ArpFrame([u8; arp::FRAME_LEN]);

impl ArpFrame {
    /// Prepares the frame.
    pub fn new(mac: [u8; 6]) -> Self {
        Self(arp::gratuitous(mac, [0; 4]))
    }

    /// The frame for this address.
    pub fn with_address(&mut self, address: Ipv4Addr) -> &[u8] {
        for offset in [arp::FRAME_SENDER_IP, arp::FRAME_TARGET_IP] {
            self.0[offset..offset + 4].copy_from_slice(&address.octets());
        }
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vipd_common::counters::Counter;
    use vipd_common::parse::{Cursor, judge, locate};

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const SOURCE: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 11);

    fn frame(version: u8, addresses: u8) -> AdvertFrame {
        let fields = vrrp::Fields { version, vrid: 51, priority: 100, interval: 1 };
        let addresses: Vec<_> = (0..addresses).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
        AdvertFrame::new(MAC, SOURCE, fields, addresses.into_iter()).expect("fits")
    }

    #[test]
    fn every_priority_leaves_a_valid_advert() {
        for version in [2, 3] {
            for addresses in [1, 2, 255] {
                let mut frame = frame(version, addresses);
                for priority in [100, 0, 255, 1, 100, 0, 0, 100] {
                    let bytes = frame.with_priority(priority);
                    let offset = ethernet::vrrp_offset(&bytes).expect("VRRP");
                    let packet = &bytes[offset..];
                    let located = locate(&packet).expect("to the group");
                    let advert = judge(&packet, &located, version).expect("valid");
                    assert_eq!(advert.priority, priority);
                    assert_eq!(advert.count, addresses);
                    assert_eq!(packet.len(), packet.be16(ipv4::TOTAL_LENGTH).map_or(0, usize::from));
                }
            }
        }
    }

    #[test]
    fn a_wrong_byte_is_noticed() {
        let mut frame = frame(3, 1);
        let mut bytes = frame.with_priority(100).to_vec();
        *bytes.last_mut().expect("not empty") ^= 1;
        let packet = &bytes[ethernet::HEADER_LEN..];
        let located = locate(&packet).expect("to the group");
        assert_eq!(judge(&packet, &located, 3), Err(Counter::ChecksumErrors));
    }

    #[test]
    fn more_than_255_addresses_are_refused() {
        let fields = vrrp::Fields { version: 3, vrid: 1, priority: 1, interval: 1 };
        let addresses = vec![SOURCE; 256];
        assert_eq!(AdvertFrame::new(MAC, SOURCE, fields, addresses.into_iter()).err(), Some(FrameError));
    }

    #[test]
    fn gratuitous_arp_says_the_address_twice() {
        let mut frame = ArpFrame::new(MAC);
        let bytes = frame.with_address(Ipv4Addr::new(10, 0, 0, 1)).to_vec();
        assert_eq!(&bytes[0..6], &[0xff; 6]);
        assert_eq!(&bytes[6..12], &MAC);
        assert_eq!(&bytes[12..22], &[0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(&bytes[22..28], &MAC);
        assert_eq!(&bytes[28..32], &[10, 0, 0, 1]);
        assert_eq!(&bytes[38..42], &[10, 0, 0, 1]);
        assert_eq!(&frame.with_address(Ipv4Addr::new(10, 0, 0, 2))[38..42], &[10, 0, 0, 2]);
    }
}

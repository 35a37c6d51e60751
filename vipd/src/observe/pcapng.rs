//! Encodes a capture file (draft-ietf-opsawg-pcapng).

use std::time::Duration;

use super::listener::Frame;
use crate::xdp::Action;

/// Block types.
const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
/// Byte-order magic of the section header.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
/// Link types: Ethernet, and IP without a link-layer header.
const LINKTYPE_ETHERNET: u16 = 1;
const LINKTYPE_RAW: u16 = 101;
/// Option codes.
const END: u16 = 0;
const COMMENT: u16 = 1;
const INTERFACE_NAME: u16 = 2;
const USER_APPLICATION: u16 = 4;
const TIME_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;
const PACKET_VERDICT: u16 = 7;
/// Flags of a packet: its direction.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// Type of a verdict option that holds the return code of an XDP program.
const VERDICT_XDP: u8 = 2;

/// Returns the first blocks of a capture file for one interface.
pub(crate) fn header(interface: &str, has_ethernet: bool) -> Vec<u8> {
    let mut section = Vec::new();
    section.extend(BYTE_ORDER.to_ne_bytes());
    // Version 1.0; the length of the section is unknown.
    section.extend(1_u16.to_ne_bytes());
    section.extend(0_u16.to_ne_bytes());
    section.extend((-1_i64).to_ne_bytes());
    option(&mut section, USER_APPLICATION, concat!("vipd ", env!("CARGO_PKG_VERSION")).as_bytes());
    option(&mut section, END, &[]);
    let mut description = Vec::new();
    let link_type = if has_ethernet { LINKTYPE_ETHERNET } else { LINKTYPE_RAW };
    description.extend(link_type.to_ne_bytes());
    description.extend([0; 2]);
    // No limit on the length of frames.
    description.extend(0_u32.to_ne_bytes());
    option(&mut description, INTERFACE_NAME, interface.as_bytes());
    // Timestamps in units of 10^-9 s.
    option(&mut description, TIME_RESOLUTION, &[9]);
    option(&mut description, END, &[]);
    let mut file = block(SECTION_HEADER, &section);
    file.extend(block(INTERFACE_DESCRIPTION, &description));
    file
}

/// Returns the block for a frame.
pub(crate) fn packet(frame: &Frame, comment: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(0_u32.to_ne_bytes());
    let [high, low] = halves(frame.time);
    body.extend(high.to_ne_bytes());
    body.extend(low.to_ne_bytes());
    for length in [frame.bytes.len(), frame.length] {
        body.extend(u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    }
    body.extend(&frame.bytes);
    pad(&mut body);
    option(&mut body, COMMENT, comment.as_bytes());
    let direction = if frame.is_local { OUTBOUND } else { INBOUND };
    option(&mut body, PACKET_FLAGS, &direction.to_ne_bytes());
    if let Some(action) = frame.action {
        let mut verdict = vec![VERDICT_XDP];
        verdict.extend(action_code(action).to_ne_bytes());
        option(&mut body, PACKET_VERDICT, &verdict);
    }
    option(&mut body, END, &[]);
    block(ENHANCED_PACKET, &body)
}

/// Returns the return code of an XDP program (`enum xdp_action`).
fn action_code(action: Action) -> u64 {
    match action {
        Action::Drop => 1,
        Action::Pass => 2,
    }
}

/// Returns the upper and lower 32 bits of a time in nanoseconds.
fn halves(time: Duration) -> [u32; 2] {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    let bytes = nanos.to_be_bytes();
    let (words, _) = bytes.as_chunks::<4>();
    [u32::from_be_bytes(words[0]), u32::from_be_bytes(words[1])]
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 12).unwrap_or(u32::MAX).to_ne_bytes();
    [&kind.to_ne_bytes(), &length, body, &length].concat()
}

/// Appends an option. A value of more than 65,535 bytes is truncated.
fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    to.extend(code.to_ne_bytes());
    to.extend(length.to_ne_bytes());
    to.extend(&value[..usize::from(length)]);
    pad(to);
}

/// Pads to a multiple of 32 bits.
fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_equal_lengths_at_both_ends_and_are_aligned() {
        let frame = Frame {
            time: Duration::new(5, 1),
            arrival: Duration::ZERO,
            interface: 0,
            is_local: false,
            action: Some(Action::Drop),
            bytes: vec![7; 61],
            length: 61,
        };
        let mut file = header("eth0", true);
        file.extend(packet(&frame, "accepted for a"));
        let mut kinds = Vec::new();
        let mut rest = &file[..];
        while let Some(kind) = rest.first_chunk() {
            let word = |at: usize| u32::from_ne_bytes(*rest[at..].first_chunk().expect("a word"));
            let length = word(4) as usize;
            assert_eq!((word(length - 4) as usize, length % 4), (length, 0));
            kinds.push(u32::from_ne_bytes(*kind));
            rest = &rest[length..];
        }
        assert_eq!(kinds, [SECTION_HEADER, INTERFACE_DESCRIPTION, ENHANCED_PACKET]);
    }

    #[test]
    fn times_are_nanoseconds_in_two_words() {
        assert_eq!(halves(Duration::from_nanos(1 << 32 | 7)), [1, 7]);
    }
}

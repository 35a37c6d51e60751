//! Writes captured frames to a pcapng file (draft-ietf-opsawg-pcapng), with one interface per
//! switch port. Wireshark can read such files.

use std::io::{self, Write};

use super::wire::Record;
use crate::station::Station;

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
/// Link type (LINKTYPE_ETHERNET).
const ETHERNET: u32 = 1;
// Option codes.
const COMMENT: u16 = 1;
const IF_NAME: u16 = 2;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
/// Timestamp resolution, as the negated exponent of a power of ten: 10⁻⁹ seconds.
const NANOSECONDS: u8 = 9;

/// Writes the frames at the ports of these stations. A frame from a station is marked as inbound,
/// because it enters the switch, and a frame to a station as outbound.
///
/// # Errors
/// Returns an error if `out` cannot be written to.
pub(super) fn write(
    out: &mut impl Write,
    comment: &str,
    stations: &[Station],
    records: &[Record],
) -> io::Result<()> {
    let mut header = Vec::new();
    header.extend(BYTE_ORDER_MAGIC.to_le_bytes());
    // Version 1.0, and a section of unknown length.
    header.extend([1, 0, 0, 0]);
    header.extend(u64::MAX.to_le_bytes());
    option(&mut header, COMMENT, comment.as_bytes());
    end_of_options(&mut header);
    block(out, SECTION_HEADER, &header)?;
    for station in stations {
        let mut description = Vec::new();
        description.extend(ETHERNET.to_le_bytes());
        // No limit on the captured length.
        description.extend([0; 4]);
        option(&mut description, IF_NAME, station.port_name().as_bytes());
        option(&mut description, IF_TSRESOL, &[NANOSECONDS]);
        end_of_options(&mut description);
        block(out, INTERFACE_DESCRIPTION, &description)?;
    }
    for record in records {
        let Some(interface) = stations.iter().position(|station| *station == record.port) else { continue };
        let nanoseconds = record.time.as_nanos();
        let length = number(record.bytes.len())?;
        let mut packet = Vec::new();
        packet.extend(number(interface)?.to_le_bytes());
        // The upper and lower halves of the timestamp.
        for half in [nanoseconds >> 32, nanoseconds & 0xffff_ffff] {
            packet.extend(u32::try_from(half).map_err(io::Error::other)?.to_le_bytes());
        }
        packet.extend(length.to_le_bytes());
        packet.extend(length.to_le_bytes());
        padded(&mut packet, &record.bytes);
        let direction: u32 = if record.sent { 1 } else { 2 };
        option(&mut packet, EPB_FLAGS, &direction.to_le_bytes());
        end_of_options(&mut packet);
        block(out, ENHANCED_PACKET, &packet)?;
    }
    Ok(())
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    // The length, which is stored at both ends of the block, includes the type and both length
    // fields.
    let length = number(body.len() + 12)?.to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length)?;
    out.write_all(body)?;
    out.write_all(&length)
}

fn option(to: &mut Vec<u8>, code: u16, value: &[u8]) {
    // The length field has 16 bits; no plan is this long.
    let value = &value[..value.len().min(60_000)];
    to.extend(code.to_le_bytes());
    to.extend(u16::try_from(value.len()).unwrap_or(0).to_le_bytes());
    padded(to, value);
}

fn end_of_options(to: &mut Vec<u8>) {
    to.extend([0; 4]);
}

fn padded(to: &mut Vec<u8>, value: &[u8]) {
    to.extend(value);
    to.resize(to.len().next_multiple_of(4), 0);
}

fn number(value: usize) -> io::Result<u32> {
    u32::try_from(value).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WallTime;

    #[test]
    fn blocks_are_aligned_and_have_their_length_at_both_ends() {
        let record = |port, length: usize| Record {
            time: WallTime::from_parts(1_700_000_000, 5),
            port,
            sent: true,
            bytes: vec![7; length],
        };
        let records =
            [record(Station::Node(1), 61), record(Station::Client, 60), record(Station::Node(9), 60)];
        let mut file = Vec::new();
        write(&mut file, "a comment", &[Station::Node(1), Station::Client], &records).unwrap();
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
        let (mut kinds, mut at) = (Vec::new(), 0);
        while at < file.len() {
            let length = usize::try_from(word(at + 4)).unwrap();
            assert_eq!(length % 4, 0);
            assert_eq!(word(at + length - 4), word(at + 4));
            kinds.push(word(at));
            at += length;
        }
        assert_eq!(kinds, [SECTION_HEADER, 1, 1, 6, 6], "frames at other ports are left out");
    }
}

//! The programs of a [`Tap`](super::tap::Tap), as BPF instructions.
//!
//! ```text
//!  record:  0        8        16       24
//!           +--------+--------+--------+-------  ...
//!           | time   | ifindex| length | frame, at most CAPACITY bytes
//!           +--------+--------+--------+-------  ...
//! ```

use std::os::fd::RawFd;

/// Maximum number of bytes copied from a frame. The longest advert fits: an Ethernet header with
/// tags, an IPv6 header and 255 addresses.
pub(super) const CAPACITY: usize = 4352;
/// Offset of the frame in a record, in bytes.
pub(super) const HEADER: usize = 24;

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Opcodes (Documentation/bpf/standardization/instruction-set.rst).
const LOAD_32: u8 = 0x61;
const STORE_64: u8 = 0x7b;
const LOAD_IMMEDIATE: u8 = 0x18;
const MOVE: u8 = 0xb7;
const MOVE_REGISTER: u8 = 0xbf;
const ADD: u8 = 0x07;
const ATOMIC_64: u8 = 0xdb;
const JUMP: u8 = 0x05;
const JUMP_IF_EQUAL: u8 = 0x15;
const JUMP_IF_BELOW: u8 = 0xa5;
const JUMP_IF_AT_MOST: u8 = 0xb5;
const CALL: u8 = 0x85;
const EXIT: u8 = 0x95;
/// Helpers (`include/uapi/linux/bpf.h`).
const KTIME_GET_NS: i32 = 5;
const RINGBUF_RESERVE: i32 = 131;
const RINGBUF_SUBMIT: i32 = 132;
const XDP_GET_BUFF_LEN: i32 = 188;
const XDP_LOAD_BYTES: i32 = 189;
/// Marks the immediate of [`LOAD_IMMEDIATE`] as a map's descriptor.
const PSEUDO_MAP_FD: u8 = 1;
/// Marks the immediate of [`LOAD_IMMEDIATE`] as the descriptor of a map. The instruction loads the
/// address of the map's value.
const PSEUDO_MAP_VALUE: u8 = 2;
/// Immediate of [`ATOMIC_64`] for an addition.
const ATOMIC_ADD: i32 = 0;
/// Offset of `xdp_md.ingress_ifindex`.
const INGRESS_IFINDEX: i16 = 12;
/// `XDP_DROP`.
const XDP_DROP: i32 = 1;
/// Minimum number of bytes copied: the length of an IPv4 header. The lower bound is for the
/// verifier, which rejects a copy whose length may be 0.
const SHORTEST: i32 = 20;

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    let registers =
        if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
    Instruction { code, registers, offset, immediate }
}

/// Returns the program that drops frames.
pub(super) fn drop() -> Vec<Instruction> {
    vec![instruction(MOVE, 0, 0, 0, XDP_DROP), instruction(EXIT, 0, 0, 0, 0)]
}

/// Returns the program that copies frames to this ring buffer and then drops them. If the ring
/// buffer is full, the program drops frames without copying them, and counts them in `lost`, a map
/// that contains one 64-bit number.
pub(super) fn copy(ring: RawFd, lost: RawFd) -> Vec<Instruction> {
    let capacity = i32::try_from(CAPACITY).unwrap_or(i32::MAX);
    let header = i32::try_from(HEADER).unwrap_or(i32::MAX);
    let mut code = Vec::new();
    // Indices of the jumps to the end, whose offsets are filled in below.
    let mut to_end = Vec::new();
    let emit = |code: &mut Vec<_>, all: &[(u8, u8, u8, i16, i32)]| {
        code.extend(
            all.iter().map(|(op, to, from, offset, value)| instruction(*op, *to, *from, *offset, *value)),
        );
    };
    // r6: the context, r7: the interface, r8: the length.
    emit(
        &mut code,
        &[
            (MOVE_REGISTER, 6, 1, 0, 0),
            (LOAD_32, 7, 6, INGRESS_IFINDEX, 0),
            (CALL, 0, 0, 0, XDP_GET_BUFF_LEN),
            (MOVE_REGISTER, 8, 0, 0, 0),
            (JUMP_IF_BELOW, 8, 0, 0, SHORTEST),
        ],
    );
    to_end.push(code.len() - 1);
    emit(
        &mut code,
        &[
            (LOAD_IMMEDIATE, 1, PSEUDO_MAP_FD, 0, ring),
            (0, 0, 0, 0, 0),
            (MOVE, 2, 0, 0, header + capacity),
            (MOVE, 3, 0, 0, 0),
            (CALL, 0, 0, 0, RINGBUF_RESERVE),
            (JUMP_IF_EQUAL, 0, 0, 0, 0),
        ],
    );
    let to_full = code.len() - 1;
    // r9: the record.
    emit(
        &mut code,
        &[
            (MOVE_REGISTER, 9, 0, 0, 0),
            (CALL, 0, 0, 0, KTIME_GET_NS),
            (STORE_64, 9, 0, 0, 0),
            (STORE_64, 9, 7, 8, 0),
            (STORE_64, 9, 8, 16, 0),
            (JUMP_IF_AT_MOST, 8, 0, 1, capacity),
            (MOVE, 8, 0, 0, capacity),
            (MOVE_REGISTER, 1, 6, 0, 0),
            (MOVE, 2, 0, 0, 0),
            (MOVE_REGISTER, 3, 9, 0, 0),
            (ADD, 3, 0, 0, header),
            (MOVE_REGISTER, 4, 8, 0, 0),
            (CALL, 0, 0, 0, XDP_LOAD_BYTES),
            (MOVE_REGISTER, 1, 9, 0, 0),
            (MOVE, 2, 0, 0, 0),
            (CALL, 0, 0, 0, RINGBUF_SUBMIT),
            (JUMP, 0, 0, 0, 0),
        ],
    );
    to_end.push(code.len() - 1);
    let full = code.len();
    emit(
        &mut code,
        &[
            (LOAD_IMMEDIATE, 1, PSEUDO_MAP_VALUE, 0, lost),
            (0, 0, 0, 0, 0),
            (MOVE, 2, 0, 0, 1),
            (ATOMIC_64, 1, 2, 0, ATOMIC_ADD),
        ],
    );
    let end = code.len();
    for (at, target) in to_end.into_iter().map(|at| (at, end)).chain([(to_full, full)]) {
        // The offset is relative to the next instruction.
        code[at].offset = i16::try_from(target - at - 1).unwrap_or(i16::MAX);
    }
    code.extend(drop());
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jumps_lead_to_the_end_to_the_counter_or_over_one_instruction() {
        let code = copy(3, 4);
        let targets: Vec<_> = code
            .iter()
            .enumerate()
            .filter(|(_, one)| matches!(one.code, JUMP | JUMP_IF_EQUAL | JUMP_IF_BELOW | JUMP_IF_AT_MOST))
            .map(|(at, one)| at + 1 + usize::try_from(one.offset).expect("forward"))
            .collect();
        let end = code.len() - 2;
        assert_eq!((targets.len(), targets[0], targets[1], targets[3]), (4, end, end - 4, end));
        assert_eq!((code[end - 4].code, code[end - 4].immediate), (LOAD_IMMEDIATE, 4));
        assert_eq!(code[end..], drop());
        assert_eq!((code[targets[2] - 1].code, code[targets[2] - 1].immediate), (MOVE, 4352));
    }
}

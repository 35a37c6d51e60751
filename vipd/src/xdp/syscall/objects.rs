//! Commands that list and open the programs, maps and links of other processes by ID, which
//! requires CAP_SYS_ADMIN, and commands that create and access maps and programs.

use std::io;
use std::os::fd::{BorrowedFd, FromRawFd as _, OwnedFd};

use super::{
    BPF_LINK_GET_FD_BY_ID, BPF_LINK_GET_NEXT_ID, BPF_MAP_CREATE, BPF_MAP_GET_FD_BY_ID, BPF_MAP_LOOKUP_ELEM,
    BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_RINGBUF, BPF_MAP_UPDATE_ELEM, BPF_PROG_BIND_MAP, BPF_PROG_GET_FD_BY_ID,
    BPF_PROG_LOAD, BPF_PROG_TYPE_XDP, BPF_XDP, Element, bpf, fd, object_info,
};
use crate::xdp::tap_program::Instruction;

/// Maximum number of map IDs that [`program_info`] returns; vipd's programs use fewer maps.
const MAPS: u32 = 32;
/// Flag of a program with multi-buffer support.
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;

/// Returns the IDs of all links on this machine, in ascending order. Ends after an error, which is
/// `EPERM` without CAP_SYS_ADMIN.
pub(in crate::xdp) fn links() -> impl Iterator<Item = io::Result<u32>> {
    let mut last = Some(0);
    std::iter::from_fn(move || {
        // The last ID, the next ID, and flags.
        let mut attributes = [last.take()?, 0, 0];
        match bpf(BPF_LINK_GET_NEXT_ID, &mut attributes) {
            Ok(_) => {
                last = Some(attributes[1]);
                Some(Ok(attributes[1]))
            }
            Err(error) => (error.kind() != io::ErrorKind::NotFound).then_some(Err(error)),
        }
    })
}

/// Opens the link with this ID.
pub(in crate::xdp) fn link_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(BPF_LINK_GET_FD_BY_ID, &mut [id, 0, 0]).map(owned)
}

/// Opens the program with this ID.
pub(in crate::xdp) fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(BPF_PROG_GET_FD_BY_ID, &mut [id, 0, 0]).map(owned)
}

/// Opens the map with this ID.
pub(in crate::xdp) fn map_by_id(id: u32) -> io::Result<OwnedFd> {
    bpf(BPF_MAP_GET_FD_BY_ID, &mut [id, 0, 0]).map(owned)
}

/// Creates a ring buffer of `size` bytes. `size` must be a power of two.
pub(in crate::xdp) fn create_ring(size: u32) -> io::Result<OwnedFd> {
    // Type, key size, value size, maximum number of entries.
    bpf(BPF_MAP_CREATE, &mut [BPF_MAP_TYPE_RINGBUF, 0, 0, size]).map(owned)
}

/// Creates an array of one value, initially zeros. `name` has at most 15 bytes.
pub(in crate::xdp) fn create_array(name: &str, value_size: usize) -> io::Result<OwnedFd> {
    let mut attributes = Create {
        map_type: BPF_MAP_TYPE_ARRAY,
        key_size: 4,
        value_size: u32::try_from(value_size).map_err(|_| io::ErrorKind::InvalidInput)?,
        entries: 1,
        flags: [0; 3],
        name: padded(name),
    };
    bpf(BPF_MAP_CREATE, &mut attributes).map(owned)
}

/// Copies the value of an array that [`create_array`] has created with the size of `value`.
///
/// # Errors
/// `EINVAL` if the map is not an array or its value has another size.
pub(in crate::xdp) fn read_element(array: BorrowedFd<'_>, value: &mut [u8]) -> io::Result<()> {
    check_array(array, value.len())?;
    let key = 0_u32;
    let mut attributes = Element::new(array, &raw const key, value.as_mut_ptr().cast());
    bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes).map(drop)
}

/// Replaces the value of an array that [`create_array`] has created with the size of `value`.
///
/// # Errors
/// `EINVAL` if the map is not an array or its value has another size.
pub(in crate::xdp) fn write_element(array: BorrowedFd<'_>, value: &[u8]) -> io::Result<()> {
    check_array(array, value.len())?;
    let key = 0_u32;
    // The kernel does not write to the value.
    let mut attributes = Element::new(array, &raw const key, value.as_ptr().cast_mut().cast());
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Returns `EINVAL` unless the map is an array whose values have this size. The kernel copies a
/// whole value, whatever the size of the caller's buffer.
fn check_array(array: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    let mut info = MapInfo::default();
    object_info(array, &mut info)?;
    let [map_type, _, key_size, value_size, ..] = info.before;
    // The values of other types, such as per-CPU arrays, are copied with another size.
    if map_type == BPF_MAP_TYPE_ARRAY && key_size == 4 && usize::try_from(value_size) == Ok(size) {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(libc::EINVAL))
    }
}

/// Makes a map exist as long as a program does, like the maps that the program uses.
pub(in crate::xdp) fn bind_map(program: BorrowedFd<'_>, map: BorrowedFd<'_>) -> io::Result<()> {
    bpf(BPF_PROG_BIND_MAP, &mut [fd(program), fd(map), 0]).map(drop)
}

/// A loaded program.
pub(in crate::xdp) struct LoadedProgram {
    pub(in crate::xdp) id: u32,
    /// At most 15 bytes.
    pub(in crate::xdp) name: String,
    /// IDs of the maps.
    pub(in crate::xdp) maps: Vec<u32>,
}

/// Returns information about a program.
pub(in crate::xdp) fn program_info(program: BorrowedFd<'_>) -> io::Result<LoadedProgram> {
    let mut maps = [0_u32; MAPS as usize];
    let mut info = ProgramInfo { map_count: MAPS, maps: maps.as_mut_ptr(), ..ProgramInfo::default() };
    object_info(program, &mut info)?;
    let maps = maps.into_iter().zip(0..info.map_count).map(|(id, _)| id);
    Ok(LoadedProgram { id: info.id, name: text(&info.name), maps: maps.collect() })
}

/// Returns the name of a map, at most 15 bytes.
pub(in crate::xdp) fn map_name(map: BorrowedFd<'_>) -> io::Result<String> {
    let mut info = MapInfo::default();
    object_info(map, &mut info)?;
    Ok(text(&info.name))
}

/// Returns the ID of the first program in an array of programs; `None` if the entry is empty.
pub(in crate::xdp) fn first_program(array: BorrowedFd<'_>) -> io::Result<Option<u32>> {
    let (key, mut id) = (0_u32, 0_u32);
    let mut attributes = Element::new(array, &raw const key, &raw mut id);
    match bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        result => result.map(|_| Some(id)),
    }
}

/// Replaces the first program in an array of programs atomically.
pub(in crate::xdp) fn set_first_program(array: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let (key, mut value) = (0_u32, fd(program));
    let mut attributes = Element::new(array, &raw const key, &raw mut value);
    bpf(BPF_MAP_UPDATE_ELEM, &mut attributes).map(drop)
}

/// Loads an XDP program. `name` has at most 15 bytes.
pub(in crate::xdp) fn load_xdp(
    instructions: &[Instruction],
    has_frags: bool,
    name: &str,
) -> io::Result<OwnedFd> {
    let mut attributes = Load {
        program_type: BPF_PROG_TYPE_XDP,
        instruction_count: u32::try_from(instructions.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: instructions.as_ptr(),
        license: c"Dual MIT/GPL".as_ptr(),
        log: [0; 4],
        kernel_version: 0,
        flags: if has_frags { BPF_F_XDP_HAS_FRAGS } else { 0 },
        name: padded(name),
        ifindex: 0,
        attach_type: BPF_XDP,
    };
    bpf(BPF_PROG_LOAD, &mut attributes).map(owned)
}

/// The first members of `struct bpf_prog_info`.
#[repr(C)]
struct ProgramInfo {
    kind: u32,
    id: u32,
    /// Tag, lengths and addresses of the code, time of loading, user.
    before: [u32; 11],
    map_count: u32,
    maps: *mut u32,
    name: [u8; 16],
}

impl Default for ProgramInfo {
    fn default() -> Self {
        Self { kind: 0, id: 0, before: [0; 11], map_count: 0, maps: std::ptr::null_mut(), name: [0; 16] }
    }
}

/// The first members of `struct bpf_map_info`.
#[repr(C)]
#[derive(Default)]
struct MapInfo {
    /// Type, ID, sizes, number of entries, flags.
    before: [u32; 6],
    name: [u8; 16],
}

/// The first members of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct Create {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    /// Flags, inner map, NUMA node.
    flags: [u32; 3],
    name: [u8; 16],
}

/// The first members of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    program_type: u32,
    instruction_count: u32,
    instructions: *const Instruction,
    license: *const libc::c_char,
    /// Level, size and buffer of the verifier's log.
    log: [u32; 4],
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
    ifindex: u32,
    attach_type: u32,
}

// Checks offsets against those in the kernel's structures, which have 64-bit pointers.
const _: () = {
    assert!(std::mem::offset_of!(ProgramInfo, maps) == 56);
    assert!(std::mem::offset_of!(MapInfo, name) == 24);
    assert!(std::mem::offset_of!(Create, name) == 28);
    assert!(std::mem::offset_of!(Load, attach_type) == 68);
};

/// Pads a name with NUL. Ignores the bytes after the fifteenth.
fn padded(name: &str) -> [u8; 16] {
    let mut padded = [0; 16];
    padded.iter_mut().zip(name.bytes().take(15)).for_each(|(to, from)| *to = from);
    padded
}

fn text(name: &[u8; 16]) -> String {
    let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    String::from_utf8_lossy(&name[..length]).into_owned()
}

fn owned(descriptor: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}

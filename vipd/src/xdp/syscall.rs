//! The `bpf(2)` commands that aya lacks, whose errors aya does not return, or whose results aya
//! would copy (the states of keys).

mod objects;

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::ptr;

use vipd_common::hmac::KeyState;
use vipd_common::records::HmacKey;

pub(super) use objects::{
    bind_map, create_array, create_ring, first_program, link_by_id, links, load_xdp, map_by_id, map_name,
    program_by_id, program_info, read_element, set_first_program, write_element,
};

/// Commands and constants of `include/uapi/linux/bpf.h` and `if_link.h`.
const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_PROG_GET_FD_BY_ID: libc::c_int = 13;
const BPF_MAP_GET_FD_BY_ID: libc::c_int = 14;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_PROG_QUERY: libc::c_int = 16;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_GET_FD_BY_ID: libc::c_int = 30;
const BPF_LINK_GET_NEXT_ID: libc::c_int = 31;
const BPF_LINK_DETACH: libc::c_int = 34;
const BPF_PROG_BIND_MAP: libc::c_int = 35;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_RINGBUF: u32 = 27;
const BPF_PROG_TYPE_XDP: u32 = 6;
pub(super) const BPF_LINK_TYPE_XDP: u32 = 6;
pub(super) const BPF_LINK_TYPE_TCX: u32 = 11;
pub(super) const BPF_XDP: u32 = 37;
pub(super) const BPF_TCX_INGRESS: u32 = 46;
pub(super) const BPF_TCX_EGRESS: u32 = 47;
/// Attaches before a given program or, if none is given, before all programs at the hook.
pub(super) const BPF_F_BEFORE: u32 = 1 << 3;
/// Attaches after a given program or, if none is given, after all programs at the hook.
pub(super) const BPF_F_AFTER: u32 = 1 << 4;
pub(super) const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
pub(super) const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Attaches a program to a hook of an interface. Returns the descriptor of the new link.
pub(super) fn create_link(
    program: BorrowedFd<'_>,
    ifindex: u32,
    hook: u32,
    flags: u32,
) -> io::Result<OwnedFd> {
    let mut attributes = [fd(program), ifindex, hook, flags];
    let link = bpf(BPF_LINK_CREATE, &mut attributes)?;
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(link) })
}

/// Replaces the program of a link atomically. Fails with `ENOLINK` if the link is detached.
pub(super) fn update_link(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    // The last two words, the flags and the expected program, are unused.
    let mut attributes = [fd(link), fd(program), 0, 0];
    bpf(BPF_LINK_UPDATE, &mut attributes).map(drop)
}

/// Detaches a link, even if other descriptors of that link are open.
pub(super) fn detach_link(link: BorrowedFd<'_>) -> io::Result<()> {
    let mut attributes = [fd(link)];
    bpf(BPF_LINK_DETACH, &mut attributes).map(drop)
}

/// Pins a link or a map to a new file in a BPF file system.
pub(super) fn pin(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Object { path: path.as_ptr(), fd: fd(link), flags: 0 };
    bpf(BPF_OBJ_PIN, &mut attributes).map(drop)
}

/// Opens the link or map pinned at `path`.
pub(super) fn open_pinned(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attributes = Object { path: path.as_ptr(), fd: 0, flags: 0 };
    let object = bpf(BPF_OBJ_GET, &mut attributes)?;
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(object) })
}

/// The members of `union bpf_attr` for `BPF_OBJ_PIN` and `BPF_OBJ_GET`.
#[repr(C)]
struct Object {
    path: *const libc::c_char,
    fd: u32,
    flags: u32,
}

/// Copies the states of a key from the map `HMAC_KEYS`. Returns whether the map has the key.
///
/// # Safety
/// The map's keys and values must have the sizes of these types.
pub(super) unsafe fn hmac_key(map: BorrowedFd<'_>, key: &HmacKey, state: &mut KeyState) -> io::Result<bool> {
    let mut attributes = Element::new(map, ptr::from_ref(key).cast(), ptr::from_mut(state).cast());
    match bpf(BPF_MAP_LOOKUP_ELEM, &mut attributes) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        result => result.map(|_| true),
    }
}

/// The members of `union bpf_attr` for the elements of a map.
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: *const u32,
    value: *mut u32,
    flags: u64,
}

impl Element {
    fn new(map: BorrowedFd<'_>, key: *const u32, value: *mut u32) -> Self {
        Self { map: fd(map), padding: 0, key, value, flags: 0 }
    }
}

/// Returns information about a link.
///
/// The kernel takes the rtnl lock for this (`bpf_xdp_link_fill_link_info`, `net/core/dev.c`, and
/// `tcx_link_fill_info`, `kernel/bpf/tcx.c`).
pub(super) fn link_info(link: BorrowedFd<'_>) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    object_info(link, &mut info)?;
    Ok(info)
}

/// The first members of `struct bpf_link_info`, for an XDP or a TCX link.
#[repr(C, align(8))]
#[derive(Debug, Default)]
pub(super) struct LinkInfo {
    /// `BPF_LINK_TYPE_XDP`, `BPF_LINK_TYPE_TCX` or another type.
    pub(super) kind: u32,
    /// ID of the link.
    pub(super) id: u32,
    /// ID of the program.
    pub(super) program: u32,
    padding: u32,
    /// For an XDP or TCX link, the index of the interface to which the link is attached; 0 if it is
    /// detached.
    pub(super) ifindex: u32,
    /// For a TCX link, `BPF_TCX_INGRESS` or `BPF_TCX_EGRESS`.
    pub(super) hook: u32,
}

/// Maximum number of programs at a TCX hook (`BPF_MPROG_MAX`, `include/linux/bpf_mprog.h`).
const MAX_PROGRAMS: usize = 64;

/// Returns the ID of the BPF link whose program runs first at a TCX hook, or 0 if that program was
/// attached without a link. Takes the rtnl lock.
pub(super) fn first_link(ifindex: u32, hook: u32) -> io::Result<u32> {
    links_at::<1>(ifindex, hook).map(|[first]| first)
}

/// Returns the IDs of the BPF links at a TCX hook of an interface in this thread's network
/// namespace. Takes the rtnl lock.
pub(super) fn all_links_at(ifindex: u32, hook: u32) -> io::Result<impl Iterator<Item = u32>> {
    let links = links_at::<MAX_PROGRAMS>(ifindex, hook)?;
    Ok(links.into_iter().filter(|link| *link != 0))
}

/// Returns the IDs of the BPF links of the first `N` programs at a TCX hook, in the order in which
/// the programs run. An ID is 0 if the program was attached without a link, or if there is no such
/// program.
fn links_at<const N: usize>(ifindex: u32, hook: u32) -> io::Result<[u32; N]> {
    // The kernel also requires an array for the program IDs.
    let (mut links, mut programs) = ([0; N], [0; N]);
    #[expect(clippy::cast_possible_truncation, reason = "at most `MAX_PROGRAMS`")]
    let count = N as u32;
    let mut query = Query {
        ifindex,
        hook,
        count,
        links: links.as_mut_ptr(),
        programs: programs.as_mut_ptr(),
        ..Query::default()
    };
    match bpf(BPF_PROG_QUERY, &mut query) {
        // `ENOSPC` means that the hook has more programs than the arrays have room for
        // (`bpf_mprog_query`). The arrays have been filled.
        Err(error) if error.raw_os_error() != Some(libc::ENOSPC) => Err(error),
        _ => Ok(links),
    }
}

/// The members of `union bpf_attr` for `BPF_PROG_QUERY`.
#[repr(C)]
struct Query {
    ifindex: u32,
    hook: u32,
    flags: u32,
    attach_flags: u32,
    programs: *mut u32,
    count: u32,
    padding: u32,
    program_flags: *mut u32,
    links: *mut u32,
    link_flags: *mut u32,
    revision: u64,
}

// The kernel's structures have 64-bit pointers.
const _: () = assert!(size_of::<Query>() == 64 && size_of::<InfoByFd<LinkInfo>>() == 16);

impl Default for Query {
    fn default() -> Self {
        Self {
            ifindex: 0,
            hook: 0,
            flags: 0,
            attach_flags: 0,
            programs: ptr::null_mut(),
            count: 0,
            padding: 0,
            program_flags: ptr::null_mut(),
            links: ptr::null_mut(),
            link_flags: ptr::null_mut(),
            revision: 0,
        }
    }
}

/// Reads the information about a link, program or map into the first members of the kernel's
/// structure.
fn object_info<T>(object: BorrowedFd<'_>, info: &mut T) -> io::Result<()> {
    #[expect(clippy::cast_possible_truncation, reason = "a small structure")]
    let length = size_of::<T>() as u32;
    let mut attributes = InfoByFd { fd: fd(object), length, info: ptr::from_mut(info) };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes).map(drop)
}

/// The members of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct InfoByFd<T> {
    fd: u32,
    length: u32,
    info: *mut T,
}

fn fd(fd: BorrowedFd<'_>) -> u32 {
    fd.as_fd().as_raw_fd().cast_unsigned()
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel accesses at most `size_of::<T>()` bytes of the attributes. The buffers to
    // which they point outlive the call, and are as large as the attributes state or, for an
    // element of a map, as the map's keys and values.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(clippy::cast_possible_truncation, reason = "a descriptor or 0")]
    Ok(result as libc::c_int)
}

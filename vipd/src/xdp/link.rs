//! BPF links of the XDP program: attached while the descriptor is open, unless another process
//! detaches them.
//!
//! aya hides the descriptor of its links, and asking the kernel whether one is still attached takes
//! it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::sync::Arc;

/// `enum bpf_cmd` and `enum bpf_attach_type` (`include/uapi/linux/bpf.h`).
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_XDP: u32 = 37;

/// `union bpf_attr` of `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_link_info` of an XDP link.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    ifindex: u32,
    rest: [u32; 11],
}

/// An XDP link.
#[derive(Debug)]
pub(super) struct XdpLink(Arc<OwnedFd>);

impl XdpLink {
    /// Attaches a program to an interface, with `XDP_FLAGS_*`.
    ///
    /// # Errors
    /// `EBUSY` or `EEXIST` when another program is attached, `ENODEV` without the interface, and those
    /// of its driver.
    pub(super) fn create(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> io::Result<Self> {
        let attributes =
            LinkCreate { prog_fd: raw(program), target_ifindex: ifindex, attach_type: BPF_XDP, flags };
        let fd = bpf(BPF_LINK_CREATE, &attributes)?;
        // SAFETY: the kernel has just opened this descriptor for us alone.
        Ok(Self(Arc::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// A probe for another thread. It keeps the link attached.
    pub(super) fn probe(&self) -> LinkProbe {
        LinkProbe(Arc::clone(&self.0))
    }
}

/// Tells whether an XDP link is still attached, in one system call of about a microsecond.
#[derive(Debug)]
pub struct LinkProbe(Arc<OwnedFd>);

impl LinkProbe {
    /// Whether the program is still attached. It is not after `BPF_LINK_DETACH`
    /// (`bpftool link detach`), or when the interface is gone.
    pub fn is_attached(&self) -> bool {
        let mut info = LinkInfo::default();
        let attributes = GetInfo {
            bpf_fd: raw(self.0.as_fd()),
            info_len: size_of::<LinkInfo>() as u32,
            info: (&raw mut info).addr() as u64,
        };
        let _ = (&raw mut info).expose_provenance();
        // A link that cannot be asked is taken for attached.
        bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes).is_err() || info.ifindex != 0
    }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: `attributes` is the command's part of `union bpf_attr`, all of it initialized, with its
    // size. A buffer that it points to is writable for as long as it says, and outlives the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) };
    i32::try_from(result).ok().filter(|result| *result >= 0).ok_or_else(io::Error::last_os_error)
}

//! BPF programs of another application, which run before vipd's.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};

use crate::links;
use crate::namespace::Namespace;

/// Commands and constants of `bpf.h`, `if_link.h` and `pkt_cls.h` in `include/uapi/linux`.
const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_PROG_TYPE_SCHED_CLS: u32 = 3;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
const BPF_F_BEFORE: u32 = 1 << 3;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_PASS: u32 = 2;
const TC_ACT_OK: u32 = 0;
const TC_ACT_SHOT: u32 = 2;

/// The hook and the action of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Generic XDP; passes all packets.
    PassingXdp,
    /// TC ingress, before all programs that are already attached; drops all packets.
    DroppingTc,
    /// TC egress, before all programs that are already attached; drops all packets.
    DroppingEgress,
    /// TC egress, before all programs that are already attached; passes all packets without running
    /// the programs after it.
    PassingEgress,
}

/// An attached program. Dropping it detaches the program.
#[derive(Debug)]
pub struct ForeignProgram {
    id: u32,
    _program: OwnedFd,
    _link: OwnedFd,
}

impl ForeignProgram {
    /// Attaches a program to an interface of a host.
    ///
    /// # Errors
    /// Returns an error if the interface does not exist or the kernel rejects the program.
    pub fn attach(host: &Namespace, interface: &str, kind: Kind) -> Result<Self> {
        let (program_type, action, hook, flags) = match kind {
            Kind::PassingXdp => (BPF_PROG_TYPE_XDP, XDP_PASS, BPF_XDP, XDP_FLAGS_SKB_MODE),
            Kind::DroppingTc => (BPF_PROG_TYPE_SCHED_CLS, TC_ACT_SHOT, BPF_TCX_INGRESS, BPF_F_BEFORE),
            Kind::DroppingEgress => (BPF_PROG_TYPE_SCHED_CLS, TC_ACT_SHOT, BPF_TCX_EGRESS, BPF_F_BEFORE),
            Kind::PassingEgress => (BPF_PROG_TYPE_SCHED_CLS, TC_ACT_OK, BPF_TCX_EGRESS, BPF_F_BEFORE),
        };
        let interface = interface.to_owned();
        host.run(move || {
            let program = load(program_type, action).context("loading a BPF program")?;
            let id = id(&program).context("reading the ID of a BPF program")?;
            let mut link = [descriptor(&program), links::index(&interface)?, hook, flags];
            let link = bpf(BPF_LINK_CREATE, &mut link).context("attaching a BPF program")?;
            Ok(Self { id, _program: program, _link: owned(link) })
        })
    }

    /// Returns the ID of the program, as `bpftool prog` prints it.
    pub fn id(&self) -> u32 {
        self.id
    }
}

/// Loads a program that returns `action` for all packets.
fn load(program_type: u32, action: u32) -> io::Result<OwnedFd> {
    /// The first members of `union bpf_attr` for `BPF_PROG_LOAD`.
    #[repr(C)]
    struct Load {
        program_type: u32,
        instruction_count: u32,
        instructions: *const u64,
        license: *const libc::c_char,
    }
    // Two instructions: `r0 = action`, with the action in the upper 32 bits, and `exit`.
    let instructions = [0xb7 | u64::from(action) << 32, 0x95];
    let mut attributes = Load {
        program_type,
        instruction_count: 2,
        instructions: instructions.as_ptr(),
        license: c"MIT".as_ptr(),
    };
    bpf(BPF_PROG_LOAD, &mut attributes).map(owned)
}

fn id(program: &OwnedFd) -> io::Result<u32> {
    /// The members of `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
    #[repr(C)]
    struct Query {
        fd: u32,
        length: u32,
        info: *mut [u32; 2],
    }
    // The first members of `struct bpf_prog_info`: type and ID.
    let mut info = [0; 2];
    let mut attributes = Query { fd: descriptor(program), length: 8, info: &raw mut info };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    Ok(info[1])
}

fn descriptor(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn owned(fd: libc::c_int) -> OwnedFd {
    // SAFETY: the kernel has just returned this descriptor, and nothing else owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn bpf<T>(command: libc::c_int, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel accesses at most `size_of::<T>()` bytes of the attributes, and all
    // pointers in them outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    #[expect(clippy::cast_possible_truncation, reason = "bpf(2) returns a descriptor or 0")]
    Ok(result as libc::c_int)
}

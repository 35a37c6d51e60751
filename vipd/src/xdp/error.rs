//! Errors from loading and attaching the BPF program, with remedies.

use std::error::Error;
use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

use super::attach::Refusal;
use super::mode::Preference;

/// The BPF program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A capability is missing, or the kernel is locked down (`EPERM` from `bpf(2)`).
    #[error(
        "not permitted to load the BPF program: vipd needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_NET_RAW \
         (run as root, or grant them in the service's unit), a kernel that is not locked down and, in a \
         container, a seccomp profile that allows bpf(2)"
    )]
    Permission,
    /// The kernel was built without BPF (`ENOSYS` from `bpf(2)`).
    #[error("this kernel has no BPF: vipd needs Linux 5.18 or later with CONFIG_BPF_SYSCALL")]
    NoBpf,
    /// The object does not match this binary.
    #[error(
        "the BPF object has no {kind} `{name}`: it does not match this binary; rebuild it with `cargo xtask ebpf`"
    )]
    Missing {
        /// Kind of the missing item: `program`, `map` or `array`.
        kind: &'static str,
        /// Name in the object.
        name: &'static str,
    },
    /// Any other failure to load the object.
    #[error("cannot load the BPF program; vipd needs Linux 5.18 or later")]
    Load(#[source] EbpfError),
    /// The verifier rejected a program.
    #[error("the kernel rejects the BPF program `{name}`: {reason}; vipd needs Linux 5.18 or later")]
    Program {
        /// Name in the object.
        name: &'static str,
        /// The error without the verifier's output, which is logged at debug level.
        reason: String,
    },
    /// A BPF map of the object cannot be used.
    #[error("cannot use the map `{name}` of the BPF program")]
    Map {
        /// Name in the object.
        name: &'static str,
        /// The error from aya.
        #[source]
        source: MapError,
    },
    /// The maps of a predecessor differ from this object's maps.
    #[error(
        "the BPF map `{name}` differs from the predecessor's; between these versions, `vipd upgrade` is not \
         possible, only a restart, which does not resume the routers"
    )]
    OtherMaps {
        /// Name in the object.
        name: String,
    },
    /// The descriptor of a map cannot be duplicated.
    #[error("cannot duplicate the descriptor of a BPF map; raise the limit on open files (LimitNOFILE=)")]
    Descriptor(#[source] io::Error),
    /// A BPF map of the object cannot be mapped into memory.
    #[error("cannot map the array `{name}` of the BPF program into memory; vipd needs Linux 5.18 or later")]
    Mapping {
        /// Name in the object.
        name: &'static str,
        /// The error from mmap(2), or a description of the mismatch.
        #[source]
        source: io::Error,
    },
}

impl LoadError {
    pub(super) fn object(error: EbpfError) -> Self {
        match errno(&error) {
            Some(libc::EPERM) => Self::Permission,
            Some(libc::ENOSYS) => Self::NoBpf,
            _ => Self::Load(error),
        }
    }

    pub(super) fn program(name: &'static str, source: &ProgramError) -> Self {
        if errno(source) == Some(libc::EPERM) {
            return Self::Permission;
        }
        Self::Program { name, reason: rejection(name, source) }
    }

    pub(super) fn mapping(name: &'static str, source: io::Error) -> Self {
        Self::Mapping { name, source }
    }

    pub(super) fn map(name: &'static str, source: MapError) -> Self {
        match errno(&source) {
            Some(libc::EPERM) => Self::Permission,
            _ => Self::Map { name, source },
        }
    }
}

/// The BPF program could not be attached to an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Another XDP program is attached to the interface (`EBUSY`, `EEXIST`).
    #[error(
        "another XDP program is attached to {interface}, and only one is possible; detach it \
         (`ip link set dev {interface} xdp off`, or `bpftool link detach`), or use another interface"
    )]
    Busy {
        /// Name of the interface.
        interface: String,
    },
    /// The interface no longer exists.
    #[error("interface {interface} no longer exists")]
    NoDevice {
        /// Name of the interface.
        interface: String,
    },
    /// A capability is missing (`EPERM`).
    #[error("not permitted to attach to {interface}: vipd needs CAP_NET_ADMIN and CAP_BPF (run as root)")]
    Permission {
        /// Name of the interface.
        interface: String,
    },
    /// The kernel refused every mode that the configuration allows.
    #[error("cannot attach the BPF program to {interface} with xdp = \"{preference}\": {reason}")]
    Refused {
        /// Name of the interface.
        interface: String,
        /// The configured mode.
        preference: Preference,
        /// The reason for the choice of modes and, for each refused mode, the errno and the
        /// kernel's message, if any.
        reason: String,
    },
}

impl AttachError {
    /// Converts a refusal that would occur at any hook; returns `None` for other refusals.
    pub(super) fn fatal(interface: &str, refusal: &Refusal) -> Option<Self> {
        let interface = interface.to_owned();
        match refusal.errno()? {
            libc::EPERM => Some(Self::Permission { interface }),
            _ => None,
        }
    }
}

/// Returns the symbol and description of an error, for the errnos that drivers return.
pub(super) fn errno_name(error: &io::Error) -> String {
    let name = match error.raw_os_error() {
        Some(libc::EBUSY) => "EBUSY",
        Some(libc::EEXIST) => "EEXIST",
        Some(libc::EINVAL) => "EINVAL",
        Some(libc::EOPNOTSUPP) => "EOPNOTSUPP",
        Some(libc::ENOMEM) => "ENOMEM",
        Some(libc::ENOSPC) => "ENOSPC",
        Some(libc::ERANGE) => "ERANGE",
        Some(libc::EFAULT) => "EFAULT",
        Some(libc::EIO) => "EIO",
        _ => return error.to_string(),
    };
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("{name} ({text})")
}

/// Returns the reason why the verifier rejects a program, and logs the verifier's output at debug
/// level.
pub(super) fn rejection(name: &str, error: &ProgramError) -> String {
    let text = error.to_string();
    ::log::debug!("{name}: {text}");
    text.split(". Verifier output").next().unwrap_or_default().to_owned()
}

/// Returns the errno of the first I/O error in a chain of sources.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        cause = error.source();
    }
    None
}

//! What can go wrong with the XDP program, in sentences that say what to do.

use std::error::Error;
use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;

/// The XDP program could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// `EPERM` from `bpf(2)`.
    #[error(
        "the kernel does not let this process load its XDP program: it needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and \
         CAP_NET_RAW (run as root, or grant them in the service's unit), and a kernel that is not locked down"
    )]
    Permission,
    /// `ENOSYS` or `EINVAL` from `bpf(2)`, before any program was seen.
    #[error(
        "this kernel has no BPF, or one that is too old: vipd needs Linux 5.18 or later with CONFIG_BPF_SYSCALL"
    )]
    NoBpf,
    /// The object is not what this agent expects.
    #[error(
        "the XDP object has no {kind} `{name}`: it does not belong to this agent; rebuild it with `cargo xtask ebpf`"
    )]
    Missing {
        /// `program`, `map` or `array`.
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// Anything else, the verifier's refusal among it.
    #[error("cannot load the XDP program; vipd needs Linux 5.18 or later")]
    Load(#[source] EbpfError),
    /// A program of the object was refused.
    #[error("the kernel refuses the XDP program `{name}`: {reason}; vipd needs Linux 5.18 or later")]
    Program {
        /// Its name.
        name: &'static str,
        /// Why, without the verifier's account, which goes to the log at debug level.
        reason: String,
    },
    /// A map of the object cannot be used.
    #[error("cannot use the map `{name}` of the XDP program")]
    Map {
        /// Its name.
        name: &'static str,
        /// Why.
        #[source]
        source: MapError,
    },
    /// A map of the object cannot be mapped into memory.
    #[error("cannot map `{name}` of the XDP program into memory; vipd needs Linux 5.18 or later")]
    Mapping {
        /// Its name.
        name: &'static str,
        /// Why.
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
        let account = source.to_string();
        ::log::debug!("{name}: {account}");
        let reason = account.split(". Verifier output").next().unwrap_or_default().to_owned();
        Self::Program { name, reason }
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

/// The XDP program could not be attached to an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Another XDP program holds the interface's slot (`EBUSY`, `EEXIST`).
    #[error(
        "another XDP program is attached to {interface}, and there is room for one: detach it \
         (`ip link set dev {interface} xdp off`) or run vipd on another interface"
    )]
    Busy {
        /// The interface.
        interface: String,
    },
    /// The interface is gone (`ENODEV`).
    #[error("interface {interface} does not exist any more")]
    NoDevice {
        /// The interface.
        interface: String,
    },
    /// `EPERM`.
    #[error("attaching to {interface} is not permitted: it needs CAP_NET_ADMIN and CAP_BPF (run as root)")]
    Permission {
        /// The interface.
        interface: String,
    },
    /// Neither the driver nor the kernel's generic hook takes the program.
    #[error("interface {interface} takes no XDP program, neither natively nor generically")]
    Refused {
        /// The interface.
        interface: String,
        /// What the generic hook said.
        #[source]
        source: ProgramError,
    },
}

impl AttachError {
    /// The errors that trying another mode cannot mend.
    pub(super) fn fatal(interface: &str, error: &ProgramError) -> Option<Self> {
        let interface = interface.to_owned();
        match errno(error)? {
            libc::EBUSY | libc::EEXIST => Some(Self::Busy { interface }),
            libc::ENODEV => Some(Self::NoDevice { interface }),
            libc::EPERM => Some(Self::Permission { interface }),
            _ => None,
        }
    }
}

/// The operating system's error at the bottom of a chain of causes.
fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        cause = error.source();
    }
    None
}

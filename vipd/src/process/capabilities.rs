//! The capabilities of each thread (capabilities(7)).
//!
//! Capabilities belong to threads. The agent starts with every capability that it needs. When a
//! thread starts, it drops those that it does not need. `docs/design/privileges.md` lists the
//! capabilities by thread and describes the limits of this separation: threads share their memory,
//! so the separation limits the effects of mistakes, but not an attacker who executes code in the
//! agent.

use std::io;
use std::sync::OnceLock;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

use super::seccomp;

/// A thread of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ThreadKind {
    /// The main thread, once the threads that need other capabilities have been started. Threads of
    /// the kinds `Pool` and `Metrics` are started later.
    Control,
    /// Starts and signals other programs; see [`launcher`](super::launcher).
    Launcher,
    /// The engine, and the thread `addresses` that it starts.
    Engine,
    /// Adds and checks routes and rules.
    Routes,
    /// Checks whether the BPF programs are still attached and still run first at their hooks.
    XdpProbe,
    /// Opens link I/O: loads and attaches BPF programs, and creates sockets and macvlans.
    LinkIo,
    /// Starts the guardian process through the launcher, and opens the guardian's sockets.
    Guardian,
    /// Does the control thread's blocking work: reads files, `/proc` and routes, and hands over to
    /// a successor.
    Pool,
    /// Serves metrics over HTTP.
    Metrics,
    /// Writes log lines, or passes those of the BPF program to the log (thread `kernel-log`).
    Log,
}

/// The capabilities that a thread keeps, if it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    /// Effective at all times.
    effective: CapabilitySet,
    /// Permitted, and effective only during [`with`].
    raised: CapabilitySet,
}

/// Capabilities for access to files of other users. The systemd unit does not grant them. An agent
/// that runs as root keeps them, because each reload reads the configuration, which may belong to
/// another user.
const FILES: CapabilitySet = CapabilitySet::DAC_OVERRIDE.union(CapabilitySet::DAC_READ_SEARCH);

impl ThreadKind {
    /// `maps` is the capability required to use BPF maps and links that are already open, or empty.
    fn kept(self, maps: CapabilitySet) -> Kept {
        use CapabilitySet as Set;
        let none = Set::empty();
        let (effective, raised) = match self {
            Self::Control => (FILES | maps, Set::NET_ADMIN | Set::SYS_PTRACE),
            Self::Launcher => (Set::KILL, Set::all()),
            Self::Routes => (Set::NET_ADMIN, none),
            // The thread xdp-probe needs CAP_NET_ADMIN for BPF_PROG_QUERY.
            Self::Engine | Self::XdpProbe => (Set::NET_ADMIN | maps, none),
            // Opening link I/O may load a program of the BPF object.
            Self::LinkIo => (Set::NET_ADMIN | Set::NET_RAW | Set::BPF | Set::PERFMON, none),
            Self::Guardian => (Set::NET_RAW, none),
            Self::Pool => (FILES, Set::SYS_PTRACE),
            Self::Metrics => (maps, none),
            Self::Log => (none, none),
        };
        // The memory that a thread maps is locked (MCL_FUTURE). Without CAP_IPC_LOCK, this memory
        // counts against RLIMIT_MEMLOCK, and an allocation may fail.
        Kept { effective: effective | Set::IPC_LOCK, raised }
    }
}

/// Drops the capabilities that the calling thread does not need. Threads that it starts later also
/// lack these capabilities. Also prevents the thread from starting programs, unless it is the
/// launcher or the control thread.
///
/// A failure is logged; the thread then keeps the privileges that were not dropped before the
/// failure.
pub(crate) fn confine(kind: ThreadKind) {
    let confined = drop_capabilities(kind).and_then(|()| match kind {
        ThreadKind::Launcher | ThreadKind::Control => Ok(()),
        _ => seccomp::deny_programs(),
    });
    if let Err(error) = confined {
        tracing::warn!(
            thread = ?kind,
            %error,
            "cannot drop some of the privileges that the thread does not need; the thread keeps them"
        );
    }
}

fn drop_capabilities(kind: ThreadKind) -> io::Result<()> {
    let present = capabilities(None)?;
    let remaining = reduced(present.permitted, kind.kept(maps()?));
    // Removing capabilities from the inheritable set also removes them from the ambient set.
    set_capabilities(None, remaining)?;
    Ok(())
}

fn reduced(permitted: CapabilitySet, kept: Kept) -> CapabilitySets {
    let bpf = CapabilitySet::BPF | CapabilitySet::PERFMON;
    let mut effective = kept.effective;
    // A container may have only CAP_SYS_ADMIN, which implies CAP_BPF and CAP_PERFMON.
    if !permitted.contains(kept.effective & bpf) {
        effective |= CapabilitySet::SYS_ADMIN;
    }
    CapabilitySets {
        effective: effective & permitted,
        permitted: (effective | kept.raised) & permitted,
        inheritable: CapabilitySet::empty(),
    }
}

/// Returns CAP_BPF if a thread needs it for the use of maps and links that are already open,
/// otherwise the empty set. Linux 5.18 requires CAP_BPF if `kernel.unprivileged_bpf_disabled` is
/// set. Later versions check it only when a map is created or a program is loaded (commit
/// c8644cd0efe7).
fn maps() -> io::Result<CapabilitySet> {
    static MAPS: OnceLock<CapabilitySet> = OnceLock::new();
    if let Some(maps) = MAPS.get() {
        return Ok(*maps);
    }
    let before = capabilities(None)?;
    let bpf = CapabilitySet::BPF | CapabilitySet::SYS_ADMIN;
    set_capabilities(None, CapabilitySets { effective: before.effective - bpf, ..before })?;
    let is_required = is_bpf_refused();
    set_capabilities(None, before)?;
    let maps = if is_required { CapabilitySet::BPF } else { CapabilitySet::empty() };
    Ok(*MAPS.get_or_init(|| maps))
}

/// Returns whether this thread lacks the permission to query BPF objects. The query used as a test
/// has an invalid descriptor, so it fails with `EBADF` if the thread has the permission.
fn is_bpf_refused() -> bool {
    const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
    // The descriptor -1, then the length and the address of the buffer.
    let attributes: [u32; 4] = [u32::MAX, 0, 0, 0];
    // SAFETY: the kernel only reads the attributes, and `size_of_val` is their length.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, attributes.as_ptr(), size_of_val(&attributes))
    };
    result < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::EPERM)
}

/// Makes the `needed` capabilities effective during the call, except for those that are not in the
/// calling thread's permitted set.
pub(crate) fn with<T>(needed: CapabilitySet, call: impl FnOnce() -> T) -> T {
    /// Restores the sets, even after a panic.
    struct Raised(CapabilitySets);

    impl Drop for Raised {
        fn drop(&mut self) {
            // A thread may always drop effective capabilities.
            let _ = set_capabilities(None, self.0);
        }
    }

    let _raised = capabilities(None).ok().and_then(|before| {
        let effective = before.effective | (needed & before.permitted);
        // If this fails, the call itself reports the missing capability.
        (effective != before.effective
            && set_capabilities(None, CapabilitySets { effective, ..before }).is_ok())
        .then(|| Raised(before))
    });
    call()
}

/// Drops the capabilities that this process would pass to a command. As root, clears only the
/// inheritable set: the kernel grants the bounding set to any command that runs as root.
///
/// # Errors
/// Not expected: any process may drop its capabilities.
pub(super) fn drop_all() -> io::Result<()> {
    let none = CapabilitySet::empty();
    let mut sets = capabilities(None)?;
    sets.inheritable = none;
    if !rustix::process::geteuid().is_root() {
        (sets.effective, sets.permitted) = (none, none);
    }
    set_capabilities(None, sets)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const ALL: [ThreadKind; 10] = [
        ThreadKind::Control,
        ThreadKind::Launcher,
        ThreadKind::Engine,
        ThreadKind::Routes,
        ThreadKind::XdpProbe,
        ThreadKind::LinkIo,
        ThreadKind::Guardian,
        ThreadKind::Pool,
        ThreadKind::Metrics,
        ThreadKind::Log,
    ];

    #[test]
    fn no_thread_gains_capabilities() {
        let few = CapabilitySet::NET_ADMIN | CapabilitySet::BPF | CapabilitySet::PERFMON;
        for kind in ALL {
            let sets = reduced(few, kind.kept(CapabilitySet::empty()));
            assert!(few.contains(sets.permitted) && sets.permitted.contains(sets.effective), "{kind:?}");
            assert_eq!(sets.inheritable, CapabilitySet::empty(), "{kind:?}");
        }
    }

    /// The launcher may pass CAP_BPF on to a successor (`vipd upgrade`), but never uses it.
    #[test]
    fn only_the_link_io_thread_may_load_bpf_programs() {
        for kind in ALL {
            let sets = reduced(CapabilitySet::all(), kind.kept(CapabilitySet::empty()));
            let may_load = sets.effective.intersects(CapabilitySet::BPF | CapabilitySet::SYS_ADMIN);
            assert_eq!(may_load, kind == ThreadKind::LinkIo, "{kind:?}");
        }
    }

    #[test]
    fn sys_admin_is_kept_only_if_cap_bpf_or_cap_perfmon_is_missing() {
        let bpf = CapabilitySet::BPF | CapabilitySet::PERFMON;
        for (permitted, expected) in [
            (CapabilitySet::all(), false),
            (CapabilitySet::all() - bpf, true),
            (CapabilitySet::all() - CapabilitySet::PERFMON, true),
            (bpf, false),
        ] {
            let sets = reduced(permitted, ThreadKind::LinkIo.kept(CapabilitySet::empty()));
            assert_eq!(sets.permitted.contains(CapabilitySet::SYS_ADMIN), expected, "{permitted:?}");
        }
        let old_kernel = ThreadKind::Engine.kept(CapabilitySet::BPF);
        let sets = reduced(CapabilitySet::all() - bpf, old_kernel);
        assert!(sets.effective.contains(CapabilitySet::SYS_ADMIN));
    }

    /// A capability of [`Kept::raised`] is effective only during the call. Without privileges, the
    /// call changes nothing, and the test passes.
    #[test]
    fn capabilities_are_effective_only_during_the_call() {
        let thread = thread::spawn(|| {
            confine(ThreadKind::Pool);
            let effective = || capabilities(None).expect("capabilities").effective;
            let needed = CapabilitySet::SYS_PTRACE | CapabilitySet::NET_ADMIN;
            let before = effective();
            let permitted = capabilities(None).expect("capabilities").permitted;
            assert!(!before.intersects(needed), "{before:?}");
            assert_eq!(with(needed, effective) & needed, permitted & CapabilitySet::SYS_PTRACE);
            assert_eq!(effective(), before);
        });
        thread.join().expect("no panic");
    }
}

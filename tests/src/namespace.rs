//! Unnamed network, mount and UTS namespaces.
//!
//! A [`Namespace`] is an OS thread in its own network, mount and UTS namespaces that executes the
//! jobs passed to [`Namespace::run`]. The namespace has no file in `/run/netns` or elsewhere. Its
//! network, its mounts and the contents of [`SCRATCH`] exist as long as a thread or process is
//! inside: the lab's own thread, or a child started there. Children receive SIGKILL when the thread
//! that started them exits (see [`crate::process`]), so the kernel cleans up even if the lab's
//! process is killed with SIGKILL.

use std::fmt;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::geteuid;
use rustix::system::sethostname;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// In-memory directory for configurations, PID files and control sockets, private to each
/// namespace. `/dev/shm` exists on every Linux system, and mounting over it cannot hide the source
/// tree or the build directory.
pub const SCRATCH: &str = "/dev/shm";

type Job = Box<dyn FnOnce() + Send>;

/// A network, a mount and a UTS namespace. Clones refer to the same namespaces, which are removed
/// when the last clone is dropped.
#[derive(Clone)]
pub struct Namespace {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    net: OwnedFd,
    /// `None` only during drop: closing the channel ends the thread.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Creates a namespace. `name` is used in messages, as the thread's name and, without spaces,
    /// as the host name.
    ///
    /// # Errors
    /// Returns an error without root, or if a namespace or mount cannot be created.
    pub fn new(name: &str) -> Result<Self> {
        ensure!(
            geteuid().is_root(),
            "the lab creates network namespaces and needs root; run it with sudo, or in a privileged container"
        );
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, entered) = mpsc::sync_channel(1);
        let host = name.replace(' ', "");
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let entered = enter(&host);
                let usable = entered.is_ok();
                // Cannot fail: `new` still holds the receiver.
                let _ = ready.send(entered);
                if usable {
                    for job in inbox {
                        job();
                    }
                }
            })
            .with_context(|| format!("namespace {name}: starting its thread"))?;
        let net = entered
            .recv()
            .with_context(|| format!("namespace {name}: its thread panicked"))?
            .with_context(|| format!("namespace {name}"))?;
        let shared = Shared { name: name.to_owned(), net, jobs: Some(jobs), thread: Some(thread) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Returns the name of the namespace.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Runs `job` in the namespace and returns its result. Jobs run one at a time and should be
    /// short. Sockets and threads created by a job belong to the namespace and may outlive the job.
    ///
    /// # Panics
    /// Panics if the job panics.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::sync_channel(1);
        let job = Box::new(move || {
            // Cannot fail: the receiver waits below.
            let _ = done.send(catch_unwind(AssertUnwindSafe(job)));
        });
        let jobs = self.shared.jobs.as_ref().expect("only drop closes the channel");
        jobs.send(job).expect("the thread runs as long as the channel is open");
        match result.recv().expect("the thread replies to every job") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Returns a file descriptor of the network namespace, for moving a link into it. The
    /// descriptor stays open as long as this handle exists.
    pub(crate) fn net_fd(&self) -> RawFd {
        self.shared.net.as_raw_fd()
    }
}

/// Moves the calling thread to three new namespaces: a network namespace with loopback up; a mount
/// namespace with an empty [`SCRATCH`], a `/sys` that shows the new network, and a BPF file system;
/// and a UTS namespace with this host name. In the network namespace, removing an address also
/// removes its secondary addresses, as by the kernel's default.
fn enter(host: &str) -> Result<OwnedFd> {
    // SAFETY: the flags change only this thread's namespaces and working directory, not memory or
    // descriptors that it shares with other threads.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWUTS) }
        .context("cannot unshare network, mount and UTS namespaces (needs CAP_SYS_ADMIN: run as root)")?;
    sethostname(host.as_bytes()).context("setting the host name")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("making mounts private")?;
    mount("tmpfs", SCRATCH, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)
        .with_context(|| format!("mounting a private {SCRATCH}"))?;
    mount("sysfs", "/sys", "sysfs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
        .context("mounting /sys for this network namespace")?;
    // A private instance, so that BPF links pinned there do not outlive the namespace.
    mount("bpf", "/sys/fs/bpf", "bpf", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
        .context("mounting a BPF file system at /sys/fs/bpf")?;
    for interface in ["all", "default"] {
        // The kernel copies the host's settings, and systemd sets this one to 1.
        let path = format!("/proc/sys/net/ipv4/conf/{interface}/promote_secondaries");
        if fs::read_to_string(&path)?.trim() != "0" {
            fs::write(&path, "0").with_context(|| format!("setting {path}"))?;
        }
    }
    crate::links::set_up("lo")?;
    let net = fs::File::open("/proc/thread-self/ns/net").context("opening /proc/thread-self/ns/net")?;
    Ok(net.into())
}

/// Mounts another BPF file system over the one in which agents have pinned objects, as if processes
/// that are started later were in another mount namespace. The pinned objects continue to exist.
/// Called in a namespace.
///
/// # Errors
/// Returns an error if the file system cannot be mounted.
pub fn hide_pins() -> Result<()> {
    mount("bpf", "/sys/fs/bpf", "bpf", MountFlags::empty(), None).context("mounting a second BPF file system")
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != thread::current().id()) {
            // The thread does not panic: panics of jobs are caught, and `enter` never panics.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

//! Namespaces without names.
//!
//! A [`Namespace`] is an OS thread that has left the host's network and mount namespaces and does
//! what it is told with [`Namespace::run`]. No file stands for it: not in `/run/netns`, not
//! elsewhere. Its network, its mounts and everything written to [`SCRATCH`] exist as long as
//! somebody is inside, and that is the lab's process and the children it started there. Those get
//! SIGKILL from the kernel when the thread that started them dies (see [`crate::process`]). So
//! however the lab's process ends, SIGKILL included, the kernel cleans up.

use std::fmt;
use std::fs;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::geteuid;
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// A directory that is private to each namespace and lives in memory: configurations, pid files and
/// control sockets go there. Shared memory's directory is the one that every Linux has and that no
/// program or project lives below.
pub const SCRATCH: &str = "/dev/shm";

type Job = Box<dyn FnOnce() + Send>;

/// A network and a mount namespace. Clones are handles to the same one; it is gone when the last of
/// them is dropped.
#[derive(Clone)]
pub struct Namespace {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    net: OwnedFd,
    /// `None` only while dropping: closing the channel is what ends the thread.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Namespace {
    /// Makes a namespace; `name` is for messages and the thread's name.
    ///
    /// # Errors
    /// Without root, or when the kernel refuses a namespace or a mount.
    pub fn new(name: &str) -> Result<Self> {
        ensure!(
            geteuid().is_root(),
            "the lab makes network namespaces and needs root: run it with sudo, or in a privileged container"
        );
        let (jobs, inbox) = mpsc::channel::<Job>();
        let (ready, entered) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let entered = enter();
                let usable = entered.is_ok();
                // Both ends belong to this function: the receiver is there.
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
            .with_context(|| format!("namespace {name}: its thread died"))?
            .with_context(|| format!("namespace {name}"))?;
        let shared = Shared { name: name.to_owned(), net, jobs: Some(jobs), thread: Some(thread) };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The name given at birth.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Runs `job` inside and returns what it returns. Jobs run one after the other, so keep them
    /// short; sockets and threads made in a job belong to the namespace and may leave the job.
    ///
    /// # Panics
    /// With the job's own panic.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (done, result) = mpsc::sync_channel(1);
        let job = Box::new(move || {
            // The receiver waits below.
            let _ = done.send(catch_unwind(AssertUnwindSafe(job)));
        });
        let jobs = self.shared.jobs.as_ref().expect("the channel is closed by drop alone");
        jobs.send(job).expect("the thread lives as long as the channel");
        match result.recv().expect("the thread answers every job") {
            Ok(value) => value,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Descriptor of the network namespace, for moving a link into it. It stays open as long as
    /// this handle.
    pub(crate) fn net_fd(&self) -> RawFd {
        self.shared.net.as_raw_fd()
    }
}

/// Takes the calling thread to a network namespace with a loopback that is up, and to a mount
/// namespace with an empty [`SCRATCH`] and a `/sys` that shows this network's interfaces.
fn enter() -> Result<OwnedFd> {
    // SAFETY: neither flag touches memory or descriptors shared with other threads: the network
    // and the mount namespace (and with it the working directory) of this thread alone change.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }
        .context("leaving the host's network and mount namespaces (needs CAP_SYS_ADMIN: run as root)")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("keeping mounts from the host")?;
    mount("tmpfs", SCRATCH, "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, None)
        .with_context(|| format!("mounting a private {SCRATCH}"))?;
    mount("sysfs", "/sys", "sysfs", MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, None)
        .context("mounting this network's /sys")?;
    crate::links::set_up("lo")?;
    let net = fs::File::open("/proc/thread-self/ns/net").context("opening /proc/thread-self/ns/net")?;
    Ok(net.into())
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take().filter(|t| t.thread().id() != thread::current().id()) {
            // Its jobs catch their panics and `enter` has no way to panic: nothing to report.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namespace").field("name", &self.shared.name).finish_non_exhaustive()
    }
}

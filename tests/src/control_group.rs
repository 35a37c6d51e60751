//! Control groups that limit the memory or the number of processes and threads of an agent.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::wait::wait_until;

/// Directory at which the control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";
/// File with the memory limit in cgroup v1, where -1 means no limit.
const MEMORY_LIMIT: &str = "memory.limit_in_bytes";
/// How long the kernel may take to remove the last process from a control group.
const END: Duration = Duration::from_secs(60);

/// Number of control groups that this process has created.
static CREATED: AtomicU32 = AtomicU32::new(0);

/// The resource that a control group limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Controller {
    /// Bytes of memory.
    Memory,
    /// Processes and threads.
    Pids,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// Returns the name of the file with the limit, in the controller's own hierarchy (cgroup v1)
    /// or in the unified hierarchy (cgroup v2).
    fn limit(self, is_common: bool) -> &'static str {
        match (self, is_common) {
            (Self::Memory, false) => MEMORY_LIMIT,
            (Self::Memory, true) => "memory.max",
            (Self::Pids, _) => "pids.max",
        }
    }
}

/// A control group, removed on drop. All its processes should have exited by then.
#[derive(Debug)]
pub struct ControlGroup {
    directory: PathBuf,
    limit: &'static str,
}

impl ControlGroup {
    /// Creates a control group without a limit. Returns `None` if the controller is not available.
    ///
    /// # Errors
    /// Returns an error if the control group cannot be created.
    pub fn new(controller: Controller) -> Result<Option<Self>> {
        let own = Path::new(ROOT).join(controller.name());
        let is_common = !own.is_dir();
        let parent = if is_common { PathBuf::from(ROOT) } else { own };
        let number = CREATED.fetch_add(1, Ordering::Relaxed);
        if is_common {
            let enabled = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
            if !enabled.split_whitespace().any(|name| name == controller.name()) {
                return Ok(None);
            }
        }
        let directory = parent.join(format!("vipd-test-{}-{number}", process::id()));
        fs::create_dir(&directory).with_context(|| format!("creating {}", directory.display()))?;
        Ok(Some(Self { directory, limit: controller.limit(is_common) }))
    }

    /// Returns the file to which a process writes 0 to enter the control group.
    pub fn processes(&self) -> PathBuf {
        self.directory.join("cgroup.procs")
    }

    /// Moves a process with all its threads into the control group.
    ///
    /// # Errors
    /// Returns an error if the process does not exist or the kernel does not move it.
    pub fn add(&self, process: u32) -> Result<()> {
        self.write("cgroup.procs", &process.to_string())
    }

    /// Sets the limit; `None` removes it.
    ///
    /// # Errors
    /// Returns an error if the kernel rejects the limit.
    pub fn set_limit(&self, limit: Option<u64>) -> Result<()> {
        let none = if self.limit == MEMORY_LIMIT { "-1" } else { "max" };
        self.write(self.limit, &limit.map_or_else(|| none.to_owned(), |limit| limit.to_string()))
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.directory.join(file);
        fs::write(&path, text).with_context(|| format!("writing {text} to {}", path.display()))
    }
}

impl Drop for ControlGroup {
    fn drop(&mut self) {
        let is_removed = || match fs::remove_dir(&self.directory) {
            // An exiting process remains in the control group for a moment.
            Err(error) => error.kind() != io::ErrorKind::ResourceBusy,
            Ok(()) => true,
        };
        if let Err(error) = wait_until("the control group to be empty", END, is_removed) {
            eprintln!("cannot remove {}: {error}", self.directory.display());
        }
    }
}

//! Stops one thread of another process with ptrace(2), as if the thread hung.

use std::fs;
use std::io;
use std::ptr;

use anyhow::{Context, Result, ensure};

/// A stopped thread of a process whose other threads continue to run. The thread continues when
/// this value is dropped, which must happen on the thread that created the value.
#[derive(Debug)]
pub struct FrozenThread(libc::pid_t);

impl FrozenThread {
    /// Stops the thread with this name, and returns once it has stopped.
    ///
    /// # Errors
    /// Returns an error if the process has no such thread or the thread cannot be traced. Tracing
    /// requires CAP_SYS_PTRACE.
    pub fn freeze(process: u32, name: &str) -> Result<Self> {
        let tasks = fs::read_dir(format!("/proc/{process}/task")).context("listing the threads")?;
        let has_name = |path: &std::path::Path| {
            fs::read_to_string(path.join("comm")).is_ok_and(|found| found.trim_end() == name)
        };
        let task = tasks.filter_map(|task| Some(task.ok()?.path())).find(|path| has_name(path));
        let id = task.as_ref().and_then(|path| path.file_name()?.to_str()?.parse().ok());
        let id: libc::pid_t = id.with_context(|| format!("process {process} has no thread {name:?}"))?;
        trace(libc::PTRACE_SEIZE, id).with_context(|| format!("tracing thread {name:?}"))?;
        let frozen = Self(id);
        trace(libc::PTRACE_INTERRUPT, id).with_context(|| format!("stopping thread {name:?}"))?;
        let mut status = 0;
        // SAFETY: `status` is valid for writes.
        let stopped = unsafe { libc::waitpid(id, &raw mut status, libc::__WALL) };
        ensure!(stopped == id && libc::WIFSTOPPED(status), "thread {name:?} has not stopped: {status:#x}");
        Ok(frozen)
    }
}

impl Drop for FrozenThread {
    fn drop(&mut self) {
        // An error means that the thread has ended.
        let _ = trace(libc::PTRACE_DETACH, self.0);
    }
}

/// Makes a ptrace(2) request without address or data.
fn trace(request: libc::c_uint, thread: libc::pid_t) -> io::Result<()> {
    let nothing = ptr::null_mut::<libc::c_void>();
    // SAFETY: these requests do not access memory of this process.
    let result = unsafe { libc::ptrace(request, thread, nothing, nothing) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

//! Reaps orphans: ended processes that a command left behind.
//!
//! An orphan's parent is the init process of its PID namespace, which must reap the orphan. In a
//! container, the agent may be that init process. If it did not reap orphans, zombies of scripts
//! would accumulate until no process could be started.

use std::collections::BTreeSet;
use std::mem::MaybeUninit;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, WaitOptions, getpid, waitpid};

/// Process IDs of commands whose exit status is still needed.
static COMMANDS: Mutex<BTreeSet<i32>> = Mutex::new(BTreeSet::new());

fn commands() -> MutexGuard<'static, BTreeSet<i32>> {
    COMMANDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The entry of a command. While the entry exists, the command is not reaped as an orphan.
#[derive(Debug)]
pub(super) struct Entry(i32);

impl Entry {
    /// Registers a command. Must be called in the thread that calls [`reap_orphans`], right after
    /// starting the command.
    pub(super) fn new(command: Pid) -> Self {
        let number = command.as_raw_nonzero().get();
        commands().insert(number);
        Self(number)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        commands().remove(&self.0);
    }
}

/// Reaps orphans that have ended, if this process is the init process of its PID namespace. Does
/// not block.
pub(crate) fn reap_orphans() {
    if !getpid().is_init() {
        return;
    }
    // Stops at the first command that has ended but has not been reaped by its own task. The next
    // call continues.
    while let Some(ended) = first_zombie()
        && !commands().contains(&ended.as_raw_nonzero().get())
        && waitpid(Some(ended), WaitOptions::NOHANG).is_ok()
    {}
}

/// Returns a child process that has ended, without reaping it.
fn first_zombie() -> Option<Pid> {
    let mut found = MaybeUninit::<libc::siginfo_t>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: the pointer is valid for the call.
    if unsafe { libc::waitid(libc::P_ALL, 0, found.as_mut_ptr(), options) } != 0 {
        return None;
    }
    // SAFETY: an all-zero `siginfo_t` is valid, and so is one that the call has filled.
    let found = unsafe { found.assume_init() };
    // SAFETY: the field is set if a process was found, and 0 otherwise.
    Pid::from_raw(unsafe { found.si_pid() })
}

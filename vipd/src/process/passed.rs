//! The descriptors that a service manager passes to a process that it starts (sd_listen_fds(3)).

use std::os::fd::{FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// Returns the descriptors with this name that the service manager has passed to this process. Sets
/// FD_CLOEXEC on all passed descriptors; those with other names are otherwise left alone. A second
/// call returns none.
pub(crate) fn take_passed(name: &str) -> Vec<OwnedFd> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::SeqCst) {
        return Vec::new();
    }
    // Fails only if the variables are malformed or refer to a descriptor that is not open. In both
    // cases, no service manager has set them.
    let passed = sd_notify::listen_fds_with_names().into_iter().flatten();
    let named = passed.filter(|(_, found)| found == name);
    // SAFETY: the descriptors were open when this process started (`LISTEN_PID`), and only this
    // function uses them, once.
    named.map(|(descriptor, _)| unsafe { OwnedFd::from_raw_fd(descriptor) }).collect()
}

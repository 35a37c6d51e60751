//! Prevents core dumps of a process that may have passwords or keys in its memory.

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

/// Prevents core dumps of this process, and access to its memory by other processes of the same
/// user (`PR_SET_DUMPABLE`).
///
/// Excluding only the pages of passwords and keys (`MADV_DONTDUMP`) would not suffice: the text of
/// the configuration, prepared frames and received adverts also contain them. `RLIMIT_CORE` would
/// not suffice either: the kernel ignores a limit of 0 if `kernel.core_pattern` is a program.
pub(crate) fn prevent_core_dumps() {
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "cannot prevent core dumps, which would contain passwords or keys");
    }
}

//! A filter of system calls (seccomp(2)) for threads that never start a program.
//!
//! The filter applies to the calling thread and the threads that it starts, but not to the
//! launcher, so commands are not affected. The filter lists denied calls rather than allowed ones.
//! The calls made by the allocator, the C library and the Rust runtime depend on their versions,
//! and a call missing from a list of allowed calls would cause an outage, possibly while another
//! failure is being handled. All other system calls are limited by the thread's capabilities.

use std::io;

use rustix::thread::set_no_new_privs;

/// The value `AUDIT_ARCH_…` from `include/uapi/linux/audit.h` for this architecture; `None` if the
/// filter does not support the architecture.
const ARCHITECTURE: Option<u32> = if cfg!(target_arch = "x86_64") {
    Some(0xc000_003e)
} else if cfg!(target_arch = "aarch64") {
    Some(0xc000_00b7)
} else if cfg!(target_arch = "riscv64") {
    Some(0xc000_00f3)
} else {
    None
};
/// First system call number of the x32 ABI, which has the same `AUDIT_ARCH` value as x86-64.
const X32: u32 = 0x4000_0000;
/// Offsets in `struct seccomp_data`. `FIRST_ARGUMENT` is the offset of the first argument's low 32
/// bits: all supported architectures are little-endian.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// System calls that fail with `EPERM`. They affect programs and other processes, users, namespaces
/// and mounts, the kernel and the clock, or keys; bypass this filter; or have a large attack
/// surface.
const DENIED: [libc::c_long; 55] = [
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_open_by_handle_at,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_personality,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
];
/// Further denied system calls, which exist only on x86-64.
#[cfg(target_arch = "x86_64")]
const DENIED_HERE: [libc::c_long; 5] =
    [libc::SYS_fork, libc::SYS_vfork, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const DENIED_HERE: [libc::c_long; 0] = [];

/// Denies system calls in the calling thread and the threads that it starts: those in [`DENIED`]
/// and [`DENIED_HERE`], any `clone` that does not start a thread, and any call through another ABI
/// (such as x32). `clone3` fails with `ENOSYS`.
///
/// Does nothing on an architecture that the filter does not support.
///
/// # Errors
/// `ENOSYS` or `EINVAL` if the kernel was built without seccomp or its filters.
pub(super) fn deny_programs() -> io::Result<()> {
    let Some(architecture) = ARCHITECTURE else { return Ok(()) };
    // Without `no_new_privs`, the filter would require CAP_SYS_ADMIN. The attribute has no other
    // effect on a thread that executes no program.
    set_no_new_privs(true)?;
    let mut filter = filter(architecture);
    let length = u16::try_from(filter.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len: length, filter: filter.as_mut_ptr() };
    // SPEC_ALLOW: a filter without this flag enables mitigations against speculative execution
    // attacks if the kernel was booted with `spec_store_bypass_disable=seccomp` or
    // `spectre_v2_user=seccomp` (the default before 5.16). The mitigations slow down the thread.
    // SAFETY: `program` points to `len` instructions, which the kernel copies.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            &raw const program,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Returns the filter: a sequence of tests, each followed by the action to take if the test
/// applies.
#[expect(clippy::cast_possible_truncation, reason = "instruction codes and system call numbers are small")]
#[expect(clippy::cast_sign_loss, reason = "error numbers and system call numbers are positive")]
fn filter(architecture: u32) -> Vec<libc::sock_filter> {
    let denied = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
    // After ENOSYS from `clone3`, the C library uses `clone`, whose flags a filter can read.
    let missing = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let step = |code: u32, k, jt, jf| libc::sock_filter { code: code as u16, jt, jf, k };
    let load = |offset| step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0);
    let end = |result| step(libc::BPF_RET | libc::BPF_K, result, 0, 0);
    // Skips the next instruction unless the test applies.
    let test = |operator, k| step(libc::BPF_JMP | libc::BPF_K | operator, k, 0, 1);
    // Skips the next instruction if the loaded value equals `k`.
    let unless_equal = |k| step(libc::BPF_JMP | libc::BPF_K | libc::BPF_JEQ, k, 1, 0);
    let mut filter = vec![load(ARCH), unless_equal(architecture), end(denied), load(NUMBER)];
    if cfg!(target_arch = "x86_64") {
        filter.extend([test(libc::BPF_JGE, X32), end(denied)]);
    }
    for number in DENIED.into_iter().chain(DENIED_HERE) {
        filter.extend([test(libc::BPF_JEQ, number as u32), end(denied)]);
    }
    filter.extend([test(libc::BPF_JEQ, libc::SYS_clone3 as u32), end(missing)]);
    filter.extend([
        unless_equal(libc::SYS_clone as u32),
        end(libc::SECCOMP_RET_ALLOW),
        load(FIRST_ARGUMENT),
        test(libc::BPF_JSET, libc::CLONE_THREAD as u32),
        end(libc::SECCOMP_RET_ALLOW),
        end(denied),
    ]);
    filter
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use super::*;

    #[test]
    fn confined_thread_starts_threads_but_no_programs() {
        if ARCHITECTURE.is_none() {
            return;
        }
        let confined = thread::spawn(|| {
            let run = || Command::new("/bin/true").status().map_err(|error| error.kind());
            assert!(run().is_ok(), "not confined yet");
            deny_programs().expect("a kernel with seccomp");
            assert_eq!(run().map(drop), Err(io::ErrorKind::PermissionDenied));
            let inner = thread::spawn(move || run().map(drop));
            assert_eq!(inner.join().expect("a thread"), Err(io::ErrorKind::PermissionDenied));
        });
        confined.join().expect("no panic");
        assert!(Command::new("/bin/true").status().is_ok(), "other threads are not confined");
    }

    /// The test makes only calls that are harmless without the filter, because a faulty filter
    /// would allow them.
    #[test]
    fn system_calls_that_change_users_or_affect_other_processes_are_denied() {
        if ARCHITECTURE.is_none() {
            return;
        }
        let confined = thread::spawn(|| {
            deny_programs().expect("a kernel with seccomp");
            for number in [libc::SYS_setresuid, libc::SYS_ptrace, libc::SYS_setns, libc::SYS_keyctl] {
                // SAFETY: the arguments are invalid or, for setresuid, change nothing.
                let result = unsafe { libc::syscall(number, -1, -1, -1, -1, -1) };
                let error = io::Error::last_os_error().raw_os_error();
                assert_eq!((result, error), (-1, Some(libc::EPERM)), "system call {number}");
            }
        });
        confined.join().expect("no panic");
    }

    #[test]
    fn each_denied_call_is_in_the_filter() {
        let filter = filter(0);
        for number in DENIED.into_iter().chain(DENIED_HERE) {
            let tested = filter.iter().any(|step| i64::from(step.k) == number && step.jf == 1);
            assert!(tested, "system call {number}");
        }
    }
}

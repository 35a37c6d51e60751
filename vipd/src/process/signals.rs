//! Signals through a signalfd(2): blocked in every thread, and read by one thread, which in the
//! agent is the control thread.
//!
//! A blocked signal does not interrupt the engine's system calls or end the process. A signal stays
//! pending until it is read, even if it was sent during startup.

use std::io;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

use tokio::io::unix::AsyncFd;

/// Signals that are not blocked: those that report a program fault and dump core (systemd's
/// watchdog also sends SIGABRT), those that are ignored by default, and SIGPIPE, which the Rust
/// runtime ignores.
///
/// SIGKILL and SIGSTOP cannot be blocked. The signals that the C library reserves cannot be blocked
/// through it, and are ignored instead (`set_reserved`). All other signals are blocked. They
/// include SIGTSTP, SIGTTIN and SIGTTOU, because a stopped master would keep its addresses without
/// sending adverts.
const NOT_BLOCKED: [libc::c_int; 12] = [
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGABRT,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGSEGV,
    libc::SIGSYS,
    libc::SIGPIPE,
    libc::SIGCHLD,
    libc::SIGCONT,
    libc::SIGURG,
    libc::SIGWINCH,
];

/// A signal received by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Number of the signal (signal(7)).
    pub number: i32,
    /// Process ID of the sender; 0 for the kernel and for processes outside this PID namespace.
    pub sender: u32,
}

/// The descriptor from which this process reads its blocked signals.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
}

impl Signals {
    /// Blocks the signals in this thread and in all threads that it starts, and opens the signalfd.
    ///
    /// Must be called before any thread is started. Child processes inherit the signal mask;
    /// `vipd exec` resets it before it executes a configured command.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` if no file descriptor is available.
    pub fn block() -> io::Result<Self> {
        set_reserved(libc::SIG_IGN)?;
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigfillset` initializes the whole set.
        unsafe { libc::sigfillset(set.as_mut_ptr()) };
        // SAFETY: as above.
        let mut set: libc::sigset_t = unsafe { set.assume_init() };
        for signal in NOT_BLOCKED {
            // SAFETY: the set is initialized, and the signal number is valid.
            unsafe { libc::sigdelset(&raw mut set, signal) };
        }
        // SAFETY: the set is initialized, and a null pointer discards the previous mask.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()) } {
            0 => {}
            errno => return Err(io::Error::from_raw_os_error(errno)),
        }
        // SAFETY: the set is initialized; -1 requests a new descriptor.
        let descriptor =
            unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
        if descriptor < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was just created and has no other owner.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    /// Registers the descriptor with the current tokio runtime.
    ///
    /// # Errors
    /// Returns an error if the runtime cannot poll the descriptor.
    pub fn into_stream(self) -> io::Result<SignalStream> {
        // SAFETY: AsyncFd owns the descriptor and keeps it open until it is dropped.
        let ready = unsafe { AsyncFd::register(self.descriptor) }?;
        Ok(SignalStream { ready })
    }
}

/// The blocked signals of this process, registered with a tokio runtime.
#[derive(Debug)]
pub struct SignalStream {
    ready: AsyncFd<OwnedFd>,
}

impl SignalStream {
    /// Waits for the next signal.
    ///
    /// # Errors
    /// Returns an error if the runtime is shutting down or the signalfd cannot be read.
    pub async fn receive(&mut self) -> io::Result<Received> {
        loop {
            let mut ready = self.ready.readable().await?;
            if let Ok(received) = ready.try_io(|descriptor| read(descriptor.get_ref())) {
                return received;
            }
        }
    }
}

impl Signals {
    /// Returns the next pending signal without waiting.
    pub(crate) fn take(&self) -> Option<Received> {
        read(&self.descriptor).ok()
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl Received {
    /// Returns whether the signal requests termination: SIGTERM, SIGINT or SIGQUIT.
    pub(crate) fn asks_to_end(self) -> bool {
        matches!(self.number, libc::SIGTERM | libc::SIGINT | libc::SIGQUIT)
    }

    /// Returns whether the signal ends a command in a terminal: a request to terminate, or SIGHUP,
    /// which is sent when the terminal is closed.
    pub(crate) fn ends_command(self) -> bool {
        self.asks_to_end() || self.number == libc::SIGHUP
    }
}

/// Returns the signals that the C library reserves for itself: 32 and 33 for glibc, and also 34 for
/// musl (signal(7): the kernel's real-time signals start at 32).
fn reserved() -> Range<libc::c_int> {
    32..libc::SIGRTMIN()
}

/// Sets the action for the signals that the C library reserves for itself. The C library does not
/// let a program block these signals, and installs its own handler before it first uses one of
/// them.
pub(super) fn set_reserved(handler: libc::sighandler_t) -> io::Result<()> {
    // The kernel's `struct sigaction` on 64-bit systems: the handler, the flags, a restorer on some
    // architectures, and the mask. All fields after the handler are 0.
    let action: [usize; 4] = [handler, 0, 0, 0];
    for signal in reserved() {
        // SAFETY: the kernel only reads `action`, and with a null pointer does not return the
        // previous action.
        let result = unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                action.as_ptr(),
                ptr::null_mut::<usize>(),
                size_of::<u64>(),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Makes this process ignore SIGABRT, except from abort(3).
pub(crate) fn ignore_abort() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGABRT, libc::SIG_IGN) };
}

fn read(descriptor: &OwnedFd) -> io::Result<Received> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    rustix::io::read(descriptor, &mut info)?;
    // struct signalfd_siginfo begins with ssi_signo, ssi_errno, ssi_code and ssi_pid, 32 bits each.
    let (words, _) = info.as_chunks::<4>();
    Ok(Received { number: i32::from_ne_bytes(words[0]), sender: u32::from_ne_bytes(words[3]) })
}

/// Sends a signal to the calling thread, which must have blocked it.
#[cfg(test)]
pub(crate) fn raise(number: i32) {
    // SAFETY: raise(3) has no preconditions; a blocked signal only becomes pending.
    unsafe { libc::raise(number) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test first resets the action, because a process started with posix_spawn(3) already
    /// ignores these signals.
    #[test]
    fn reserved_signals_are_ignored() {
        let ignored = || {
            let status = std::fs::read_to_string("/proc/self/status").expect("the status");
            let set = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a set");
            let set = u64::from_str_radix(set.trim(), 16).expect("hexadecimal digits");
            reserved().filter(|signal| set >> (signal - 1) & 1 == 1).collect::<Vec<_>>()
        };
        set_reserved(libc::SIG_DFL).expect("set");
        assert!(ignored().is_empty());
        set_reserved(libc::SIG_IGN).expect("set");
        assert_eq!(ignored()[..2], [32, 33]);
        assert_eq!(ignored().len(), reserved().len());
    }

    #[test]
    fn signals_that_end_or_stop_a_process_stay_pending() {
        let signals = Signals::block().expect("blocked");
        let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
        let all: Vec<i32> = (1..32)
            .filter(|signal| {
                ![libc::SIGKILL, libc::SIGSTOP].contains(signal) && !NOT_BLOCKED.contains(signal)
            })
            .chain(real_time)
            .collect();
        for number in all {
            raise(number);
            assert_eq!(read(&signals.descriptor).expect("pending").number, number);
        }
        let none = read(&signals.descriptor).expect_err("no signal is pending");
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }
}

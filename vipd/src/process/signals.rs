//! Signals as a file descriptor: blocked in every thread, read by the control thread.
//!
//! A blocked signal interrupts no system call of the engine, cannot end the process, and stays
//! pending until it is read, however early it was sent.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::ptr;

use tokio::io::unix::AsyncFd;

/// Signals that keep their default: those of a fault in the program (a core dump is what they are
/// for; SIGABRT is also systemd's watchdog), those whose default does nothing, and SIGPIPE, which
/// the Rust runtime ignores.
///
/// SIGKILL and SIGSTOP cannot be blocked. All others can, SIGTSTP, SIGTTIN and SIGTTOU among them:
/// a stopped master keeps its addresses and sends no adverts.
const KEPT: [libc::c_int; 12] = [
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

/// A signal that was sent to this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// Number of the signal (signal(7)).
    pub number: i32,
    /// Process id of the sender; 0 for the kernel, or for a process outside this process namespace.
    pub sender: u32,
}

/// The signals of this process.
#[derive(Debug)]
pub struct Signals {
    descriptor: OwnedFd,
}

impl Signals {
    /// Blocks the signals in this thread and in those that it starts, and opens the descriptor.
    ///
    /// Call it before the first thread is started. A child process inherits the mask: reset it
    /// before exec.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` without a free file descriptor.
    pub fn block() -> io::Result<Self> {
        let mut set = MaybeUninit::uninit();
        // SAFETY: `sigfillset` initializes the whole set.
        unsafe { libc::sigfillset(set.as_mut_ptr()) };
        // SAFETY: as above.
        let mut set: libc::sigset_t = unsafe { set.assume_init() };
        for signal in KEPT {
            // SAFETY: the set is initialized, the number valid.
            unsafe { libc::sigdelset(&raw mut set, signal) };
        }
        // SAFETY: the set is initialized; the former mask is not asked for.
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
        // SAFETY: the kernel has just made this descriptor, and it has no other owner.
        Ok(Self { descriptor: unsafe { OwnedFd::from_raw_fd(descriptor) } })
    }

    /// Registers the descriptor with the current tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot poll it.
    pub fn into_stream(self) -> io::Result<SignalStream> {
        // SAFETY: the descriptor is owned by the AsyncFd, which neither replaces nor closes it before it is dropped.
        let ready = unsafe { AsyncFd::register(self.descriptor) }?;
        Ok(SignalStream { ready })
    }
}

/// The signals of this process, inside a tokio runtime.
#[derive(Debug)]
pub struct SignalStream {
    ready: AsyncFd<OwnedFd>,
}

impl SignalStream {
    /// Waits for the next signal.
    ///
    /// # Errors
    /// When the runtime is shutting down.
    pub async fn receive(&mut self) -> io::Result<Received> {
        loop {
            let mut ready = self.ready.readable().await?;
            if let Ok(received) = ready.try_io(|descriptor| read(descriptor.get_ref())) {
                return received;
            }
        }
    }
}

fn read(descriptor: &OwnedFd) -> io::Result<Received> {
    let mut info = [0; size_of::<libc::signalfd_siginfo>()];
    rustix::io::read(descriptor, &mut info)?;
    // struct signalfd_siginfo: ssi_signo, ssi_errno, ssi_code, ssi_pid, … of 32 bits each.
    let (words, _) = info.as_chunks::<4>();
    Ok(Received { number: i32::from_ne_bytes(words[0]), sender: u32::from_ne_bytes(words[3]) })
}

/// Sends a signal to the calling thread, where it is blocked.
#[cfg(test)]
pub(crate) fn raise(number: i32) {
    // SAFETY: it only makes the signal pending.
    unsafe { libc::raise(number) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_that_ends_or_stops_a_process_is_kept_pending() {
        let signals = Signals::block().expect("blocked");
        let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
        let all: Vec<i32> = (1..32)
            .filter(|signal| ![libc::SIGKILL, libc::SIGSTOP].contains(signal) && !KEPT.contains(signal))
            .chain(real_time)
            .collect();
        for number in all {
            raise(number);
            assert_eq!(read(&signals.descriptor).expect("pending").number, number);
        }
        let none = read(&signals.descriptor).expect_err("none is pending");
        assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
    }
}

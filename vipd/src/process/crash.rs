//! Signal handlers that inform the guardian of a crash before the core dump begins.
//!
//! The kernel writes the core dump before it ends the threads, so a crashing agent would appear to
//! be running for seconds. Until the guardian has been informed, the handlers only make system
//! calls and call async-signal-safe functions (signal-safety(7)).

use std::io;
use std::mem::{self, MaybeUninit};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};

use super::SharedMemory;

/// The signals that indicate a crash.
const SIGNALS: [libc::c_int; 7] =
    [libc::SIGILL, libc::SIGTRAP, libc::SIGABRT, libc::SIGBUS, libc::SIGFPE, libc::SIGSEGV, libc::SIGSYS];
/// Maximum time that a crashing thread waits for the engine's thread to stop, in nanoseconds.
const ENGINE_TIMEOUT: i64 = 1_000_000;

/// The shared memory, and the index of the word in which the signal number is stored.
static MEMORY: OnceLock<(Arc<SharedMemory>, usize)> = OnceLock::new();
/// The socket through which the guardian is woken; -1 if there is no guardian.
static SOCKET: AtomicI32 = AtomicI32::new(-1);
/// Thread ID of the engine while it holds the guardian's mutex, otherwise 0.
static ENGINE: AtomicI32 = AtomicI32::new(0);
/// Thread ID of the first thread that has crashed; 0 if no thread has crashed.
static CRASHING: AtomicI32 = AtomicI32::new(0);
/// Whether the engine's thread has stopped because another thread crashed.
static IS_STOPPED: AtomicBool = AtomicBool::new(false);
/// The actions of [`SIGNALS`] before the handlers were installed.
static FORMER: OnceLock<[libc::sigaction; SIGNALS.len()]> = OnceLock::new();

/// Installs the handlers. While they are [armed](arm), they store the number of the signal in the
/// word at `index` of `memory`, which stays mapped until the process ends.
///
/// # Errors
/// Returns an error if the handlers are already installed, or the kernel rejects one.
pub(crate) fn install(memory: Arc<SharedMemory>, index: usize) -> io::Result<()> {
    // SAFETY: all fields of sigaction are integers and pointers, for which zero is a valid value.
    let mut former: [libc::sigaction; SIGNALS.len()] = unsafe { mem::zeroed() };
    for (signal, former) in SIGNALS.into_iter().zip(&mut former) {
        // SAFETY: a null pointer keeps the current action, which is stored in `former`.
        unsafe { libc::sigaction(signal, ptr::null(), former) };
    }
    FORMER.set(former).map_err(|_| io::ErrorKind::AlreadyExists)?;
    MEMORY.set((memory, index)).map_err(|_| io::ErrorKind::AlreadyExists)?;
    for signal in SIGNALS {
        // SAFETY: as above.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = handler as extern "C" fn(_, _, _) as libc::sighandler_t;
        // The stack may have overflowed. The Rust runtime gives each thread an alternate signal
        // stack.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        // SAFETY: the handler has the signature that SA_SIGINFO requires, and is
        // async-signal-safe.
        if unsafe { libc::sigaction(signal, &raw const action, ptr::null_mut()) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Makes the handlers wake the guardian at the other end of this socket, which must stay open until
/// [`disarm`].
pub(crate) fn arm(socket: libc::c_int) {
    SOCKET.store(socket, Ordering::Release);
}

/// Stops the handlers from using the socket.
pub(crate) fn disarm() {
    SOCKET.store(-1, Ordering::Release);
}

/// Records that the calling thread runs the engine, or that the engine has ended. The handlers stop
/// the engine's thread, because the engine must send nothing once the guardian has been informed.
pub(crate) fn set_engine(is_running: bool) {
    ENGINE.store(if is_running { thread_id() } else { 0 }, Ordering::Release);
}

extern "C" fn handler(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    let own = thread_id();
    match CRASHING.compare_exchange(0, own, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {}
        // This handler itself has crashed, or the previous handler has called abort(3).
        Err(first) if first == own => return end_with(signal),
        // Another thread crashed first and will end the process.
        Err(_) => {
            if ENGINE.load(Ordering::Acquire) == own {
                IS_STOPPED.store(true, Ordering::Release);
            }
            loop {
                // SAFETY: no preconditions.
                unsafe { libc::pause() };
            }
        }
    }
    let socket = SOCKET.load(Ordering::Acquire);
    if socket >= 0 {
        stop_engine(own);
        inform(socket, signal);
    }
    // SAFETY: the kernel passes a valid `info` to a handler that was installed with SA_SIGINFO.
    let is_sent = unsafe { (*info).si_code } <= 0;
    let position = SIGNALS.iter().position(|known| *known == signal);
    let former = FORMER.get().zip(position).map(|(former, position)| former[position].sa_sigaction);
    match former {
        // Another handler was installed earlier, such as the Rust runtime's, which reports a stack
        // overflow. Such a handler relies on the fault occurring again after it has returned.
        Some(action) if !is_sent && action != libc::SIG_DFL && action != libc::SIG_IGN => {
            set_default(signal);
            // SAFETY: the Rust runtime is the only other code in this process that installs
            // handlers for these signals; it uses this signature.
            let action: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) =
                unsafe { mem::transmute(action) };
            action(signal, info, context);
        }
        _ => end_with(signal),
    }
}

/// Stops the engine's thread, unless it is the calling thread. An advert sent after the guardian's
/// priority-0 advert would restart the backups' master-down timers.
fn stop_engine(own: libc::pid_t) {
    let engine = ENGINE.load(Ordering::Acquire);
    if engine == 0 || engine == own {
        return;
    }
    // SAFETY: no preconditions.
    let process = unsafe { libc::getpid() };
    // SAFETY: no preconditions. The signal's handler is `handler`.
    if unsafe { libc::syscall(libc::SYS_tgkill, process, engine, libc::SIGABRT) } != 0 {
        return;
    }
    let start = monotonic();
    while !IS_STOPPED.load(Ordering::Acquire) && monotonic() - start < ENGINE_TIMEOUT {
        // SAFETY: no preconditions.
        unsafe { libc::sched_yield() };
    }
}

fn inform(socket: libc::c_int, signal: libc::c_int) {
    if let Some(word) = MEMORY.get().and_then(|(memory, index)| memory.words().get(*index)) {
        word.store(u64::from(signal.unsigned_abs()), Ordering::Release);
    }
    let message = [b'C'];
    // SAFETY: the message has one byte. If the guardian has ended, the call fails without effect.
    unsafe { libc::send(socket, message.as_ptr().cast(), 1, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) };
}

/// Ends the process by the signal's default action. The signal is raised here and delivered when
/// the handler returns.
fn end_with(signal: libc::c_int) {
    set_default(signal);
    // SAFETY: no preconditions.
    unsafe { libc::raise(signal) };
}

fn set_default(signal: libc::c_int) {
    // SAFETY: the default action runs no code of this process.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
}

fn thread_id() -> libc::pid_t {
    // SAFETY: no preconditions.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    libc::pid_t::try_from(id).unwrap_or(0)
}

/// Returns the time of `CLOCK_MONOTONIC` in nanoseconds.
fn monotonic() -> i64 {
    let mut now = MaybeUninit::<libc::timespec>::zeroed();
    // SAFETY: the pointer is valid for the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, now.as_mut_ptr()) };
    // SAFETY: zero is a valid timespec, even if the call has failed.
    let now = unsafe { now.assume_init() };
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

//! A robust mutex in shared memory (pthread_mutexattr_setrobust(3)): a thread that locks the mutex
//! waits until the holder, a thread of another process, has released it or has ended.
//!
//! The kernel wakes the waiting thread at the start of the holder's exit (`exit_robust_list` in
//! `kernel/futex/core.c`), before it closes the descriptors of the holder's process. A pidfd
//! becomes readable only afterwards.

use std::io;
use std::mem::MaybeUninit;
use std::sync::atomic::AtomicU64;

/// Size of a mutex in 64-bit words.
pub(crate) const WORDS: usize = size_of::<libc::pthread_mutex_t>().div_ceil(size_of::<AtomicU64>());

/// How a mutex was acquired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// The mutex was free, or its holder released it.
    Released,
    /// The thread that held the mutex ended without releasing it.
    OwnerDied,
}

/// A mutex in [`WORDS`] words of shared memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RobustMutex<'a>(&'a [AtomicU64; WORDS]);

impl<'a> RobustMutex<'a> {
    /// Initializes a mutex. No thread may use it yet.
    ///
    /// # Errors
    /// Returns an error if the system does not support robust mutexes.
    pub(crate) fn initialize(words: &'a [AtomicU64; WORDS]) -> io::Result<Self> {
        let mutex = Self(words);
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: initializes the attributes.
        checked(unsafe { libc::pthread_mutexattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: the call above has initialized the attributes.
        let mut attributes = unsafe { attributes.assume_init() };
        let attributes = &raw mut attributes;
        // SAFETY: the attributes are initialized, here and in the following calls.
        checked(unsafe { libc::pthread_mutexattr_setpshared(attributes, libc::PTHREAD_PROCESS_SHARED) })?;
        // SAFETY: as above.
        checked(unsafe { libc::pthread_mutexattr_setrobust(attributes, libc::PTHREAD_MUTEX_ROBUST) })?;
        // SAFETY: as above. With this type, unlocking fails in a thread that does not hold the
        // mutex.
        checked(unsafe { libc::pthread_mutexattr_settype(attributes, libc::PTHREAD_MUTEX_ERRORCHECK) })?;
        // SAFETY: the words have the size of a mutex and a sufficient alignment.
        checked(unsafe { libc::pthread_mutex_init(mutex.pointer(), attributes) })?;
        Ok(mutex)
    }

    /// Refers to a mutex that has been initialized, possibly by another process.
    pub(crate) fn existing(words: &'a [AtomicU64; WORDS]) -> Self {
        Self(words)
    }

    /// Acquires the mutex. Waits until the holder, if any, has released the mutex or has ended.
    ///
    /// # Errors
    /// `EDEADLK` if this thread holds the mutex.
    pub(crate) fn lock(&self) -> io::Result<Acquired> {
        // SAFETY: the mutex has been initialized.
        match unsafe { libc::pthread_mutex_lock(self.pointer()) } {
            libc::EOWNERDEAD => {
                // SAFETY: this thread has just acquired the mutex.
                checked(unsafe { libc::pthread_mutex_consistent(self.pointer()) })?;
                Ok(Acquired::OwnerDied)
            }
            errno => checked(errno).map(|()| Acquired::Released),
        }
    }

    /// Releases the mutex. Does nothing if this thread does not hold it.
    pub(crate) fn unlock(&self) {
        // SAFETY: the mutex has been initialized. Its type makes the call fail in a thread that
        // does not hold it.
        unsafe { libc::pthread_mutex_unlock(self.pointer()) };
    }

    fn pointer(&self) -> *mut libc::pthread_mutex_t {
        self.0.as_ptr().cast_mut().cast()
    }
}

fn checked(errno: libc::c_int) -> io::Result<()> {
    if errno == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(errno)) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    fn words() -> Arc<[AtomicU64; WORDS]> {
        Arc::new(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    #[test]
    fn end_of_the_holder_is_distinguished_from_a_release() {
        let words = words();
        RobustMutex::initialize(&words).expect("initialized");
        for (releases, expected) in [(false, Acquired::OwnerDied), (true, Acquired::Released)] {
            let held = Arc::clone(&words);
            let holder = thread::spawn(move || {
                let mutex = RobustMutex::existing(&held);
                mutex.lock().expect("acquired");
                if releases {
                    mutex.unlock();
                }
            });
            holder.join().expect("no panic");
            let mutex = RobustMutex::existing(&words);
            assert_eq!(mutex.lock().expect("acquired"), expected);
            assert!(mutex.lock().is_err(), "already held");
            mutex.unlock();
            mutex.unlock();
        }
    }
}

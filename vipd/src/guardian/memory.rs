//! The memory that the engine shares with the guardian.
//!
//! ```text
//!  word 0       phase       the engine's phase: `Phase`
//!       1       crash       number of the fatal signal that the agent has received, else 0
//!       2       answered    1 once a guardian has responded to the engine's death, or while no
//!                           response is needed
//!       3       rows        number of rows
//!       8…15    mutex       robust; held by the engine's thread in the phase `Running`
//!       16…     table       one word per row: position of its record (upper half) and length,
//!                           both in words; 0 if there is none
//!       …       sequences   one word per row: sequence of the last signed advert; 0 if there is none
//!       …       records     the rows' adverts, VIPs, routes, rules and macvlans: `record`
//! ```
//!
//! The engine writes a record to unused words, and then publishes it with one store to the table.
//! Words that have been unused longest are reused first. The guardian reads the table and the
//! records only after the engine's thread has ended, or after a crash handler has stopped this
//! thread or waited 1 ms for it to stop. A thread that still runs writes to the words that have
//! been unused longest, not to a record that the guardian has just found in the table. It does
//! clear the key of a record that it replaces or removes; if the guardian has just found this
//! record, other routers refuse its advert, and take over only after Active_Down_Interval.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::process::SharedMemory;
use crate::process::robust_mutex::{self, RobustMutex};

const PHASE: usize = 0;
pub(super) const CRASH: usize = 1;
const ANSWERED: usize = 2;
const ROWS: usize = 3;
const MUTEX: usize = 8;
const TABLE: usize = 16;
/// Words for records of each row: eight times the size of a record with a few VIPs. Words take no
/// memory until they are written.
const WORDS_PER_ROW: usize = 256;
/// Further words for records, shared by all rows.
const WORDS: usize = 1 << 19;

const _: () = assert!(MUTEX + robust_mutex::WORDS <= TABLE);

/// The engine's phase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The engine's thread has not acquired the mutex yet. A successor acquires the mutex only
    /// after it has taken over.
    Starting,
    /// The engine's thread holds the mutex. If it releases the mutex in this phase, it has died.
    Running,
    /// The agent has removed its VIPs, or a successor has taken them over.
    Ended,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Starting, Self::Running, Self::Ended];
}

/// Mapped shared memory.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<SharedMemory>);

impl Memory {
    /// Creates the memory for `rows` rows.
    ///
    /// # Errors
    /// Returns an error if no file descriptor or address space is available.
    pub(super) fn create(rows: usize) -> io::Result<Self> {
        let words = TABLE + 2 * rows + rows * WORDS_PER_ROW + WORDS;
        let memory = Self(Arc::new(SharedMemory::create("vipd-guardian", words)?));
        memory.word(ROWS).store(rows as u64, Ordering::Relaxed);
        RobustMutex::initialize(memory.mutex_words()?)?;
        Ok(memory)
    }

    /// Maps memory that the agent has created.
    ///
    /// # Errors
    /// Returns an error if the memory cannot be mapped or is too small.
    pub(super) fn map(descriptor: OwnedFd) -> io::Result<Self> {
        let memory = Self(Arc::new(SharedMemory::map(descriptor)?));
        let words = memory.0.words().len();
        if words < TABLE || (words - TABLE) / 2 < memory.rows() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(memory)
    }

    pub(super) fn shared(&self) -> Arc<SharedMemory> {
        Arc::clone(&self.0)
    }

    pub(super) fn rows(&self) -> usize {
        usize::try_from(self.word(ROWS).load(Ordering::Relaxed)).unwrap_or(usize::MAX)
    }

    pub(super) fn mutex(&self) -> io::Result<RobustMutex<'_>> {
        Ok(RobustMutex::existing(self.mutex_words()?))
    }

    pub(super) fn phase(&self) -> Phase {
        let number = self.word(PHASE).load(Ordering::Acquire);
        // The agent stores only valid phase numbers.
        Phase::ALL.into_iter().find(|phase| *phase as u64 == number).unwrap_or(Phase::Ended)
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.word(PHASE).store(phase as u64, Ordering::Release);
    }

    /// Returns the number of the fatal signal that the agent has received; `None` if the agent is
    /// not crashing.
    pub(super) fn crash(&self) -> Option<i32> {
        i32::try_from(self.word(CRASH).load(Ordering::Acquire)).ok().filter(|signal| *signal != 0)
    }

    /// Records that a guardian has responded to the engine's death. Returns whether the caller must
    /// respond: false if a guardian has already responded, or no response is needed
    /// ([`set_answered`](Self::set_answered)).
    pub(super) fn answer(&self) -> bool {
        self.word(ANSWERED).swap(1, Ordering::AcqRel) == 0
    }

    /// Records whether the engine's death needs no response.
    pub(super) fn set_answered(&self, is_answered: bool) {
        self.word(ANSWERED).store(is_answered.into(), Ordering::Release);
    }

    /// Returns whether a guardian has responded to the engine's death, or no response is needed
    /// ([`set_answered`](Self::set_answered)).
    pub(super) fn is_answered(&self) -> bool {
        self.word(ANSWERED).load(Ordering::Acquire) != 0
    }

    /// Returns the words for records.
    pub(super) fn records(&self) -> &[AtomicU64] {
        self.0.words().get(TABLE + 2 * self.rows()..).unwrap_or_default()
    }

    /// Stores the sequence of the last signed advert that the router of a row has sent.
    pub(super) fn set_sequence(&self, row: usize, sequence: u64) {
        if row < self.rows() {
            self.word(TABLE + self.rows() + row).store(sequence, Ordering::Relaxed);
        }
    }

    /// Returns the sequence of the last signed advert that the router of a row has sent; 0 if there
    /// is none.
    pub(super) fn sequence(&self, row: usize) -> u64 {
        if row < self.rows() { self.word(TABLE + self.rows() + row).load(Ordering::Relaxed) } else { 0 }
    }

    /// Publishes the record of a row, which is a range of [`records`](Self::records). With a length
    /// of 0, the row has no record.
    pub(super) fn publish(&self, row: usize, position: u32, length: u32) {
        if row < self.rows() {
            let entry = u64::from(position) << 32 | u64::from(length);
            self.word(TABLE + row).store(if length == 0 { 0 } else { entry }, Ordering::Release);
        }
    }

    /// Copies the record of a row into `buffer`. Returns `None` if the row has no record, or if the
    /// buffer is too small. Does not allocate.
    pub(super) fn read<'a>(&self, row: usize, buffer: &'a mut [u64]) -> Option<&'a [u64]> {
        if row >= self.rows() {
            return None;
        }
        let entry = self.word(TABLE + row).load(Ordering::Acquire);
        let (position, length) = (usize::try_from(entry >> 32).ok()?, (entry & 0xffff_ffff) as usize);
        let words = self.records().get(position..)?.get(..length).filter(|words| !words.is_empty())?;
        let copy = buffer.get_mut(..length)?;
        for (copy, word) in copy.iter_mut().zip(words) {
            *copy = word.load(Ordering::Relaxed);
        }
        Some(copy)
    }

    /// Returns a word of the header, the table or the sequences.
    fn word(&self, index: usize) -> &AtomicU64 {
        // `create` and `map` make sure that all three exist.
        &self.0.words()[index]
    }

    fn mutex_words(&self) -> io::Result<&[AtomicU64; robust_mutex::WORDS]> {
        let words = self.0.words().get(MUTEX..).and_then(<[AtomicU64]>::first_chunk);
        words.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

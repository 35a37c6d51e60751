//! The engine's end of the shared memory.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc::SyncSender;

use zeroize::Zeroizing;

use super::memory::{Memory, Phase};
use super::record::{KEY_WORDS, Record};
use crate::process::crash::set_engine;
use crate::xdp::Row;

/// Number of block sizes: powers of two from 32 words (256 bytes).
const SIZES: usize = 12;
/// Size of the smallest block in words.
const SMALLEST: usize = 32;

/// Writes the records of the routers. Owned by the engine, whose thread calls [`hold`](Self::hold).
#[derive(Debug)]
pub(crate) struct Writer {
    memory: Memory,
    /// Notifies the service that the engine holds the mutex.
    started: SyncSender<()>,
    /// The block and the contents of each row's record.
    blocks: Vec<Option<(Block, Zeroizing<Vec<u64>>)>>,
    /// Unused blocks by size, in the order in which they became unused.
    unused: [VecDeque<Block>; SIZES],
    /// Number of words, from the start of the records, that belong to blocks, used or unused.
    used: usize,
}

/// A range of words for a record.
#[derive(Clone, Copy, Debug)]
struct Block {
    position: u32,
    /// Index of the size: the block has `SMALLEST << size` words.
    size: usize,
}

/// The shared memory has no room for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Writer {
    pub(super) fn new(memory: Memory, started: SyncSender<()>) -> Self {
        let blocks = vec![const { None }; memory.rows()];
        Self { memory, started, blocks, unused: Default::default(), used: 0 }
    }

    /// Acquires the mutex for the calling thread: until [`release`](Self::release), the guardian
    /// treats the end of this thread as the death of the agent.
    ///
    /// # Errors
    /// Returns an error if this thread already holds the mutex.
    pub(crate) fn hold(&self) -> io::Result<()> {
        self.memory.mutex()?.lock()?;
        set_engine(true);
        self.memory.set_phase(Phase::Running);
        // Fails if the service is stopping.
        let _ = self.started.try_send(());
        Ok(())
    }

    /// Allows the guardian to end without action. Call this after the VIPs have been removed or
    /// handed over.
    pub(crate) fn release(&self) {
        set_engine(false);
        self.memory.set_phase(Phase::Ended);
        if let Ok(mutex) = self.memory.mutex() {
            mutex.unlock();
        }
    }

    /// Sets whether the guardian acts when the engine dies. Unlike [`release`](Self::release), this
    /// can be reversed.
    pub(crate) fn set_armed(&self, is_armed: bool) {
        self.memory.set_answered(!is_armed);
    }

    /// Publishes the record of a row, unless it is unchanged.
    ///
    /// # Errors
    /// [`Full`] if there is no room for the record. The row then has no record.
    pub(crate) fn publish(&mut self, row: Row, record: &Record) -> Result<(), Full> {
        let words = record.encode();
        if self.current(row).is_some_and(|(_, current)| *current == words) {
            return Ok(());
        }
        let block = self.allocate(words.len());
        let Some(block) = block else {
            self.clear(row);
            return Err(Full);
        };
        let position = block.position as usize;
        let room = self.memory.records().get(position..).unwrap_or_default();
        for (word, value) in room.iter().zip(words.iter()) {
            word.store(*value, Ordering::Relaxed);
        }
        let length = u32::try_from(words.len()).map_err(|_| Full)?;
        self.memory.publish(row.number() as usize, block.position, length);
        self.replace(row, Some((block, words)));
        Ok(())
    }

    /// Stores the sequence of the last signed advert that the router of a row has sent.
    pub(crate) fn set_sequence(&self, row: Row, sequence: u64) {
        self.memory.set_sequence(row.number() as usize, sequence);
    }

    /// Removes the record of a row.
    pub(crate) fn clear(&mut self, row: Row) {
        self.set_sequence(row, 0);
        self.memory.publish(row.number() as usize, 0, 0);
        self.replace(row, None);
    }

    fn current(&self, row: Row) -> Option<&(Block, Zeroizing<Vec<u64>>)> {
        self.blocks.get(row.number() as usize)?.as_ref()
    }

    fn replace(&mut self, row: Row, by: Option<(Block, Zeroizing<Vec<u64>>)>) {
        let Some(slot) = self.blocks.get_mut(row.number() as usize) else { return };
        if let Some((former, _)) = std::mem::replace(slot, by) {
            let words = self.memory.records().get(former.position as usize..).unwrap_or_default();
            // Release ordering: the key is cleared only after the table has ceased to refer to the
            // former record.
            for word in words.get(KEY_WORDS).unwrap_or_default() {
                word.store(0, Ordering::Release);
            }
            self.unused[former.size].push_back(former);
        }
    }

    fn allocate(&mut self, words: usize) -> Option<Block> {
        let size = (0..SIZES).find(|size| SMALLEST << size >= words)?;
        if let Some(block) = self.unused[size].pop_front() {
            return Some(block);
        }
        let end = self.used + (SMALLEST << size);
        if end > self.memory.records().len() {
            return None;
        }
        let block = Block { position: u32::try_from(self.used).ok()?, size };
        self.used = end;
        Some(block)
    }
}

/// Largest record in words.
pub(super) const LARGEST: usize = SMALLEST << (SIZES - 1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;
    use std::thread;

    use super::*;
    use crate::guardian::record::{Packet, Signing};
    use crate::process::robust_mutex::Acquired;
    use crate::vrrp::hmac::Key;
    use crate::xdp::Rows;

    fn writer(rows: usize) -> (Writer, Memory) {
        let memory = Memory::create(rows).expect("created");
        (Writer::new(memory.clone(), sync_channel(1).0), memory)
    }

    fn record(length: usize) -> Record {
        Record { packets: vec![Packet { route: None, bytes: vec![0xa5; length] }], ..Record::default() }
    }

    #[test]
    fn published_records_are_read_and_their_blocks_are_reused() {
        let (mut writer, memory) = writer(3);
        let row = Rows::new(2).allocate().expect("a row");
        let mut buffer = vec![0; LARGEST];
        assert_eq!(memory.read(row.number() as usize, &mut buffer), None);
        for length in (0..5000).chain([60, 60]) {
            let record = record(length);
            writer.publish(row, &record).expect("room");
            assert_eq!(memory.read(row.number() as usize, &mut buffer), Some(&record.encode()[..]));
        }
        // Two blocks of each size must suffice.
        assert!(writer.used <= 4 * 1024, "{} words", writer.used);
        writer.clear(row);
        assert_eq!(memory.read(row.number() as usize, &mut buffer), None);
    }

    /// Unwinding does not release the mutex. After a panic, the engine thread therefore ends with
    /// the mutex held, which wakes the guardian.
    #[test]
    fn panic_of_the_engine_counts_as_its_death() {
        let (writer, memory) = writer(1);
        let engine = thread::spawn(move || {
            writer.hold().expect("acquired");
            panic!("a bug in the engine");
        });
        assert!(engine.join().is_err());
        let mutex = memory.mutex().expect("initialized");
        assert_eq!(mutex.lock().expect("acquired"), Acquired::OwnerDied);
        assert_eq!((memory.phase(), memory.is_answered()), (Phase::Running, false));
        mutex.unlock();
    }

    #[test]
    fn guardian_acts_only_while_armed() {
        let (writer, memory) = writer(1);
        writer.set_armed(false);
        assert!(!memory.answer(), "must not act");
        writer.set_armed(true);
        assert!(memory.answer(), "must act");
    }

    #[test]
    fn keys_of_replaced_and_removed_records_are_cleared() {
        let (mut writer, memory) = writer(3);
        let row = Rows::new(2).allocate().expect("a row");
        let signed = |key: u8| {
            let (key, source) = (Key::new(1, &[key; 32]), [10, 0, 0, 1].into());
            let signing = Signing { key, version: 3, message: 34, window: None, source };
            Record { signing: Some(signing), ..record(60) }
        };
        let contains = |key: u8| {
            let record = signed(key).encode();
            let words: Vec<_> =
                memory.records().iter().map(|word| word.load(Ordering::Relaxed)).take(1024).collect();
            words.windows(KEY_WORDS.len()).any(|words| words == &record[KEY_WORDS])
        };
        writer.publish(row, &signed(7)).expect("room");
        assert!(contains(7));
        writer.publish(row, &signed(8)).expect("room");
        assert!(!contains(7) && contains(8));
        writer.clear(row);
        assert!(!contains(8));
    }

    #[test]
    fn record_that_does_not_fit_is_refused() {
        let (mut writer, memory) = writer(3);
        let row = Rows::new(2).allocate().expect("a row");
        writer.publish(row, &record(60)).expect("room");
        assert_eq!(writer.publish(row, &record(LARGEST * 8)), Err(Full));
        assert_eq!(memory.read(row.number() as usize, &mut vec![0; LARGEST]), None, "an outdated record");
    }
}

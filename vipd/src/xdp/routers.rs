//! The map entries of virtual routers. Entries can be removed, and rows cleared for reuse, while
//! other routers keep running.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use aya::maps::{HashMap, MapData, MapError, PerCpuArray, PerCpuValues};
use aya::util::nr_cpus;
use vipd_common::counters::ROW_CELLS;
use vipd_common::hmac::KeyState;
use vipd_common::records::{HmacKey, PeerKey, RouterKey, RouterSlot, SenderKey};

use super::{Row, Signers, Steady};
use crate::vrrp::hmac::Key;

const SENDER_KEY: usize = size_of::<SenderKey>();

/// The maps `ROUTERS`, `PEERS` and `HMAC_KEYS`, and the maps in which a released row must be
/// cleared.
pub(super) struct Routers {
    pub(super) entries: HashMap<MapData, [u8; 8], [u8; size_of::<RouterSlot>()]>,
    pub(super) peers: HashMap<MapData, [u8; 20], u8>,
    pub(super) senders: HashMap<MapData, [u8; SENDER_KEY], u64>,
    /// Number of senders for which the map has room.
    pub(super) sender_room: usize,
    pub(super) counters: PerCpuArray<MapData, [u64; ROW_CELLS]>,
    pub(super) keys: Keys,
    /// A second mapping of the arrays; the engine owns the first.
    pub(super) steady: Steady,
    /// As above.
    pub(super) signers: Signers,
}

type KeyMap = HashMap<MapData, [u8; size_of::<HmacKey>()], [u8; size_of::<KeyState>()]>;

/// The map `HMAC_KEYS`.
pub(super) struct Keys {
    map: KeyMap,
    /// The IDs of the keys in the map, by row. Reading them from the map would take a system call
    /// for each key of all rows.
    ids: BTreeMap<u32, BTreeSet<u32>>,
}

impl Keys {
    /// Takes over a map, which may contain the keys of a predecessor.
    pub(super) fn new(map: KeyMap) -> Result<Self, MapError> {
        let mut ids: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for key in map.keys() {
            let HmacKey { row, key_id } = bytemuck::cast(key?);
            ids.entry(row).or_default().insert(key_id);
        }
        Ok(Self { map, ids })
    }

    /// Replaces the keys of a row. New keys are inserted before old ones are removed, so that a key
    /// in both lists is always present.
    fn set(&mut self, row: u32, keys: &[Key]) -> Result<(), MapError> {
        let ids = self.ids.entry(row).or_default();
        for key in keys {
            let key_id = u32::from(key.id());
            // A reference, so that no copy of the states remains on the stack.
            let state: &[u8; _] = bytemuck::cast_ref(key.state());
            self.map.insert(bytemuck::cast::<_, [u8; _]>(HmacKey { row, key_id }), state, 0)?;
            ids.insert(key_id);
        }
        let is_used = |key_id| keys.iter().any(|key| u32::from(key.id()) == key_id);
        let unused: Vec<_> = ids.iter().copied().filter(|id| !is_used(*id)).collect();
        for key_id in unused {
            ignore_missing(self.map.remove(&bytemuck::cast::<_, [u8; _]>(HmacKey { row, key_id })))?;
            ids.remove(&key_id);
        }
        Ok(())
    }
}

impl Routers {
    pub(super) fn insert(&mut self, key: RouterKey, slot: RouterSlot) -> Result<(), MapError> {
        let slot = bytemuck::cast::<_, [u8; size_of::<RouterSlot>()]>(slot);
        self.entries.insert(bytemuck::cast::<_, [u8; 8]>(key), slot, 0)
    }

    pub(super) fn remove(&mut self, key: RouterKey) -> Result<(), MapError> {
        ignore_missing(self.entries.remove(&bytemuck::cast::<_, [u8; 8]>(key)))
    }

    pub(super) fn insert_peer(&mut self, peer: PeerKey, min_ttl: u8) -> Result<(), MapError> {
        self.peers.insert(bytemuck::cast::<_, [u8; 20]>(peer), min_ttl, 0)
    }

    pub(super) fn remove_peer(&mut self, peer: PeerKey) -> Result<(), MapError> {
        ignore_missing(self.peers.remove(&bytemuck::cast::<_, [u8; 20]>(peer)))
    }

    /// Replaces the keys of a row.
    pub(super) fn set_keys(&mut self, row: Row, keys: &[Key]) -> Result<(), MapError> {
        self.keys.set(row.number(), keys)
    }

    /// Clears the rows of routers whose entries have been removed.
    ///
    /// First waits until all runs of the program that may still use the removed entries have ended,
    /// because they may write to the rows. This takes tens of milliseconds, or 100 ms without
    /// `MEMBARRIER_CMD_GLOBAL`, regardless of the number of rows.
    pub(super) fn clear_rows(&mut self, rows: &[Row]) -> Result<(), MapError> {
        wait_for_running_programs();
        let cpus = nr_cpus().map_err(|(_, error)| MapError::IoError(error))?;
        for row in rows {
            self.steady.clear(*row);
            self.signers.reset(*row);
            self.counters.set(row.number(), PerCpuValues::try_from(vec![[0; ROW_CELLS]; cpus])?, 0)?;
            self.keys.set(row.number(), &[])?;
        }
        let cleared: BTreeSet<[u8; 4]> = rows.iter().map(|row| row.number().to_ne_bytes()).collect();
        // The keys are collected first, because removing a key during the iteration would restart
        // the iteration.
        let keys = self.senders.keys().filter_map(Result::ok);
        let senders = senders_of(&cleared, keys, self.sender_room);
        senders.iter().try_for_each(|key| ignore_missing(self.senders.remove(key)))
    }
}

/// Returns the keys that belong to one of the rows.
///
/// If the program evicts the key that the iteration returned last, the kernel restarts with the
/// first key (`htab_map_get_next_key` in `kernel/bpf/hashtab.c`). A flood of adverts from new
/// senders could therefore make the iteration endless, so it ends after twice the number of keys
/// for which the map has room. If the iteration does not reach the key of a token bucket, this does
/// no harm, because the bucket refills within 0.1 s.
fn senders_of(
    rows: &BTreeSet<[u8; 4]>,
    keys: impl Iterator<Item = [u8; SENDER_KEY]>,
    room: usize,
) -> BTreeSet<[u8; SENDER_KEY]> {
    let is_of_row = |key: &[u8; SENDER_KEY]| key.first_chunk().is_some_and(|row| rows.contains(row));
    keys.take(2 * room).filter(is_of_row).collect()
}

/// Treats the error for removing a missing entry as success.
pub(super) fn ignore_missing(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        // aya reports ENOENT as a failed system call, not as a missing key.
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Waits until all runs of the BPF program that began before the call have ended.
///
/// `MEMBARRIER_CMD_GLOBAL` waits for an RCU grace period (`synchronize_rcu` in
/// `kernel/sched/membarrier.c`), and XDP and TC programs run in RCU read-side critical sections.
/// The kernel does not support the command with full dynticks (`nohz_full`) or without
/// CONFIG_MEMBARRIER. Without the command, the function sleeps for much longer than a run of the
/// program, which takes microseconds.
fn wait_for_running_programs() {
    const NO_FLAGS: libc::c_uint = 0;
    const NO_CPU: libc::c_int = 0;
    // SAFETY: membarrier(2) takes three integers and does not access the process's memory.
    let result =
        unsafe { libc::syscall(libc::SYS_membarrier, libc::MEMBARRIER_CMD_GLOBAL, NO_FLAGS, NO_CPU) };
    if result != 0 {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(row: u32, sender: u8) -> [u8; SENDER_KEY] {
        let mut key = [sender; SENDER_KEY];
        key[..4].copy_from_slice(&row.to_ne_bytes());
        key
    }

    #[test]
    fn iteration_over_senders_ends_despite_evictions() {
        let rows = BTreeSet::from([2_u32.to_ne_bytes()]);
        let keys = [key(1, 1), key(2, 1), key(3, 1), key(2, 2)];
        let expected = BTreeSet::from([keys[1], keys[3]]);
        assert_eq!(senders_of(&rows, keys.into_iter(), 4), expected);
        assert_eq!(senders_of(&rows, keys.into_iter().cycle(), 4), expected);
    }
}

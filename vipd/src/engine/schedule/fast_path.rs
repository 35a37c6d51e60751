//! Deadlines of routers on the fast path.
//!
//! For an unchanged advert of the current master, the BPF program only updates the arrival time in
//! a memory-mapped array. These deadlines are therefore not in the heap. When the earliest may have
//! passed, all of them are computed from the arrival times in one pass. On a quiet segment, this
//! happens once every two to three advert intervals, for all virtual routers together.

use vipd_common::Timestamp;

use crate::engine::id::{Id as _, RouterId};
use crate::xdp::Row;

/// The master-down deadlines of the backups on the fast path, by slot.
#[derive(Debug)]
pub(crate) struct FastPathDeadlines {
    armed: Vec<Option<Deadline>>,
    /// Lower bound of all deadlines, in nanoseconds.
    next: u64,
}

/// The deadline of a router. Times are in nanoseconds. Kept small, because each pass reads all of them,
/// usually from memory.
#[derive(Clone, Copy, Debug)]
struct Deadline {
    /// Generation of the router; its index is the slot.
    generation: u32,
    row: Row,
    /// Time from the last unchanged advert to the deadline: the Active_Down_Interval.
    down_interval: u64,
    /// Earliest possible deadline. It may be later than the one computed from the last advert, for
    /// example after records were lost.
    not_before: u64,
}

const _: () = assert!(size_of::<Option<Deadline>>() == 24);

const NEVER: u64 = u64::MAX;

impl Default for FastPathDeadlines {
    fn default() -> Self {
        Self { armed: Vec::new(), next: NEVER }
    }
}

impl FastPathDeadlines {
    /// Reserves a slot for a router.
    pub(crate) fn reserve(&mut self, id: RouterId) {
        self.armed.resize(self.armed.len().max(id.index() + 1), None);
    }

    /// Arms the deadline of a router: `down_interval` nanoseconds after the last arrival in `row`,
    /// but not before `not_before`.
    pub(crate) fn arm(&mut self, id: RouterId, row: Row, down_interval: u64, not_before: Timestamp) {
        if let Some(slot) = self.armed.get_mut(id.index()) {
            let (generation, not_before) = (id.generation(), not_before.as_nanos());
            *slot = Some(Deadline { generation, row, down_interval, not_before });
            self.next = self.next.min(not_before);
        }
    }

    /// Changes the deadline of a router if it is armed.
    pub(crate) fn rearm(&mut self, id: RouterId, down_interval: u64, not_before: Timestamp) {
        if let Some(Deadline { row, .. }) = self.get(id) {
            self.arm(id, row, down_interval, not_before);
        }
    }

    /// Takes a router off the fast path.
    pub(crate) fn disarm(&mut self, id: RouterId) {
        if self.get(id).is_some()
            && let Some(slot) = self.armed.get_mut(id.index())
        {
            *slot = None;
        }
    }

    /// Returns whether a router is on the fast path.
    pub(crate) fn is_armed(&self, id: RouterId) -> bool {
        self.get(id).is_some()
    }

    fn get(&self, id: RouterId) -> Option<Deadline> {
        let deadline = self.armed.get(id.index()).copied().flatten();
        deadline.filter(|deadline| deadline.generation == id.generation())
    }

    /// Returns when to call [`expire`](Self::expire) again.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        (self.next != NEVER).then(|| Timestamp::from_nanos(self.next))
    }

    /// Calls `expired` for each router whose deadline has passed at `now`. `arrival` returns the
    /// last arrival in a row.
    pub(crate) fn expire(
        &mut self,
        now: Timestamp,
        arrival: impl Fn(Row) -> Timestamp,
        mut expired: impl FnMut(RouterId),
    ) {
        if self.next > now.as_nanos() {
            return;
        }
        self.next = NEVER;
        for (index, deadline) in (0..).zip(&self.armed) {
            let Some(Deadline { generation, row, down_interval, not_before }) = *deadline else { continue };
            let at = arrival(row).as_nanos().saturating_add(down_interval).max(not_before);
            if at <= now.as_nanos() {
                expired(RouterId::new(index, generation));
            }
            self.next = self.next.min(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(nanos: u64) -> Timestamp {
        Timestamp::from_nanos(nanos)
    }

    fn id(index: u32) -> RouterId {
        RouterId::new(index, 0)
    }

    fn row(number: u32) -> Row {
        Row::new(number).expect("rows start at 1")
    }

    fn deadlines() -> FastPathDeadlines {
        let mut deadlines = FastPathDeadlines::default();
        (0..3).for_each(|index| deadlines.reserve(id(index)));
        deadlines
    }

    const NONE: [RouterId; 0] = [];

    fn expire(deadlines: &mut FastPathDeadlines, now: u64, arrivals: [u64; 3]) -> Vec<RouterId> {
        let mut expired = Vec::new();
        deadlines.expire(at(now), |row| at(arrivals[row.number() as usize - 1]), |id| expired.push(id));
        expired
    }

    #[test]
    fn arrivals_move_the_deadline() {
        let mut deadlines = deadlines();
        assert_eq!(deadlines.next(), None);
        deadlines.arm(id(0), row(1), 30, at(130));
        deadlines.arm(id(2), row(3), 36, at(140));
        assert_eq!(deadlines.next(), Some(at(130)));
        assert_eq!(expire(&mut deadlines, 129, [0; 3]), NONE, "none can have passed");
        assert_eq!(expire(&mut deadlines, 130, [120, 0, 121]), NONE);
        assert_eq!(deadlines.next(), Some(at(150)));
        assert_eq!(expire(&mut deadlines, 150, [149, 0, 121]), NONE);
        assert_eq!(deadlines.next(), Some(at(157)));
        assert_eq!(expire(&mut deadlines, 157, [149, 0, 121]), [id(2)]);
    }

    #[test]
    fn deadline_does_not_pass_before_its_lower_bound() {
        let mut deadlines = deadlines();
        deadlines.arm(id(1), row(2), 30, at(130));
        deadlines.rearm(id(1), 30, at(170));
        assert_eq!(expire(&mut deadlines, 131, [0, 100, 0]), NONE);
        assert_eq!(deadlines.next(), Some(at(170)));
        assert_eq!(expire(&mut deadlines, 170, [0, 100, 0]), [id(1)]);
    }

    #[test]
    fn disarmed_deadline_never_expires() {
        let mut deadlines = deadlines();
        deadlines.arm(id(0), row(1), 30, at(130));
        assert!(deadlines.is_armed(id(0)) && !deadlines.is_armed(id(1)));
        deadlines.disarm(RouterId::new(0, 1));
        assert!(deadlines.is_armed(id(0)), "a different router in the same slot");
        deadlines.disarm(id(0));
        assert_eq!(expire(&mut deadlines, 1_000, [0; 3]), NONE);
        assert_eq!(deadlines.next(), None);
    }
}

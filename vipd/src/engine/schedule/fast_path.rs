//! Deadlines of routers on the fast path.
//!
//! For an unchanged advert of the current master, the BPF program only updates the arrival time in
//! a memory-mapped array. The deadlines of such routers are therefore not in the heap. When the
//! earliest deadline may have passed, all deadlines are computed from the arrival times in one
//! pass. With the default `down_after_adverts = 3`, this happens once every two to three advert
//! intervals in the steady state, for all virtual routers together.

use vipd_common::Timestamp;

use crate::engine::id::{Id as _, RouterId};
use crate::xdp::Row;

/// The master-down deadlines of the backups on the fast path, by slot.
///
/// A pass reads every slot, usually from memory rather than from a cache, so the slots are small.
/// Fields that a pass rarely needs are in [`Armed`].
#[derive(Debug)]
pub(crate) struct FastPathDeadlines {
    slots: Vec<Slot>,
    armed: Vec<Armed>,
    /// Lower bound of all deadlines, in nanoseconds.
    next: u64,
}

/// The fields of a router that every pass reads.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The router's row, or `None` if the router is not on the fast path.
    row: Option<Row>,
    /// Time from the last unchanged advert to the deadline, in microseconds, rounded up;
    /// [`SEE_ARMED`] while the deadline must be computed from [`Armed`].
    down_micros: u32,
}

const _: () = assert!(size_of::<Slot>() == 8);

/// The deadline of a router as it was armed. Times are in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
struct Armed {
    /// Generation of the router; its index is the slot.
    generation: u32,
    /// Time from the last unchanged advert to the deadline: the Active_Down_Interval.
    down_interval: u64,
    /// Earliest possible deadline. May be later than the deadline computed from the last advert,
    /// for example after records were lost.
    not_before: u64,
}

const NEVER: u64 = u64::MAX;
const SEE_ARMED: u32 = u32::MAX;

impl Default for FastPathDeadlines {
    fn default() -> Self {
        Self { slots: Vec::new(), armed: Vec::new(), next: NEVER }
    }
}

impl FastPathDeadlines {
    /// Reserves a slot for a router.
    pub(crate) fn reserve(&mut self, id: RouterId) {
        let slots = self.slots.len().max(id.index() + 1);
        self.slots.resize(slots, Slot::default());
        self.armed.resize(slots, Armed::default());
    }

    /// Arms the deadline of a router: `down_interval` nanoseconds after the last unchanged advert
    /// of `row` arrived, but not before `not_before`.
    pub(crate) fn arm(&mut self, id: RouterId, row: Row, down_interval: u64, not_before: Timestamp) {
        let Some((slot, armed)) = self.slots.get_mut(id.index()).zip(self.armed.get_mut(id.index())) else {
            return;
        };
        let not_before = not_before.as_nanos();
        *slot = Slot { row: Some(row), down_micros: SEE_ARMED };
        *armed = Armed { generation: id.generation(), down_interval, not_before };
        self.next = self.next.min(not_before);
    }

    /// Changes the deadline of a router if it is armed.
    pub(crate) fn rearm(&mut self, id: RouterId, down_interval: u64, not_before: Timestamp) {
        if let Some(row) = self.row(id) {
            self.arm(id, row, down_interval, not_before);
        }
    }

    /// Takes a router off the fast path.
    pub(crate) fn disarm(&mut self, id: RouterId) {
        if self.is_armed(id)
            && let Some(slot) = self.slots.get_mut(id.index())
        {
            *slot = Slot::default();
        }
    }

    /// Returns whether a router is on the fast path.
    pub(crate) fn is_armed(&self, id: RouterId) -> bool {
        self.row(id).is_some()
    }

    fn row(&self, id: RouterId) -> Option<Row> {
        let armed = self.armed.get(id.index())?;
        self.slots.get(id.index())?.row.filter(|_| armed.generation == id.generation())
    }

    /// Returns the time at which to call [`expire`](Self::expire) again; `None` if the last pass
    /// found no armed deadline and none has been armed since.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        (self.next != NEVER).then(|| Timestamp::from_nanos(self.next))
    }

    /// Calls `expired` for each router whose deadline has passed by `now`. `arrival` returns the
    /// arrival time of a row's last unchanged advert.
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
        for (index, slot) in (0..).zip(&mut self.slots) {
            let Some(row) = slot.row else { continue };
            let arrival = arrival(row).as_nanos();
            let armed = || self.armed.get(index as usize).copied().unwrap_or_default();
            let at = if slot.down_micros == SEE_ARMED {
                let Armed { down_interval, not_before, .. } = armed();
                let at = arrival.saturating_add(down_interval);
                // Later adverts can only move the deadline further beyond the lower bound.
                if at >= not_before {
                    slot.down_micros = u32::try_from(down_interval.div_ceil(1_000)).unwrap_or(SEE_ARMED);
                }
                at.max(not_before)
            } else {
                arrival.saturating_add(u64::from(slot.down_micros) * 1_000)
            };
            if at <= now.as_nanos() {
                expired(RouterId::new(index, armed().generation));
            }
            self.next = self.next.min(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nanoseconds in a microsecond.
    const MICRO: u64 = 1_000;

    fn at(micros: u64) -> Timestamp {
        Timestamp::from_nanos(micros * MICRO)
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
        deadlines.arm(id(0), row(1), 30 * MICRO, at(130));
        deadlines.arm(id(2), row(3), 36 * MICRO, at(140));
        assert_eq!(deadlines.next(), Some(at(130)));
        assert_eq!(expire(&mut deadlines, 129, [0; 3]), NONE, "no deadline can have passed");
        assert_eq!(expire(&mut deadlines, 130, [120, 0, 121]), NONE);
        assert_eq!(deadlines.next(), Some(at(150)));
        assert_eq!(expire(&mut deadlines, 150, [149, 0, 121]), NONE);
        assert_eq!(deadlines.next(), Some(at(157)));
        assert_eq!(expire(&mut deadlines, 157, [149, 0, 121]), [id(2)]);
    }

    #[test]
    fn deadline_does_not_pass_before_its_lower_bound() {
        let mut deadlines = deadlines();
        deadlines.arm(id(1), row(2), 30 * MICRO, at(130));
        deadlines.rearm(id(1), 30 * MICRO, at(170));
        assert_eq!(expire(&mut deadlines, 131, [0, 100, 0]), NONE);
        assert_eq!(deadlines.next(), Some(at(170)));
        assert_eq!(expire(&mut deadlines, 170, [0, 100, 0]), [id(1)]);
    }

    #[test]
    fn interval_is_rounded_up_to_a_microsecond_and_may_exceed_an_hour() {
        const TWO_HOURS: u64 = 7_200_000_000;
        let mut deadlines = deadlines();
        deadlines.arm(id(0), row(1), 30 * MICRO - 1, at(30));
        deadlines.arm(id(1), row(2), TWO_HOURS * MICRO, at(0));
        assert_eq!(expire(&mut deadlines, 30, [1, 1, 0]), NONE, "the first pass after arming");
        assert_eq!(expire(&mut deadlines, 31, [2, 2, 0]), NONE);
        assert_eq!(deadlines.next(), Some(at(32)));
        assert_eq!(expire(&mut deadlines, 32, [2, 2, 0]), [id(0)], "never before the interval is over");
        deadlines.disarm(id(0));
        assert_eq!(expire(&mut deadlines, TWO_HOURS, [0, 3, 0]), NONE);
        assert_eq!(deadlines.next(), Some(at(TWO_HOURS + 3)));
        assert_eq!(expire(&mut deadlines, TWO_HOURS + 3, [0, 3, 0]), [id(1)]);
    }

    #[test]
    fn disarmed_deadline_never_expires() {
        let mut deadlines = deadlines();
        deadlines.arm(id(0), row(1), 30 * MICRO, at(130));
        assert!(deadlines.is_armed(id(0)) && !deadlines.is_armed(id(1)));
        deadlines.disarm(RouterId::new(0, 1));
        assert!(deadlines.is_armed(id(0)), "a different router in the same slot");
        deadlines.disarm(id(0));
        assert_eq!(expire(&mut deadlines, 1_000, [0; 3]), NONE);
        assert_eq!(deadlines.next(), None);
    }
}

//! Which master must be heard from next.
//!
//! What a followed master says all the time leaves nothing but its time in a map of the kernel side. So the deadlines of those
//! who wait for it are not in the heap: they are reckoned from that map when the earliest of them may have come, in one pass over
//! all. In a segment where nothing happens that is once in about two advert intervals for all virtual routers together.

use vipd_common::Timestamp;

/// The backups that wait for a steady advert.
#[derive(Debug)]
pub(crate) struct Vigil {
    waits: Vec<Wait>,
    /// None of them is due before this.
    next: u64,
}

/// One of them; nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Wait {
    /// How long after the last steady advert it is due. The maximum for who waits for none.
    patience: u64,
    /// Its own deadline, if that is later: after a loss in the ring, say.
    not_before: u64,
}

const NEVER: u64 = u64::MAX;
const NOBODY: Wait = Wait { patience: NEVER, not_before: 0 };

impl Vigil {
    /// Of this many instances, none of which waits.
    pub(crate) fn new(instances: usize) -> Self {
        Self { waits: vec![NOBODY; instances], next: NEVER }
    }

    /// From now on, or still, the instance is due when the steady advert has not come for `patience` nanoseconds, and not
    /// before `deadline`.
    pub(crate) fn keep(&mut self, instance: usize, patience: u64, deadline: Timestamp) {
        if let Some(wait) = self.waits.get_mut(instance) {
            *wait = Wait { patience, not_before: deadline.as_nanos() };
            self.next = self.next.min(wait.not_before);
        }
    }

    /// The instance waits no more.
    pub(crate) fn end(&mut self, instance: usize) {
        if let Some(wait) = self.waits.get_mut(instance) {
            *wait = NOBODY;
        }
    }

    /// Whether the instance waits.
    pub(crate) fn is_kept(&self, instance: usize) -> bool {
        self.waits.get(instance).is_some_and(|wait| wait.patience != NEVER)
    }

    /// When to [`look`](Self::look) again.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        (self.next != NEVER).then(|| Timestamp::from_nanos(self.next))
    }

    /// Calls `due` for those that are due at `now`, if any may be; `heard` is when each one's steady advert came last. Then
    /// [`next`](Self::next) is true.
    pub(crate) fn look(
        &mut self,
        now: Timestamp,
        heard: impl Fn(usize) -> Timestamp,
        mut due: impl FnMut(usize),
    ) {
        if self.next > now.as_nanos() {
            return;
        }
        self.next = NEVER;
        for (instance, wait) in self.waits.iter().enumerate() {
            if wait.patience == NEVER {
                continue;
            }
            let at = heard(instance).as_nanos().saturating_add(wait.patience).max(wait.not_before);
            if at <= now.as_nanos() {
                due(instance);
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

    const NOBODY_IS_DUE: [usize; 0] = [];

    fn look(vigil: &mut Vigil, now: u64, heard: [u64; 3]) -> Vec<usize> {
        let mut due = Vec::new();
        vigil.look(at(now), |instance| at(heard[instance]), |instance| due.push(instance));
        due
    }

    #[test]
    fn what_was_heard_meanwhile_moves_the_deadline() {
        let mut vigil = Vigil::new(3);
        assert_eq!(vigil.next(), None);
        vigil.keep(0, 30, at(130));
        vigil.keep(2, 36, at(140));
        assert_eq!(vigil.next(), Some(at(130)));
        assert_eq!(look(&mut vigil, 129, [0; 3]), NOBODY_IS_DUE, "nobody is asked before");
        assert_eq!(look(&mut vigil, 130, [120, 0, 121]), NOBODY_IS_DUE);
        assert_eq!(vigil.next(), Some(at(150)));
        assert_eq!(look(&mut vigil, 150, [149, 0, 121]), NOBODY_IS_DUE);
        assert_eq!(vigil.next(), Some(at(157)));
        assert_eq!(look(&mut vigil, 157, [149, 0, 121]), [2], "it has been silent");
    }

    #[test]
    fn a_deadline_that_was_put_off_stands() {
        let mut vigil = Vigil::new(3);
        vigil.keep(1, 30, at(130));
        vigil.keep(1, 30, at(170));
        assert_eq!(look(&mut vigil, 131, [0, 100, 0]), NOBODY_IS_DUE);
        assert_eq!(vigil.next(), Some(at(170)));
        assert_eq!(look(&mut vigil, 170, [0, 100, 0]), [1]);
    }

    #[test]
    fn who_waits_no_more_is_never_due() {
        let mut vigil = Vigil::new(3);
        vigil.keep(0, 30, at(130));
        assert!(vigil.is_kept(0) && !vigil.is_kept(1));
        vigil.end(0);
        assert!(!vigil.is_kept(0));
        assert_eq!(look(&mut vigil, 1_000, [0; 3]), NOBODY_IS_DUE);
        assert_eq!(vigil.next(), None);
    }
}

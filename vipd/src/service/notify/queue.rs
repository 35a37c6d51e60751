//! Schedules notification commands. Does no I/O.
//!
//! The commands of one subject (an instance or a group) run one at a time, in the order of its
//! changes: for each notification, first the command for the new state, then the command that runs
//! for every change. If the subject changes several times while its commands run, only the latest
//! of these changes causes a notification. Subjects are served in turn, so a subject that changes
//! constantly does not delay the others.

use std::collections::{BTreeMap, VecDeque};

use super::notice::{Kind, Notice};

/// The queue's view of a subject's commands.
pub(super) trait Commands {
    /// Returns whether any command is configured for this state.
    fn has(&self, kind: Kind) -> bool;
}

/// A notification to deliver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Job<K, C> {
    pub(super) subject: K,
    /// The latest change.
    pub(super) notice: Notice,
    /// The value of [`Subject::notified`] before this notification.
    pub(super) previous: Option<Kind>,
    pub(super) commands: C,
}

/// The latest undelivered change of each subject.
#[derive(Debug)]
pub(super) struct Queue<K, C> {
    subjects: BTreeMap<K, Subject<C>>,
    /// Subjects that have a pending change and no running commands, in the order in which they are
    /// served.
    ready: VecDeque<K>,
    running: usize,
    limit: usize,
}

#[derive(Debug)]
struct Subject<C> {
    commands: C,
    pending: Option<Notice>,
    /// Whether the commands for the state in `notified` are running.
    is_running: bool,
    /// State in the last notification that was started or was skipped for lack of a command.
    /// Initially, the state in which the subject was added.
    notified: Option<Kind>,
    /// Number of changes not delivered because a later change replaced them.
    coalesced: u64,
    /// Whether to remove the subject after its last notification.
    is_leaving: bool,
}

impl<K: Ord + Clone, C: Commands + Clone> Queue<K, C> {
    /// Creates a queue that lets the commands of at most `limit` subjects run at the same time.
    pub(super) fn new(limit: usize) -> Self {
        Self { subjects: BTreeMap::new(), ready: VecDeque::new(), running: 0, limit: limit.max(1) }
    }

    /// Adds a subject in the state `present`, or replaces the commands of a known subject. A
    /// pending change will use the new commands.
    pub(super) fn configure(&mut self, subject: K, commands: C, present: Option<Kind>) {
        if let Some(known) = self.subjects.get_mut(&subject) {
            known.commands = commands;
            known.is_leaving = false;
            return;
        }
        let new = Subject {
            commands,
            pending: None,
            is_running: false,
            notified: present,
            coalesced: 0,
            is_leaving: false,
        };
        self.subjects.insert(subject, new);
    }

    /// Removes a subject once the notification of its latest change has been delivered.
    pub(super) fn remove(&mut self, subject: &K) {
        if let Some(known) = self.subjects.get_mut(subject) {
            known.is_leaving = true;
            self.forget(subject);
        }
    }

    /// Adds a change. `changes` is the number of changes since the last call for this subject,
    /// including this one. The change is ignored if the subject is unknown.
    pub(super) fn push(&mut self, subject: &K, notice: Notice, changes: u64) {
        let Some(known) = self.subjects.get_mut(subject) else { return };
        let missed = changes.saturating_sub(1);
        // Skips a change within a state, such as another fault while in Fault. If changes were
        // missed, the subject may have been in another state in between.
        if missed == 0 && known.latest() == Some(notice.kind) {
            return;
        }
        known.coalesced += missed + u64::from(known.pending.is_some());
        let was_pending = known.pending.replace(notice).is_some();
        if !was_pending && !known.is_running {
            self.ready.push_back(subject.clone());
        }
    }

    /// Returns the next notification whose commands may run now. The caller must call
    /// [`finish`](Self::finish) when these commands have ended.
    pub(super) fn start(&mut self) -> Option<Job<K, C>> {
        while self.running < self.limit {
            let subject = self.ready.pop_front()?;
            let Some(known) = self.subjects.get_mut(&subject) else { continue };
            let Some(notice) = known.pending.take() else { continue };
            let previous = known.notified.replace(notice.kind);
            if !known.commands.has(notice.kind) {
                self.forget(&subject);
                continue;
            }
            known.is_running = true;
            self.running += 1;
            let commands = known.commands.clone();
            return Some(Job { subject, notice, previous, commands });
        }
        None
    }

    /// Ends the current job of a subject. Must be called once for each job when its commands have
    /// ended.
    pub(super) fn finish(&mut self, subject: &K) {
        let Some(known) = self.subjects.get_mut(subject).filter(|known| known.is_running) else { return };
        known.is_running = false;
        self.running -= 1;
        if known.pending.is_some() {
            self.ready.push_back(subject.clone());
        } else {
            self.forget(subject);
        }
    }

    /// Returns whether no commands are running and none are waiting to be started.
    pub(super) fn is_idle(&self) -> bool {
        self.running == 0 && self.ready.is_empty()
    }

    /// Returns the number of subjects with a notification that has not been started.
    pub(super) fn waiting(&self) -> usize {
        self.subjects.values().filter(|known| known.pending.is_some()).count()
    }

    /// Returns the number of a subject's changes that caused no notification because a later change
    /// replaced them.
    pub(super) fn coalesced(&self, subject: &K) -> u64 {
        self.subjects.get(subject).map_or(0, |known| known.coalesced)
    }

    /// Forgets a subject that has been removed and has no notification left to deliver.
    fn forget(&mut self, subject: &K) {
        let is_over = |known: &Subject<C>| known.is_leaving && !known.is_running && known.pending.is_none();
        if self.subjects.get(subject).is_some_and(is_over) {
            self.subjects.remove(subject);
        }
    }
}

impl<C> Subject<C> {
    /// Returns the state of the latest change.
    fn latest(&self) -> Option<Kind> {
        self.pending.as_ref().map(|notice| notice.kind).or(self.notified)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Commands that are configured for all states.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct All;

    impl Commands for All {
        fn has(&self, _kind: Kind) -> bool {
            true
        }
    }

    #[derive(Clone, Debug)]
    struct Only(Kind);

    impl Commands for Only {
        fn has(&self, kind: Kind) -> bool {
            kind == self.0
        }
    }

    fn notice(kind: Kind) -> Notice {
        Notice { kind, reason: "startup".to_owned(), priority: 100 }
    }

    fn queue(subjects: u32, limit: usize) -> Queue<u32, All> {
        let mut queue = Queue::new(limit);
        (0..subjects).for_each(|subject| queue.configure(subject, All, None));
        queue
    }

    #[test]
    fn mass_failover_notifies_each_subject_once_within_the_limit() {
        let mut queue = queue(4080, 16);
        for subject in 0..4080 {
            queue.push(&subject, notice(Kind::Master), 1);
        }
        let mut order = Vec::new();
        while !queue.is_idle() {
            let jobs: Vec<_> = std::iter::from_fn(|| queue.start()).collect();
            assert!(!jobs.is_empty() && jobs.len() <= 16);
            for job in jobs {
                order.push(job.subject);
                queue.finish(&job.subject);
            }
        }
        assert_eq!(order, (0..4080).collect::<Vec<_>>());
    }

    #[test]
    fn changes_during_a_command_are_coalesced_and_counted() {
        let mut queue = queue(1, 4);
        queue.push(&0, notice(Kind::Backup), 1);
        let first = queue.start().expect("a job");
        assert_eq!((first.notice.kind, first.previous), (Kind::Backup, None));
        for kind in [Kind::Master, Kind::Backup, Kind::Master] {
            queue.push(&0, notice(kind), 1);
            assert_eq!(queue.start(), None, "one command of a subject at a time");
        }
        queue.finish(&0);
        let second = queue.start().expect("a job");
        assert_eq!((second.notice.kind, second.previous), (Kind::Master, Some(Kind::Backup)));
        queue.finish(&0);
        assert_eq!(queue.start(), None);
        assert_eq!(queue.coalesced(&0), 2);
        assert!(queue.is_idle());
    }

    #[test]
    fn repeated_state_is_notified_only_after_another_state() {
        let mut queue = queue(1, 1);
        queue.push(&0, notice(Kind::Fault), 1);
        assert!(queue.start().is_some());
        queue.finish(&0);
        queue.push(&0, notice(Kind::Fault), 1);
        assert_eq!(queue.start(), None, "another fault while in Fault");
        queue.push(&0, notice(Kind::Fault), 3);
        assert!(queue.start().is_some(), "Fault was left and entered again");
        assert_eq!(queue.coalesced(&0), 2);
    }

    #[test]
    fn busy_subject_does_not_delay_the_others() {
        let mut queue = queue(3, 1);
        for subject in 0..3 {
            queue.push(&subject, notice(Kind::Master), 1);
        }
        let mut order = Vec::new();
        for turn in 0..4 {
            let job = queue.start().expect("a job");
            order.push(job.subject);
            let kind = if turn % 2 == 0 { Kind::Backup } else { Kind::Master };
            queue.push(&0, notice(kind), 1);
            queue.finish(&job.subject);
        }
        assert_eq!(order, [0, 1, 2, 0]);
    }

    #[test]
    fn states_without_a_command_do_not_count_toward_the_limit() {
        let mut queue = Queue::new(1);
        queue.configure(0, Only(Kind::Stop), None);
        queue.configure(1, Only(Kind::Master), None);
        for subject in [0, 1] {
            queue.push(&subject, notice(Kind::Master), 1);
        }
        assert_eq!(queue.start().map(|job| job.subject), Some(1));
        queue.push(&0, notice(Kind::Stop), 1);
        queue.finish(&1);
        let stop = queue.start().expect("a job");
        assert_eq!((stop.subject, stop.previous), (0, Some(Kind::Master)));
    }

    #[test]
    fn removed_subject_is_forgotten_after_its_last_notification() {
        let mut queue = queue(2, 1);
        queue.remove(&1);
        assert_eq!(queue.subjects.len(), 1);
        queue.push(&0, notice(Kind::Master), 1);
        assert!(queue.start().is_some());
        queue.push(&0, notice(Kind::Stop), 1);
        queue.remove(&0);
        queue.finish(&0);
        assert_eq!(queue.start().map(|job| job.notice.kind), Some(Kind::Stop));
        queue.finish(&0);
        assert!(queue.subjects.is_empty() && queue.is_idle());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Change { subject: u32, kind: Kind, missed: u64 },
        Start,
        Finish { nth: usize },
    }

    fn step() -> impl Strategy<Value = Step> {
        let kind = prop_oneof![Just(Kind::Master), Just(Kind::Backup), Just(Kind::Fault), Just(Kind::Stop)];
        prop_oneof![
            (0..5_u32, kind, 0..3_u64).prop_map(|(subject, kind, missed)| Step::Change {
                subject,
                kind,
                missed
            }),
            Just(Step::Start),
            (0..5_usize).prop_map(|nth| Step::Finish { nth }),
        ]
    }

    proptest! {
        /// In any sequence of changes, the commands of a subject run one at a time and in order,
        /// the number of running jobs stays within the limit, and in the end the last notification
        /// of each subject is for its latest state.
        #[test]
        fn last_notification_of_each_subject_is_for_its_latest_state(
            steps in proptest::collection::vec(step(), 0..200),
            limit in 1..4_usize,
        ) {
            let mut queue = queue(5, limit);
            let mut running: Vec<Job<u32, All>> = Vec::new();
            // The reason of each change contains its `number`. For each subject, `latest` is the
            // latest change, and `notified` the latest notification.
            let mut number = 0_u64;
            let mut latest: BTreeMap<u32, Kind> = BTreeMap::new();
            let mut notified: BTreeMap<u32, (Kind, u64)> = BTreeMap::new();
            let mut changes = 0;
            let mut delivered = 0;
            let drain = (0..40).flat_map(|_| [Step::Start, Step::Start, Step::Finish { nth: 0 }]);
            for step in steps.into_iter().chain(drain) {
                match step {
                    Step::Change { subject, kind, missed } => {
                        if missed > 0 || latest.get(&subject) != Some(&kind) {
                            changes += missed + 1;
                        }
                        number += 1;
                        let notice = Notice { kind, reason: number.to_string(), priority: 1 };
                        queue.push(&subject, notice, missed + 1);
                        latest.insert(subject, kind);
                    }
                    Step::Start => {
                        if let Some(job) = queue.start() {
                            prop_assert!(running.iter().all(|other| other.subject != job.subject));
                            let number: u64 = job.notice.reason.parse().expect("a number");
                            let before = notified.insert(job.subject, (job.notice.kind, number));
                            prop_assert_eq!(job.previous, before.map(|(kind, _)| kind));
                            prop_assert!(before.is_none_or(|(_, before)| before < number));
                            delivered += 1;
                            running.push(job);
                        }
                        prop_assert!(running.len() <= limit);
                    }
                    Step::Finish { nth } if nth < running.len() => {
                        let job = running.swap_remove(nth);
                        queue.finish(&job.subject);
                    }
                    Step::Finish { .. } => {}
                }
            }
            prop_assert!(queue.is_idle());
            prop_assert_eq!(queue.waiting(), 0);
            for (subject, kind) in latest {
                prop_assert_eq!(notified.get(&subject).map(|(kind, _)| *kind), Some(kind));
            }
            let coalesced: u64 = (0..5).map(|subject| queue.coalesced(&subject)).sum();
            prop_assert_eq!(delivered + coalesced, changes);
        }
    }
}

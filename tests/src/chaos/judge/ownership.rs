//! Invariant: once the first advert of a new master has reached the node of the old owner, the old
//! owner neither answers for the address nor announces it.
//!
//! The rule is that of a lease. A node is lawfully master as long as its own adverts are fresh, and
//! no advert from a node with higher priority has reached it. An advert that did not reach the
//! node, because of a partition or loss, does not matter: two masters are then unavoidable.
//!
//! | state of the node when the advert arrives | must be silent |
//! | --- | --- |
//! | lease over: no advert sent for three intervals, or last advert had priority 0 | at once |
//! | lease valid, process running, advert of higher priority | within the reaction time |
//! | lease valid, process running, advert of lower priority | never: the node stays master |
//! | lease valid, process suspended, advert of higher priority | at once: the kernel fences |
//! | lease valid, process suspended, advert of lower priority | at the first advert after the lease |
//! | lease valid, process killed | at the first advert after the lease |
//!
//! The lease of a process that is suspended or killed is over as soon as its next advert is
//! overdue.
//!
//! "At once" allows [`Bounds::kernel`] for fencing. A running process always has the reaction time,
//! because the first adverts of two backups whose timers fire together may cross.
//!
//! A node that must be silent becomes a lawful owner again by sending an advert, unless an advert
//! of higher priority reached it in the last three intervals and after the last priority-0 advert.
//! In that case, the node may answer only until the reaction time has passed since the first advert
//! of the node that outranks it.

use std::time::Duration;

use super::{Activity, Bounds, Change, Event, Invariant, Violation};
use crate::chaos::observation::{Meaning, Observation, Question, SOURCES};
use crate::chaos::segment::Segment;
use crate::chaos::stall::Stalls;
use crate::station::Station;
use crate::time::{WallTime, millis};

/// Number of echo requests of each kind that are remembered per router and node. The remembered
/// requests cover five seconds, because a reply may wait in the node's kernel for neighbor
/// resolution, which lasts up to three seconds.
const ECHOES: usize = 512;
/// Intervals without an advert after which the lease of a running process is over.
const LEASE: u32 = 3;
/// The lease of a suspended or dead process is over once its next advert is late by the interval
/// divided by this number.
const OVERDUE: u32 = 4;
/// Minimum lateness at which such a lease is over, for short intervals.
const MIN_OVERDUE: Duration = Duration::from_millis(6);
/// Tolerance for the difference between an advert's capture time and the time at which a node's
/// kernel sends or accepts the advert.
const LEASE_TOLERANCE: Duration = Duration::from_micros(500);

/// The state of all nodes for all routers.
#[derive(Debug)]
pub(super) struct Ownership {
    /// By router, then by node.
    claims: Vec<Vec<Claim>>,
    intervals: Vec<Duration>,
    activities: Vec<Activity>,
    /// By node: the time until which the node may lose adverts that were sent to it.
    detached_until: Vec<Option<WallTime>>,
    bounds: Bounds,
    /// Number of announcements sent after the deadline, plus the number of answers to questions
    /// that arrived after the deadline.
    pub(super) unlawful: u64,
}

/// A node's claim to a router's address.
#[derive(Debug, Clone)]
struct Claim {
    priority: u8,
    /// Time of the node's last advert; `None` if that advert had priority 0, or if the node has not
    /// sent any.
    last_sent: Option<WallTime>,
    /// By sender: the last advert that reached this node; `None` if that advert had priority 0, or
    /// if none has reached the node.
    received: Vec<Option<Received>>,
    /// Time at which the last priority-0 advert reached this node.
    zero_received: Option<WallTime>,
    superseded: Option<Superseded>,
    /// By question number modulo [`SOURCES`]: the time at which the last ARP request or Neighbor
    /// Solicitation with that number reached the node.
    neighbor_requests: Vec<Option<WallTime>>,
    /// By question number modulo [`ECHOES`]: the last echo request to the learned MAC, and the time
    /// at which it reached the node.
    echo_requests: Vec<Option<(u16, WallTime)>>,
    /// The same for echo requests that were sent at the node's switch port.
    direct_requests: Vec<Option<(u16, WallTime)>>,
}

/// The last advert received from another node.
#[derive(Debug, Clone, Copy)]
struct Received {
    time: WallTime,
    priority: u8,
    /// Time at which the sender's first advert reached the node: the first one after three
    /// intervals without adverts, or after the sender's last priority-0 advert.
    first: WallTime,
}

/// A node that must be silent.
#[derive(Debug, Clone, Copy)]
struct Superseded {
    by: u8,
    since: WallTime,
    deadline: WallTime,
    lease_was_over: bool,
    /// Whether the node sent an advert shortly after the new master's first advert had reached it.
    /// The node's kernel then fences the VIPs only at the new master's next advert.
    crossed: bool,
    reported: bool,
}

impl Ownership {
    pub(super) fn new(segment: &Segment, bounds: Bounds) -> Self {
        let nodes = usize::from(segment.nodes);
        let claim = |priority: &u8| Claim {
            priority: *priority,
            last_sent: None,
            received: vec![None; nodes],
            zero_received: None,
            superseded: None,
            neighbor_requests: vec![None; usize::from(SOURCES)],
            echo_requests: vec![None; ECHOES],
            direct_requests: vec![None; ECHOES],
        };
        let claims = segment.routers.iter().map(|router| router.priorities.iter().map(claim).collect());
        Self {
            claims: claims.collect(),
            intervals: segment.routers.iter().map(|router| router.interval).collect(),
            activities: vec![Activity::Dead; nodes],
            detached_until: vec![None; nodes],
            bounds,
            unlawful: 0,
        }
    }

    /// Handles an event. Events must be in chronological order.
    pub(super) fn observe(&mut self, event: &Event, stalls: &Stalls) -> Option<Violation> {
        let observation = match event {
            Event::Mark(mark) => {
                match mark.change {
                    Change::Process(node, activity) => self.set_activity(node, activity, mark.time),
                    Change::Detached { node, until } => self.detached_until[index(node)] = Some(until),
                    Change::Struck { .. } => {}
                }
                return None;
            }
            Event::Observation(observation) => observation,
        };
        let Station::Node(node) = observation.port else { return None };
        match (observation.meaning, observation.sent) {
            (Meaning::Advert { priority, .. }, true) => self.sent(observation, node, priority),
            (Meaning::Advert { node: from, priority }, false) => {
                self.received(observation, node, from, priority);
            }
            (Meaning::Request(question), false) => self.asked(observation, node, question),
            (Meaning::Answer(question), true) => {
                let asked = self.claims[observation.router][index(node)].asked(question);
                return self.gave_sign(observation, node, asked.unwrap_or(observation.time), stalls);
            }
            (Meaning::Announcement, true) => {
                return self.gave_sign(observation, node, observation.time, stalls);
            }
            _ => {}
        }
        None
    }

    /// Returns the node that is master of a router according to the adverts, if there is one.
    pub(super) fn owner(&self, router: usize, now: WallTime) -> Option<u8> {
        let interval = self.intervals[router];
        let candidates = self.claims[router].iter().enumerate();
        candidates
            .filter(|(_, claim)| claim.superseded.is_none() && !claim.lease_is_over(now, interval, true))
            .max_by_key(|(_, claim)| claim.priority)
            .and_then(|(index, _)| u8::try_from(index + 1).ok())
    }

    fn set_activity(&mut self, node: u8, activity: Activity, now: WallTime) {
        self.activities[index(node)] = activity;
        if activity == Activity::Running {
            return;
        }
        // The process no longer runs, so it cannot yield by its deadline. The lease decides
        // instead, unless the kernel fences the address. If adverts have crossed, the kernel might
        // not fence the address yet; if the process has died, the fence might have ended.
        for claims in &mut self.claims {
            let claim = &mut claims[index(node)];
            let is_unfenced = |it: Superseded| it.crossed || activity == Activity::Dead;
            let in_time = |it: Superseded| it.deadline > now && !it.lease_was_over;
            if claim.superseded.is_some_and(|it| in_time(it) && is_unfenced(it)) {
                claim.superseded = None;
            }
        }
    }

    fn sent(&mut self, observation: &Observation, node: u8, priority: u8) {
        let interval = self.intervals[observation.router];
        let claim = &mut self.claims[observation.router][index(node)];
        if priority == 0 {
            claim.last_sent = None;
            return;
        }
        claim.priority = priority;
        claim.last_sent = Some(observation.time);
        let outranking = claim.received.iter().zip(1..).filter_map(|(received, from)| {
            let Received { time, priority: other, first } = (*received)?;
            // A priority-0 advert sets the timer to Skew_Time, regardless of earlier adverts.
            let is_fresh = observation.time < time + interval * LEASE
                && claim.zero_received.is_none_or(|zero| zero < time);
            (is_fresh && other > priority).then_some((first, from))
        });
        let reaction = self.bounds.reaction;
        match outranking.min() {
            None => claim.superseded = None,
            Some((first, by)) if claim.superseded.is_some() && observation.time <= first + reaction => {
                let deadline = first + reaction;
                claim.superseded = Some(Superseded {
                    by,
                    since: first,
                    deadline,
                    lease_was_over: false,
                    crossed: true,
                    reported: false,
                });
            }
            Some(_) => {}
        }
    }

    fn received(&mut self, observation: &Observation, node: u8, from: u8, priority: u8) {
        let (interval, now) = (self.intervals[observation.router], observation.time);
        let activity = self.activities[index(node)];
        let is_running = activity == Activity::Running;
        let claim = &mut self.claims[observation.router][index(node)];
        if from == node || self.detached_until[index(node)].is_some_and(|until| now < until) {
            return;
        }
        if priority == 0 {
            claim.received[index(from)] = None;
            claim.zero_received = Some(now);
            return;
        }
        let known = claim.received[index(from)].filter(|known| now < known.time + interval * LEASE);
        let first = known.map_or(now, |known| known.first);
        claim.received[index(from)] = Some(Received { time: now, priority, first });
        let lease_was_over = claim.lease_is_over(now, interval, is_running);
        let must_yield = lease_was_over || (activity != Activity::Dead && priority > claim.priority);
        if must_yield && claim.superseded.is_none() {
            let grace = if is_running { self.bounds.reaction } else { self.bounds.kernel };
            let deadline = now + grace;
            claim.superseded = Some(Superseded {
                by: from,
                since: now,
                deadline,
                lease_was_over,
                crossed: false,
                reported: false,
            });
        }
    }

    fn asked(&mut self, observation: &Observation, node: u8, question: Question) {
        let claim = &mut self.claims[observation.router][index(node)];
        match question {
            Question::Neighbor(number) => {
                claim.neighbor_requests[usize::from(number % SOURCES)] = Some(observation.time);
            }
            Question::Echo(number) => {
                claim.echo_requests[usize::from(number) % ECHOES] = Some((number, observation.time));
            }
            Question::Direct(number) => {
                claim.direct_requests[usize::from(number) % ECHOES] = Some((number, observation.time));
            }
        }
    }

    /// Checks an answer or announcement that the node has sent. `asked` is the time at which the
    /// question reached the node, because the answer to a question from before the deadline may
    /// leave the node later. For an announcement, or an answer whose question is not remembered,
    /// `asked` is the time at which the node sent it.
    fn gave_sign(
        &mut self,
        observation: &Observation,
        node: u8,
        asked: WallTime,
        stalls: &Stalls,
    ) -> Option<Violation> {
        let superseded = self.claims[observation.router][index(node)].superseded.as_mut()?;
        let Superseded { by, since, deadline, .. } = *superseded;
        if asked <= deadline + stalls.within(since, asked) {
            return None;
        }
        self.unlawful += 1;
        if superseded.reported {
            return None;
        }
        superseded.reported = true;
        let late = millis(observation.time.saturating_since(since));
        let what = match observation.meaning {
            Meaning::Answer(Question::Neighbor(_)) => "answers ARP or ND",
            Meaning::Answer(_) => "answers a ping",
            _ => "announces the address",
        };
        let text = format!(
            "node {node} {what} {late:.3} ms after an advert of node {by}, the new master, reached it"
        );
        Some(Violation {
            invariant: Invariant::Ownership,
            router: observation.router,
            time: observation.time,
            text,
        })
    }
}

impl Claim {
    fn lease_is_over(&self, now: WallTime, interval: Duration, is_running: bool) -> bool {
        let lease =
            if is_running { interval * LEASE } else { interval + (interval / OVERDUE).max(MIN_OVERDUE) };
        self.last_sent.is_none_or(|sent| now > sent + lease + LEASE_TOLERANCE)
    }

    /// Returns the time at which the question reached the node, or `None` if the question is not
    /// remembered.
    fn asked(&self, question: Question) -> Option<WallTime> {
        let (requests, number) = match question {
            Question::Neighbor(number) => return self.neighbor_requests[usize::from(number % SOURCES)],
            Question::Echo(number) => (&self.echo_requests, number),
            Question::Direct(number) => (&self.direct_requests, number),
        };
        let remembered = requests[usize::from(number) % ECHOES];
        remembered.filter(|(other, _)| *other == number).map(|(_, time)| time)
    }
}

/// Returns the index of a node. Node numbers start at 1.
fn index(node: u8) -> usize {
    usize::from(node.saturating_sub(1))
}

#[cfg(test)]
#[path = "ownership_tests.rs"]
mod tests;

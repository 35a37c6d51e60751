//! Invariant: when the master of a router fails, another node advertises within
//! Active_Down_Interval, or within Skew_Time if the master or its guardian sends a priority-0
//! advert. The guardian of a killed master sends that advert within [`Bounds::priority_zero`].

use std::time::Duration;

use super::ownership::Ownership;
use super::{Activity, Bounds, Change, Event, Invariant, Violation};
use crate::chaos::bound::Takeover;
use crate::chaos::observation::Meaning;
use crate::chaos::plan::Round;
use crate::chaos::segment::Segment;
use crate::chaos::stall::Stalls;
use crate::station::Station;
use crate::time::{WallTime, millis};

/// The takeovers of a round.
#[derive(Debug)]
pub(super) struct Takeovers<'a> {
    segment: &'a Segment,
    bounds: Bounds,
    /// `None` if no takeovers are required: at the start of an episode, and with two faults, whose
    /// effects on each other are unknown.
    round: Option<&'a Round>,
    pending: Vec<Pending>,
    done: Vec<(Pending, WallTime)>,
    guarded: Vec<Guarded>,
}

/// An expected takeover that has not happened yet.
#[derive(Debug, Clone, Copy)]
struct Pending {
    router: usize,
    from: u8,
    /// Time of the fault, or of the old master's last advert after the fault, except priority-0
    /// adverts.
    since: WallTime,
    allowed: Duration,
}

/// A killed master whose guardian must send a priority-0 advert.
#[derive(Debug, Clone, Copy)]
struct Guarded {
    router: usize,
    node: u8,
    /// Time of the agent's death.
    since: WallTime,
    sent: Option<WallTime>,
}

impl<'a> Takeovers<'a> {
    pub(super) fn new(segment: &'a Segment, bounds: Bounds, round: Option<&'a Round>) -> Self {
        let round = round.filter(|round| round.faults.len() == 1);
        Self { segment, bounds, round, pending: Vec::new(), done: Vec::new(), guarded: Vec::new() }
    }

    pub(super) fn observe(&mut self, event: &Event, ownership: &Ownership) {
        match event {
            Event::Mark(mark) => match mark.change {
                Change::Struck { fault } => self.strike(fault, mark.time, ownership),
                Change::Process(node, Activity::Dead) => {
                    for guarded in self.guarded.iter_mut().filter(|guarded| guarded.node == node) {
                        guarded.since = mark.time;
                    }
                }
                _ => {}
            },
            Event::Observation(observation) => {
                let (Meaning::Advert { priority, .. }, true, Station::Node(node)) =
                    (observation.meaning, observation.sent, observation.port)
                else {
                    return;
                };
                if priority == 0 {
                    let is_sender = |it: &&mut Guarded| {
                        it.router == observation.router && it.node == node && it.sent.is_none()
                    };
                    if let Some(guarded) = self.guarded.iter_mut().find(is_sender) {
                        guarded.sent = Some(observation.time);
                    }
                    return;
                }
                let Some(at) = self.pending.iter().position(|pending| pending.router == observation.router)
                else {
                    return;
                };
                if node == self.pending[at].from {
                    self.pending[at].since = observation.time;
                } else {
                    self.done.push((self.pending.swap_remove(at), observation.time));
                }
            }
        }
    }

    /// Returns the violations. Called once, at the end of the round.
    pub(super) fn finish(&self, end: WallTime, stalls: &Stalls) -> Vec<Violation> {
        let all = self.done.iter().copied().chain(self.pending.iter().map(|pending| (*pending, end)));
        let is_late = |(pending, time): &(Pending, WallTime)| {
            let allowed = pending.allowed + self.bounds.margin + stalls.within(pending.since, *time);
            time.saturating_since(pending.since) > allowed
        };
        let late = all.filter(is_late).map(|(Pending { router, from, since, allowed }, time)| {
            let (took, allowed) = (millis(time.saturating_since(since)), millis(allowed));
            let text = format!(
                "node {from} failed and no other node advertised for {took:.0} ms; the protocol \
                     allows {allowed:.0} ms"
            );
            Violation { invariant: Invariant::Takeover, router, time, text }
        });
        late.chain(self.late_guardians(end, stalls)).collect()
    }

    fn late_guardians(&self, end: WallTime, stalls: &Stalls) -> impl Iterator<Item = Violation> {
        let bound = self.bounds.priority_zero;
        self.guarded.iter().filter_map(move |Guarded { router, node, since, sent }| {
            let time = sent.unwrap_or(end);
            let took = time.saturating_since(*since);
            if took <= bound + stalls.within(*since, time) {
                return None;
            }
            let found = match sent {
                Some(_) => format!("sent its first priority-0 advert after {:.0} ms", millis(took)),
                None => "sent no priority-0 advert".to_owned(),
            };
            let text = format!(
                "the agent of node {node} was killed and its guardian {found}; expected within {:.0} ms",
                millis(bound)
            );
            Some(Violation { invariant: Invariant::Takeover, router: *router, time, text })
        })
    }

    /// Returns the duration of the longest takeover.
    pub(super) fn longest(&self) -> Option<Duration> {
        self.done.iter().map(|(pending, time)| time.saturating_since(pending.since)).max()
    }

    fn strike(&mut self, fault: usize, now: WallTime, ownership: &Ownership) {
        let Some(fault) = self.round.and_then(|round| round.faults.get(fault)) else { return };
        for (router, configured) in self.segment.routers.iter().enumerate() {
            if ownership.owner(router, now) != Some(fault.node) {
                continue;
            }
            if let Some(takeover) = fault.kind.takeover(fault.length, configured) {
                let attack = self.bounds.attack(self.round, configured);
                let allowed = takeover.deadline(configured, self.bounds.guardian) + attack;
                self.pending.push(Pending { router, from: fault.node, since: now, allowed });
                if self.bounds.guardian && takeover == Takeover::Guardian {
                    self.guarded.push(Guarded { router, node: fault.node, since: now, sent: None });
                }
            }
        }
    }
}

//! The predecessor's part of a succession: suspends the routers, and passes their state.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::AsFd as _;
use std::time::Duration;

use vipd_common::Timestamp;

use super::super::Engine;
use super::super::authentication::Authentication;
use super::super::clock;
use super::super::command::Command;
use super::super::effects::PacedBurst;
use super::super::id::RouterId;
use super::{HandOver, Recipient, SavedBurst, SavedEngine, SavedInstance};
use crate::handover::{self, Channel, Message, Token};
use crate::vrrp::{Addresses, Input, RouterConfig};

/// Maximum time limit for the takeover by a successor, in nanoseconds.
const TAKEOVER_MAX: u64 = 1_000_000_000;

impl Engine {
    /// Hands over if nothing is pending. Refuses the handover once the time limit has passed, or if
    /// the state must not be left to a later process ([`restart_defect`](Self::restart_defect)).
    /// Returns whether another turn must follow at once.
    pub(in crate::engine) fn continue_handover(&mut self) -> bool {
        let Some(handover) = &self.handover else { return false };
        let (recipient, has_expired) = (handover.recipient, clock::now() >= handover.until);
        if !has_expired && !self.is_quiet() {
            return false;
        }
        let refusal = match recipient {
            _ if has_expired => Some("the agent was busy for too long; try again later".to_owned()),
            Recipient::Running => None,
            Recipient::Later => self.restart_defect(),
        };
        let deadline = if refusal.is_some() { None } else { self.suspend(recipient) };
        if deadline.is_none() && refusal.is_none() {
            return true;
        }
        let Some(HandOver { channel, token, reply, .. }) = self.handover.take() else { return false };
        let outcome = match (deadline, recipient) {
            (Some(deadline), Recipient::Running) => self.hand_over(&channel, &token, deadline),
            (Some(_), Recipient::Later) => self.leave_state(&channel),
            (None, _) => Err(refusal.unwrap_or_default()),
        };
        self.is_handed_over = outcome.is_ok();
        if let (true, Some(guardian)) = (self.is_handed_over, &self.effects.guardian) {
            guardian.release();
        }
        // Fails if the service is stopping.
        let _ = reply.send(outcome);
        // Keeps the sockets open until the service stops the engine: closing them takes
        // milliseconds, during which the successor might not be scheduled.
        while self.is_handed_over && !matches!(self.commands.recv(), Ok(Command::Stop) | Err(_)) {}
        true
    }

    /// Returns whether nothing is pending: no inputs, changes in sync groups, fast paths to
    /// publish, elections, reloads or rows to release, and no actions or changes except paced
    /// announcements and retries.
    fn is_quiet(&self) -> bool {
        self.worklist.is_empty()
            && self.changed.is_empty()
            && self.dirty.is_empty()
            && self.waiting.is_empty()
            && self.reloads.is_empty()
            && !self.topology.awaits_rows()
            && self.effects.is_quiet()
    }

    /// Sends the adverts that would become due before the end of the takeover; for a recipient that
    /// starts later, the adverts of all masters. Without these early adverts, an advert that
    /// becomes due at the beginning of the takeover would be sent only after the takeover. Returns
    /// the time limit of the takeover, or `None` if another turn is needed first.
    pub(in crate::engine) fn suspend(&mut self, recipient: Recipient) -> Option<Timestamp> {
        let now = clock::now();
        // If the engine stalled during this turn, another router may have taken over. That router's
        // adverts are handled before this node sends any of its own.
        if self.drain_ring(now) || !self.is_quiet() {
            return None;
        }
        let deadline = now + self.takeover_limit();
        let until = match recipient {
            Recipient::Running => deadline,
            Recipient::Later => Timestamp::from_nanos(u64::MAX),
        };
        for slot in 0..self.topology.routers.slots() {
            if let Some(id) = self.topology.routers.id_at(slot) {
                self.dispatch(now, id, Input::Suspend(until));
            }
        }
        self.flush(now);
        self.is_quiet().then_some(deadline)
    }

    /// Returns the time limit for the takeover by a successor, in nanoseconds: the lowest limit of
    /// all routers, but at most [`TAKEOVER_MAX`]. The limit of a router is two thirds of
    /// `down_after_adverts` intervals, counting at most three intervals. The time limit ends before
    /// a backup takes over, so that a failed takeover changes no state.
    fn takeover_limit(&self) -> u64 {
        let limit = |config: &RouterConfig| {
            2 * config.interval.nanos() * u64::from(config.down_after_adverts.min(3)) / 3
        };
        let limits = self.topology.routers.iter().map(|(_, instance)| limit(instance.router.config()));
        limits.min().unwrap_or(TAKEOVER_MAX).min(TAKEOVER_MAX)
    }

    /// Passes the state to the successor, and waits until the successor has taken over, at most
    /// until `deadline`.
    ///
    /// # Errors
    /// Returns an error if the successor did not take over. The routers then continue in this
    /// process.
    fn hand_over(&mut self, channel: &Channel, token: &Token, deadline: Timestamp) -> Result<(), String> {
        self.send_state(channel)?;
        let left = deadline.nanos_since(clock::now());
        match channel.receive(Some(Duration::from_nanos(left))) {
            Ok((Message::Taken, _)) => Ok(()),
            // The token is authoritative, because the answer may still be on its way, or the
            // successor may have been killed after it took the token.
            _ if !token.take() => Ok(()),
            Ok((Message::Failed, reason)) => Err(handover::reason(reason)),
            Ok(_) => Err("the successor sent an unexpected message".to_owned()),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                let limit = self.takeover_limit() / 1_000_000;
                Err(format!("the successor did not take over within {limit} ms"))
            }
            Err(error) => Err(format!("the successor ended before it took over: {error}")),
        }
    }

    /// Passes the state to a successor that starts later.
    ///
    /// # Errors
    /// Returns an error if a lifetime cannot be limited or the state cannot be sent. The routers
    /// then continue in this process.
    fn leave_state(&mut self, channel: &Channel) -> Result<(), String> {
        let refusals = self.effects.refusals();
        self.limit_lifetimes(true);
        self.flush_all(clock::now());
        let left = if self.effects.refusals() == refusals {
            // If this process is killed once its state is complete, the next process resumes the
            // routers as masters. The guardian's priority-0 adverts would let backups take over.
            self.set_armed(false);
            self.send_state(channel)
        } else {
            Err("the lifetimes of the VIPs cannot be limited; the log has the reason".to_owned())
        };
        if left.is_err() {
            self.set_armed(true);
            self.limit_lifetimes(false);
        }
        left
    }

    /// Sets whether the guardian, if there is one, acts when this process dies.
    fn set_armed(&self, is_armed: bool) {
        if let Some(guardian) = &self.effects.guardian {
            guardian.set_armed(is_armed);
        }
    }

    fn send_state(&mut self, channel: &Channel) -> Result<(), String> {
        let failed = |error: io::Error| format!("cannot pass the state to the successor: {error}");
        let state = serde_json::to_vec(&self.save()).map_err(|error| failed(error.into()))?;
        let memory = handover::write(&state).map_err(failed)?;
        channel.send(&Message::State, Some(memory.as_fd())).map_err(failed)
    }

    /// Returns the state for the successor. Must be called only while no inputs or actions are
    /// pending.
    pub(in crate::engine) fn save(&mut self) -> SavedEngine {
        let leaving: BTreeSet<RouterId> = self.effects.leaving().collect();
        let name = |id| self.topology.routers.get(id).map(|instance| instance.settings.name.clone());
        let announcements = self.effects.announcer().paced().collect::<Vec<_>>().into_iter();
        let announcements = announcements.filter_map(|burst| {
            let PacedBurst { router, addresses, round, rounds, position, interval, due } = burst;
            let address = match addresses {
                Addresses::All => None,
                Addresses::One(vip) => Some((vip.address, vip.prefix)),
            };
            let (instance, due) = (name(router)?, due.as_nanos());
            Some(SavedBurst { instance, address, round, rounds, position, interval, due })
        });
        let announcements = announcements.collect();
        let routers = self.topology.routers.iter().map(|(id, instance)| {
            let saved = SavedInstance {
                router: instance.router.save(),
                fast_path: instance.fast_path.save(),
                sent: instance.sent,
                sequences: instance.authentication.as_ref().map(Authentication::save),
                is_leaving: leaving.contains(&id),
            };
            (instance.settings.name.clone(), saved)
        });
        let links = self.topology.links.iter();
        let added = links.flat_map(|(_, link)| {
            link.addresses.added().map(|(address, prefix)| (link.name.clone(), address, prefix))
        });
        SavedEngine {
            routers: routers.collect(),
            added: added.collect(),
            announcements,
            wakeups: self.wakeups,
            overruns: self.overruns,
            reports_dropped: self.reports.dropped,
            delays: self.measure.delays,
            suspended_at: clock::now().as_nanos(),
        }
    }
}

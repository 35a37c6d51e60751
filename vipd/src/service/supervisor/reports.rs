//! Handles the engine's reports: logs and records them, and delivers notifications. State changes
//! whose reports were dropped are read from the bus.

use std::collections::BTreeSet;

use super::{DiscardCounters, FromEngine, Supervisor};
use crate::control::runtime::RuntimeDir;
use crate::control::server::Source;
use crate::engine::command::Report;
use crate::service::administrator::Reloaded;
use crate::service::rules;

/// Maximum number of reports kept until the reload that adds their routers is complete. Further
/// reports are dropped, but the bus still has the latest state change of each router.
const MAX_EARLY: usize = 16_384;

impl<S: Source + DiscardCounters> Supervisor<S> {
    /// Logs the last events of removed routers, which have all arrived in the channel. Then applies
    /// a reload to the log, the events, the notifications, the metrics and the access rules.
    pub(super) fn reloaded(&mut self, reloaded: &Reloaded, runtime_dir: &RuntimeDir, from: &mut FromEngine) {
        let new: BTreeSet<_> = reloaded.added.iter().map(|added| added.router).collect();
        let mut of_new = Vec::new();
        while let Ok(report) = from.reports.try_recv() {
            match report {
                // The report is kept until the notification commands of the added instance are
                // configured.
                Report::Router { router, .. } if new.contains(&router) => of_new.push(report),
                _ => self.write(report),
            }
        }
        let removed = reloaded.removed.iter().filter_map(|router| self.log.instance(*router));
        let removed: Vec<_> = removed.cloned().collect();
        for change in self.notifications.reload(&removed, &reloaded.instances, &reloaded.groups) {
            self.events.group(&change);
        }
        self.notifications.set_fifo(reloaded.notifications.fifo.as_deref());
        self.log.change(&reloaded.changed);
        self.log.remove(&reloaded.removed);
        self.log.add(&reloaded.added);
        self.events.forget(&reloaded.removed);
        let early = std::mem::take(&mut self.early).into_iter();
        let early =
            early.filter(|report| matches!(report, Report::Router { router, .. } if new.contains(router)));
        for report in early.chain(of_new) {
            self.write(report);
        }
        // Logs, from the bus, the latest change of each added router whose reports were dropped
        // because the channel or `early` was full.
        self.log_lost_transitions(from);
        self.web.apply(reloaded.metrics.clone());
        if let Err(error) = runtime_dir.set_access(&self.access, rules(&reloaded.control)) {
            tracing::warn!(%error, "cannot apply the new access rules");
        }
    }

    /// Records and logs a report, and delivers its notification.
    pub(super) fn write(&mut self, report: Report) {
        if let Report::Router { router, .. } = &report
            && self.log.instance(*router).is_none()
        {
            // A reload is adding the router, whose notification commands are not configured yet.
            if self.early.len() < MAX_EARLY {
                self.early.push(report);
            }
            return;
        }
        if let Some((change, instance)) = self.events.report(&report, |router| self.log.instance(router)) {
            let priority = self.tracker.lowest_priority(self.notifications.group_of(&instance.name));
            if let Some(change) = self.notifications.change(&change, instance, priority) {
                self.events.group(&change);
            }
        }
        self.log.write(report);
    }

    /// Handles the remaining reports, and then the state changes whose reports were dropped.
    /// Finally, logs the state changes that the rate limit suppressed.
    pub(super) fn log_lost_transitions(&mut self, from: &mut FromEngine) {
        // The order matters: the engine sends the report of a change before it publishes the
        // change. So the report of every change that `take` returns has been sent or dropped. A
        // state resumed from a predecessor is published without a report.
        let published = from.transitions.take();
        while let Ok(report) = from.reports.try_recv() {
            self.write(report);
        }
        for (change, instance) in self.events.published(&published, |router| self.log.instance(router)) {
            let priority = self.tracker.lowest_priority(self.notifications.group_of(&instance.name));
            if let Some(change) = self.notifications.change(&change, instance, priority) {
                self.events.group(&change);
            }
        }
        self.log.lost_transitions(&published);
    }
}

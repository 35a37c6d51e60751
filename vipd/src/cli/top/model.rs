//! The data behind the screen, built from reports and events. Does no I/O and reads no clock.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::keys::Action;
use super::order::Sort;
use super::row::Row;
use super::timeline::Timeline;
use super::verb::{Change, Verb};
use crate::control::event::EventRecord;
use crate::control::model::{InstanceStats, State, StatsReport, StatusReport};

/// A report from the agent, and the time at which it arrived.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) at: Instant,
    pub(super) status: StatusReport,
    pub(super) stats: StatsReport,
}

/// Whether the latest request for a report succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// No request has been answered yet.
    Waiting,
    Up,
    /// The request failed; `silent` is the time since the agent's last report, if there was one.
    Down {
        error: String,
        silent: Option<Duration>,
    },
}

/// The part of the screen that keys apply to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// The table.
    Browse,
    /// The text of the filter.
    Filter,
    /// The dialog that asks whether to make this change.
    Confirm(Change),
}

/// The result of a change, or the reason why it was not requested.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notice {
    pub(super) text: String,
    pub(super) is_error: bool,
}

/// The I/O that an action requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Quit,
    Request(Change),
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) connection: Connection,
    pub(super) guardian: Option<bool>,
    pub(super) timeline: Timeline,
    /// The reason why events cannot be read. Shown only while requests for reports succeed.
    pub(super) events_error: Option<String>,
    pub(super) mode: Mode,
    pub(super) notice: Option<Notice>,
    pub(super) filter: String,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    /// In the order of the configuration.
    rows: Vec<Row>,
    /// The counters in the last report, from which rates are computed.
    counters: Option<(Instant, Vec<InstanceStats>)>,
    /// Name of the selected instance.
    selected: Option<String>,
    /// The requested change that the agent has not answered yet.
    requested: Option<Change>,
}

impl Model {
    pub(super) fn new() -> Self {
        Self {
            connection: Connection::Waiting,
            guardian: None,
            timeline: Timeline::default(),
            events_error: None,
            mode: Mode::Browse,
            notice: None,
            filter: String::new(),
            sort: Sort::default(),
            is_reversed: false,
            rows: Vec::new(),
            counters: None,
            selected: None,
            requested: None,
        }
    }

    pub(super) fn report(&mut self, report: Report) {
        let Report { at, status, stats } = report;
        let time = self.counters.as_ref().map(|(then, _)| at.duration_since(*then));
        let then = by_name(self.counters.as_ref().map_or(&[][..], |(_, then)| then.as_slice()));
        let now = by_name(&stats.instances);
        let rows = status.instances.into_iter().map(|instance| {
            let then = then.get(instance.name.as_str()).copied().zip(time);
            let now = now.get(instance.name.as_str()).copied();
            let lateness = self.timeline.lateness(&instance.name);
            Row::new(instance, now, then, lateness)
        });
        self.rows = rows.collect();
        self.guardian = status.guardian;
        self.counters = Some((at, stats.instances));
        self.connection = Connection::Up;
        // A reload may have removed the instance.
        if let Mode::Confirm(change) = &self.mode
            && !self.rows.iter().any(|row| row.name() == change.instance)
        {
            self.mode = Mode::Browse;
        }
    }

    /// Records that a request for a report failed. Keeps the last report, without its rates.
    pub(super) fn disconnected(&mut self, at: Instant, error: String) {
        let silent = self.counters.as_ref().map(|(then, _)| at.duration_since(*then));
        self.connection = Connection::Down { error, silent };
        for row in &mut self.rows {
            (row.received, row.sent) = (None, None);
            row.drops.iter_mut().for_each(|drops| drops.before = None);
        }
    }

    pub(super) fn event(&mut self, event: EventRecord) {
        self.events_error = None;
        self.timeline.add(event);
    }

    /// Ends the wait for the answer to a requested change.
    pub(super) fn changed(&mut self, notice: Notice) {
        self.requested = None;
        self.notice = Some(notice);
    }

    /// Returns the instances that pass the filter, sorted.
    pub(super) fn visible(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().filter(|row| self.is_visible(row.name())).collect();
        rows.sort_by(|a, b| self.sort.compare(a, b));
        if self.is_reversed {
            rows.reverse();
        }
        rows
    }

    /// Returns whether the filter matches this name of an instance or sync group.
    pub(super) fn is_visible(&self, name: &str) -> bool {
        self.filter.is_empty() || name.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// Returns the position of the selected instance among `visible`; 0 if the selected instance is
    /// not visible.
    pub(super) fn position(&self, visible: &[&Row]) -> usize {
        let is_selected = |row: &&Row| Some(row.name()) == self.selected.as_deref();
        visible.iter().position(is_selected).unwrap_or_default()
    }

    pub(super) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name() == name)
    }

    /// Returns the number of instances in this state.
    pub(super) fn count(&self, state: State) -> usize {
        self.rows.iter().filter(|row| row.status.state == state).count()
    }

    /// Returns the number of dropped adverts of all instances.
    pub(super) fn dropped(&self) -> u64 {
        self.rows.iter().fold(0, |sum, row| sum.saturating_add(row.dropped()))
    }

    /// Returns the number of instances.
    pub(super) fn instances(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn perform(&mut self, action: Action) -> Option<Effect> {
        // A notice stays until the next key.
        self.notice = None;
        match action {
            Action::Quit => return Some(Effect::Quit),
            Action::Move(lines) => self.select(lines),
            Action::EditFilter => self.mode = Mode::Filter,
            Action::Type(character) => self.filter.push(character),
            Action::Delete => {
                self.filter.pop();
            }
            Action::ClearFilter => {
                self.filter.clear();
                self.mode = Mode::Browse;
            }
            Action::NextSort => self.sort = self.sort.next(),
            Action::PreviousSort => self.sort = self.sort.previous(),
            Action::Reverse => self.is_reversed = !self.is_reversed,
            Action::Propose(verb) => self.propose(verb),
            Action::Confirm => return self.confirm(),
            Action::KeepFilter | Action::Cancel => self.mode = Mode::Browse,
        }
        None
    }

    fn select(&mut self, lines: isize) {
        let visible = self.visible();
        let Some(last) = visible.len().checked_sub(1) else { return };
        let next = self.position(&visible).saturating_add_signed(lines).min(last);
        self.selected = Some(visible[next].name().to_owned());
    }

    fn propose(&mut self, verb: Verb) {
        let visible = self.visible();
        let Some(row) = visible.get(self.position(&visible)) else { return };
        let objection = match (&self.requested, &self.connection) {
            (_, Connection::Waiting | Connection::Down { .. }) => Some("the agent does not reply".to_owned()),
            (Some(Change { instance, .. }), _) => {
                Some(format!("the agent has not yet answered the change of {instance}"))
            }
            (None, Connection::Up) => verb.objection(row),
        };
        let instance = row.name().to_owned();
        // The selection must stay on this instance while the question is shown.
        self.selected = Some(instance.clone());
        match objection {
            Some(text) => self.notice = Some(Notice { text, is_error: true }),
            None => self.mode = Mode::Confirm(Change { verb, instance }),
        }
    }

    fn confirm(&mut self) -> Option<Effect> {
        let Mode::Confirm(change) = std::mem::replace(&mut self.mode, Mode::Browse) else { return None };
        self.requested = Some(change.clone());
        Some(Effect::Request(change))
    }
}

fn by_name(stats: &[InstanceStats]) -> HashMap<&str, &InstanceStats> {
    stats.iter().map(|one| (one.name.as_str(), one)).collect()
}

//! Sort keys.

use std::cmp::Ordering;

use super::row::Row;
use crate::control::model::State;

/// The key by which instances are sorted. Equal instances are in the order of the configuration.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// Order of the configuration.
    #[default]
    Configured,
    Name,
    /// Fault, Initialize, Master, Backup.
    State,
    /// Highest effective priority first.
    Priority,
    /// Highest rate of received adverts first.
    Received,
    /// Highest rate of sent adverts first.
    Sent,
    /// Longest time since the last advert first.
    LastAdvert,
    /// Latest change of state first.
    Since,
    /// Most dropped adverts first.
    Dropped,
}

impl Sort {
    const ALL: [Self; 9] = [
        Self::Configured,
        Self::Name,
        Self::State,
        Self::Priority,
        Self::Received,
        Self::Sent,
        Self::LastAdvert,
        Self::Since,
        Self::Dropped,
    ];

    pub(super) fn next(self) -> Self {
        self.step(1)
    }

    pub(super) fn previous(self) -> Self {
        self.step(Self::ALL.len() - 1)
    }

    fn step(self, by: usize) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or_default();
        Self::ALL[(at + by) % Self::ALL.len()]
    }

    /// Completes "sorted by …".
    pub(super) fn description(self) -> &'static str {
        match self {
            Self::Configured => "configuration",
            Self::Name => "name",
            Self::State => "state",
            Self::Priority => "priority",
            Self::Received => "received adverts",
            Self::Sent => "sent adverts",
            Self::LastAdvert => "last advert",
            Self::Since => "last transition",
            Self::Dropped => "dropped adverts",
        }
    }

    pub(super) fn compare(self, a: &Row, b: &Row) -> Ordering {
        match self {
            Self::Configured => Ordering::Equal,
            Self::Name => a.name().cmp(b.name()),
            Self::State => rank(a.status.state).cmp(&rank(b.status.state)),
            Self::Priority => b.status.effective_priority.cmp(&a.status.effective_priority),
            Self::Received => descending(a.received, b.received),
            Self::Sent => descending(a.sent, b.sent),
            Self::LastAdvert => b.last_advert_ms().cmp(&a.last_advert_ms()),
            Self::Since => since(a).cmp(&since(b)),
            Self::Dropped => b.dropped().cmp(&a.dropped()),
        }
    }
}

fn since(row: &Row) -> u64 {
    row.status.last_transition_ms.unwrap_or(u64::MAX)
}

fn rank(state: State) -> u8 {
    match state {
        State::Fault => 0,
        State::Initialize => 1,
        State::Master => 2,
        State::Backup => 3,
    }
}

/// Compares rates, the highest first. Missing rates are last.
fn descending(a: Option<f64>, b: Option<f64>) -> Ordering {
    let rate = |rate: Option<f64>| rate.unwrap_or(-1.0);
    rate(b).total_cmp(&rate(a))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::instance_status;
    use crate::control::model::InstanceStatus;

    fn row(name: &str, state: State) -> Row {
        Row::new(instance_status(name, state), None, None, None)
    }

    fn sorted(sort: Sort, mut rows: Vec<Row>) -> String {
        rows.sort_by(|a, b| sort.compare(a, b));
        rows.iter().map(Row::name).collect()
    }

    #[test]
    fn next_and_previous_visit_all_keys() {
        let mut sort = Sort::default();
        for _ in Sort::ALL {
            assert_eq!(sort.next().previous(), sort);
            sort = sort.next();
        }
        assert_eq!(sort, Sort::default());
    }

    #[test]
    fn faults_are_first_and_backups_last() {
        let rows =
            [("b", State::Backup), ("m", State::Master), ("f", State::Fault), ("i", State::Initialize)];
        let rows: Vec<_> = rows.into_iter().map(|(name, state)| row(name, state)).collect();
        assert_eq!(sorted(Sort::State, rows.clone()), "fimb");
        assert_eq!(sorted(Sort::Name, rows.clone()), "bfim");
        assert_eq!(sorted(Sort::Configured, rows), "bmfi");
    }

    #[test]
    fn missing_values_are_last() {
        let rates = [("a", None), ("b", Some(0.0)), ("c", Some(99.5))];
        let rows = rates.map(|(name, received)| Row { received, ..row(name, State::Backup) });
        assert_eq!(sorted(Sort::Received, rows.to_vec()), "cba");
        let since = [("a", None), ("b", Some(5)), ("c", Some(1))].map(|(name, last_transition_ms)| {
            let status = InstanceStatus { last_transition_ms, ..instance_status(name, State::Backup) };
            Row::new(status, None, None, None)
        });
        assert_eq!(sorted(Sort::Since, since.to_vec()), "cba");
    }
}

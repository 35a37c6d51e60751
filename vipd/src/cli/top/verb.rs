//! The changes that a key can request for an instance, and the consequences of each change.

use super::row::Row;
use crate::cli::status::seconds;
use crate::control::model::{InstanceStatus, State};
use crate::control::protocol::Request;
use crate::vrrp::config::PRIORITY_OWNER;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Drain,
    Undrain,
    Failover,
}

/// A change to one instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) verb: Verb,
    pub(super) instance: String,
}

impl Verb {
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Drain => "Drain",
            Self::Undrain => "Undrain",
            Self::Failover => "Fail over",
        }
    }

    /// Returns the objection to offering this change: only a master can fail over, and an instance
    /// in service is not drained. The agent may still refuse a change for which this returns
    /// `None`.
    pub(super) fn objection(self, row: &Row) -> Option<String> {
        match (self, row.status.state) {
            (Self::Failover, State::Initialize | State::Backup | State::Fault) => {
                Some(format!("{} is not master; fail it over on the master's node", row.name()))
            }
            (Self::Undrain, State::Backup | State::Master) => Some(format!("{} is not drained", row.name())),
            _ => None,
        }
    }

    /// Describes the consequence of the change for this instance.
    pub(super) fn consequence(self, row: &Row) -> String {
        let InstanceStatus { name, state, .. } = &row.status;
        let mut text = match (self, state) {
            (Self::Drain, State::Master) => format!(
                "{name} is master. It sends a priority-0 advert, so that a backup takes over after its \
                 Skew_Time. {name} stays in fault until undrained, even across restarts. Without a backup, \
                 {} cannot be reached.",
                addresses(&row.status)
            ),
            (Self::Drain, State::Backup) => format!(
                "{name} is backup. It stays in fault until undrained, even across restarts, and does not \
                 take over if the master fails."
            ),
            (Self::Drain, State::Initialize | State::Fault) => {
                format!("{name} is not in service, and stays in fault until undrained, even across restarts.")
            }
            (Self::Undrain, _) => undrain(&row.status),
            (Self::Failover, _) => format!(
                "{name} is master. It sends a priority-0 advert, so that a backup takes over after its \
                 Skew_Time. {name} does not preempt the new master. Without a backup, {} cannot be reached \
                 until {name} takes over again after about {}.",
                addresses(&row.status),
                seconds(row.status.master_down_interval_ns)
            ),
        };
        if let Some(group) = &row.status.group {
            let others = match self {
                Self::Drain => "also have a fault until this instance is undrained",
                Self::Undrain => "start again, too, unless another member has a fault",
                Self::Failover => "hand over mastership, too",
            };
            text.push_str(" The other members of the sync group ");
            text.extend([group, " ", others, "."]);
        }
        text
    }
}

fn undrain(status: &InstanceStatus) -> String {
    let InstanceStatus { name, priority, effective_priority, preempt, .. } = status;
    if *priority == PRIORITY_OWNER {
        return format!("{name} is the address owner and becomes master as soon as it has no other fault.");
    }
    let then = if *preempt {
        "and preempts a master of lower priority"
    } else {
        "and becomes master only if there is no other"
    };
    format!(
        "{name} takes part in elections again with priority {effective_priority} as soon as it has no other \
         fault, {then}."
    )
}

fn addresses(status: &InstanceStatus) -> String {
    match status.virtual_addresses.iter().chain(&status.excluded_addresses).collect::<Vec<_>>().as_slice() {
        [] => "its VIPs".to_owned(),
        [one] => (*one).clone(),
        [first, others @ ..] => format!("{first} (and {} more)", others.len()),
    }
}

impl Change {
    pub(super) fn request(&self) -> Request {
        let instances = vec![self.instance.clone()];
        match self.verb {
            Verb::Drain => Request::Drain { instances },
            Verb::Undrain => Request::Undrain { instances },
            Verb::Failover => Request::Failover { instances },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::instance_status;

    fn row(state: State, group: Option<&str>) -> Row {
        let group = group.map(str::to_owned);
        Row::new(InstanceStatus { group, ..instance_status("VI_1", state) }, None, None, None)
    }

    #[test]
    fn consequence_depends_on_state_group_and_preemption() {
        assert_eq!(
            Verb::Drain.consequence(&row(State::Master, Some("gateway"))),
            "VI_1 is master. It sends a priority-0 advert, so that a backup takes over after its Skew_Time. \
             VI_1 stays in fault until undrained, even across restarts. Without a backup, 192.0.2.10/24 (and \
             1 more) cannot be reached. The other members of the sync group gateway also have a fault until \
             this instance is undrained."
        );
        assert_eq!(
            Verb::Drain.consequence(&row(State::Backup, None)),
            "VI_1 is backup. It stays in fault until undrained, even across restarts, and does not take over \
             if the master fails."
        );
        assert!(Verb::Failover.consequence(&row(State::Master, None)).ends_with("again after about 3.609s."));
        let mut fault = row(State::Fault, None);
        assert_eq!(
            Verb::Undrain.consequence(&fault),
            "VI_1 takes part in elections again with priority 100 as soon as it has no other fault, and \
             preempts a master of lower priority."
        );
        fault.status.preempt = false;
        assert!(Verb::Undrain.consequence(&fault).ends_with("only if there is no other."));
        fault.status.priority = PRIORITY_OWNER;
        assert!(Verb::Undrain.consequence(&fault).ends_with("as soon as it has no other fault."));
    }

    #[test]
    fn only_masters_fail_over_and_instances_in_service_are_not_drained() {
        assert_eq!(
            Verb::Undrain.objection(&row(State::Backup, None)).as_deref(),
            Some("VI_1 is not drained")
        );
        assert_eq!(Verb::Undrain.objection(&row(State::Fault, None)), None);
        assert_eq!(Verb::Failover.objection(&row(State::Master, None)), None);
        assert_eq!(
            Verb::Failover.objection(&row(State::Backup, None)).as_deref(),
            Some("VI_1 is not master; fail it over on the master's node")
        );
        assert_eq!(Verb::Drain.objection(&row(State::Fault, None)), None);
    }
}

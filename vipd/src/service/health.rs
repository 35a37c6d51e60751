//! Instances that are not in an expected state, for `/healthz` and `vipd_healthy`.

use super::public::describe;
use crate::control::model::InstanceStatus;
use crate::engine::command::RouterSnapshot;
use crate::vrrp::{Fault, State};
use crate::web::Problem;

/// Returns the reason why an instance is not in an expected state, or `None` if it is in an
/// expected state. `all` contains all routers of the agent.
pub(super) fn problem(
    router: &RouterSnapshot,
    status: &InstanceStatus,
    all: &[RouterSnapshot],
) -> Option<Problem> {
    let missing = |what: &str, list: &[String]| {
        (!list.is_empty()).then(|| format!("{what} are missing although it is master: {}", list.join(", ")))
    };
    let reason = match router.router.state {
        State::Fault(fault) => {
            if is_requested(fault, own_faults(router, all)) {
                return None;
            }
            format!("fault: {}", describe(fault, status))
        }
        State::Initialize => "it has not started yet".to_owned(),
        State::Backup => return None,
        State::Master => missing("VIPs", &status.missing_addresses)
            .or_else(|| missing("routes or rules", &status.missing_routes))?,
    };
    Some(Problem { instance: status.name.clone(), reason })
}

/// Returns the faults of the members of a router's sync group, except [`Fault::Group`].
fn own_faults<'a>(router: &'a RouterSnapshot, all: &'a [RouterSnapshot]) -> impl Iterator<Item = Fault> + 'a {
    let members = all.iter().filter(|other| other.group.is_some() && other.group == router.group);
    members.filter_map(|member| match member.router.state {
        State::Fault(fault) if fault != Fault::Group => Some(fault),
        _ => None,
    })
}

/// Returns whether an administrator has requested a fault. For [`Fault::Group`], returns whether an
/// administrator has requested all faults in `own`, the faults of the sync group's members; false
/// if `own` is empty.
fn is_requested(fault: Fault, own: impl Iterator<Item = Fault>) -> bool {
    let is_administrative = |fault: Fault| matches!(fault, Fault::Drained | Fault::Administrator);
    if fault != Fault::Group {
        return is_administrative(fault);
    }
    let mut own = own.peekable();
    own.peek().is_some() && own.all(is_administrative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_requested_by_an_administrator_are_expected() {
        use Fault::{Administrator, Drained, Group, InterfaceDown, Tracking};
        for (fault, own, expected) in [
            (Drained, &[][..], true),
            (Administrator, &[], true),
            (InterfaceDown, &[], false),
            (Tracking, &[Drained], false),
            (Group, &[Drained], true),
            (Group, &[Drained, Administrator], true),
            (Group, &[Drained, InterfaceDown], false),
            (Group, &[Tracking], false),
            (Group, &[], false),
        ] {
            assert_eq!(is_requested(fault, own.iter().copied()), expected, "{fault:?} {own:?}");
        }
    }
}

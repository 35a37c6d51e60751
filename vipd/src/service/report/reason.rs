//! Explains the states Initialize and Fault to the user.

use std::collections::BTreeSet;

use crate::config::Instance;
use crate::config::settings::Transport;
use crate::engine::command::RouterSnapshot;
use crate::vrrp::{Family, Fault, Reason, Snapshot, State};

/// The fault reason of a router with a failed tracked object. In this router's own status, the
/// report replaces the reason with descriptions of the objects that are down, if there are any. The
/// fault reasons of other members of its sync group contain the text unchanged.
pub(super) const TRACKED_FAILED: &str = "a tracked object failed";

/// Returns the reason why a router is in Initialize; `None` in other states.
pub(super) fn of_initialize(router: &Snapshot) -> Option<String> {
    let reason = match (router.state, router.starts_at, router.reason) {
        (State::Initialize, Some(_), _) => "startup_delay",
        (State::Initialize, None, Some(Reason::Shutdown)) => {
            "the agent is stopping, or a reload is removing the instance"
        }
        (State::Initialize, None, _) => "its interfaces are being opened",
        (State::Backup | State::Master | State::Fault(_), ..) => return None,
    };
    Some(reason.to_owned())
}

/// Returns the reason why a router is in Fault; `None` in other states. `members` are the routers
/// of its sync group.
pub(super) fn of_fault<'a>(
    config: &Instance,
    instance: &RouterSnapshot,
    members: impl Iterator<Item = &'a RouterSnapshot>,
) -> Option<String> {
    match instance.router.state {
        State::Fault(Fault::Group) => Some(failed_member(members)),
        State::Fault(fault) => Some(describe(fault, config, instance)),
        State::Initialize | State::Backup | State::Master => None,
    }
}

/// Describes the fault of a sync group: the first fault among its members that is not
/// [`Fault::Group`].
fn failed_member<'a>(mut members: impl Iterator<Item = &'a RouterSnapshot>) -> String {
    let failed = members.find_map(|member| match member.router.state {
        State::Fault(fault) if fault != Fault::Group => Some((member, fault)),
        _ => None,
    });
    failed.map_or_else(
        || "another member of its sync group failed".to_owned(),
        |(member, fault)| {
            let group = member.group.as_deref().unwrap_or_default();
            let reason = describe(fault, &member.settings, member);
            format!("{} of the sync group {group} has a fault: {reason}", member.settings.name)
        },
    )
}

/// Describes a fault to the user, including a remedy if there is one.
fn describe(fault: Fault, config: &Instance, instance: &RouterSnapshot) -> String {
    let interface = &config.interface;
    match fault {
        Fault::NoInterface => format!("interface {interface} does not exist"),
        Fault::InterfaceDown => format!("interface {interface} is down or has no carrier"),
        Fault::NoPrimaryAddress => match (config.source, config.router.family) {
            (Some(source), _) => {
                format!("interface {interface} does not have the configured source {source}")
            }
            (None, Family::V4) => format!("interface {interface} has no IPv4 address of its own"),
            (None, Family::V6) => format!("interface {interface} has no usable link-local address"),
        },
        Fault::PrimaryIsVirtual => {
            let vip = instance.conflict.map_or_else(|| "a VIP".to_owned(), |vip| vip.to_string());
            let mut placed = config.router.all_addresses().zip(&config.placements);
            let placed = placed.find(|(one, _)| Some(one.address) == instance.conflict);
            let interface = placed.and_then(|(_, at)| at.interface.as_ref()).unwrap_or(interface);
            format!(
                "{vip} is the primary address of {interface} and a VIP with priority {}; make another address of the \
                 interface primary, or configure priority 255",
                config.router.priority
            )
        }
        Fault::NoHardwareAddress => {
            let remedy = match config.transport {
                Transport::Multicast => "configure unicast_peers, or use another interface",
                Transport::Unicast(_) => "use an Ethernet or point-to-point interface",
            };
            format!("interface {interface} has no Ethernet address and cannot carry adverts; {remedy}")
        }
        Fault::AddressInterface => {
            instance.macvlan_failure.clone().unwrap_or_else(|| describe_address_interfaces(config))
        }
        Fault::NotAttached => {
            instance.failure.clone().unwrap_or_else(|| format!("interface {interface} is being set up"))
        }
        Fault::NotReceiving => instance
            .failure
            .clone()
            .unwrap_or_else(|| format!("the BPF program was detached from interface {interface}")),
        Fault::Tracking => TRACKED_FAILED.to_owned(),
        Fault::Group => "a member of its sync group failed".to_owned(),
        Fault::Administrator => "disabled by the administrator".to_owned(),
        Fault::Drained => "drained by the administrator".to_owned(),
    }
}

/// Describes a [`Fault::AddressInterface`] by listing the interfaces to which VIPs are to be added.
fn describe_address_interfaces(config: &Instance) -> String {
    let devs: BTreeSet<&str> =
        config.placements.iter().filter_map(|placement| placement.interface.as_deref()).collect();
    match Vec::from_iter(devs).as_slice() {
        [] => format!("the macvlan on {} for the VIPs is missing", config.interface),
        [dev] => format!(
            "interface {dev} (`dev` of a VIP) does not exist, is down, has no carrier or could not be opened"
        ),
        devs => format!(
            "one of the interfaces {} (`dev` of a VIP) does not exist, is down, has no carrier or could not be opened",
            devs.join(", ")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vrrp::Router;

    #[test]
    fn router_in_initialize_waits_for_a_delay_or_its_interfaces() {
        let config = crate::config::Config::parse(
            "[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\n",
            "f",
        );
        let new = Router::new(config.expect("valid").instances[0].router.clone()).snapshot();
        let waits = |snapshot: &Snapshot| of_initialize(snapshot);
        assert_eq!(waits(&new).as_deref(), Some("its interfaces are being opened"));
        let delayed = Snapshot { starts_at: Some(new.since), ..new };
        assert_eq!(waits(&delayed).as_deref(), Some("startup_delay"));
        let stopped = Snapshot { reason: Some(Reason::Shutdown), ..new };
        let expected = "the agent is stopping, or a reload is removing the instance";
        assert_eq!(waits(&stopped).as_deref(), Some(expected));
        assert_eq!(waits(&Snapshot { state: State::Master, ..new }), None);
    }
}

//! Checks of the configuration against the interfaces of the local machine.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use super::host;
use super::problem::Collector;
use super::section::instance::Draft;
use super::settings::Transport;
use super::table::Located;
use crate::vrrp::config::{Family, PRIORITY_OWNER};

/// The properties of this machine that a configuration is checked against.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// The interfaces by name. If empty, the configuration is not checked against interfaces.
    pub interfaces: BTreeMap<String, Interface>,
    /// The reason why the fence does not outlast the agent's process on this machine; `None` if no
    /// reason was found.
    pub fence_obstacle: Option<String>,
    /// Whether to check that the executables of commands exist and are safe to run.
    pub checks_executables: bool,
    /// The directory of systemd's credentials; `None` for the one that `CREDENTIALS_DIRECTORY`
    /// names.
    pub credentials: Option<PathBuf>,
    /// Whether files and credentials with keys and passwords are not read, because they are on
    /// another machine or are not needed.
    pub lacks_secrets: bool,
    /// Whether the text is a [`ConfigText`](super::ConfigText), without the keys of signed adverts.
    /// Files and credentials with keys are then not read, either. Zeros stand for all keys.
    pub lacks_keys: bool,
}

/// A network interface of the machine.
#[derive(Clone, Debug, Default)]
pub struct Interface {
    /// Whether the interface has an Ethernet address.
    pub has_ethernet: bool,
    /// Usable addresses of the interface, except addresses that vipd added.
    pub addresses: Vec<IpAddr>,
}

impl Machine {
    /// Warns about instances that will be in Fault on this machine, and about routes that cannot be
    /// added.
    pub(super) fn check(&self, drafts: &[Draft], problems: &mut Collector<'_>) {
        if self.interfaces.is_empty() {
            return;
        }
        self.check_existence(drafts, problems);
        for draft in drafts {
            let Some(interface) = &draft.interface else { continue };
            if let Some(found) = self.interfaces.get(&interface.value)
                && !found.has_ethernet
                && draft.route.transport == Transport::Multicast
            {
                problems.warn(
                    interface.at,
                    format!(
                        "interface {} has no Ethernet address and cannot carry multicast adverts; configure unicast_peers if it is a point-to-point interface, or use another interface",
                        interface.value
                    ),
                );
            }
            if draft.election.priority == PRIORITY_OWNER {
                continue;
            }
            for vip in draft.addresses.all() {
                let address = vip.value.address.address;
                let name = vip.value.placement.interface.as_ref().unwrap_or(&interface.value);
                let Some(found) = self.interfaces.get(name) else { continue };
                if found.addresses.contains(&address) && !found.has_own(Family::of(address), drafts) {
                    problems.warn(
                        vip.at,
                        format!(
                            "virtual address {address} is the primary address of {name}, but the priority is {}; assign {name} an address that is not a VIP, or set `priority = 255`",
                            draft.election.priority
                        ),
                    );
                }
            }
        }
    }

    /// Warns about interfaces of instances, VIPs and routes that do not exist, once for each
    /// combination of interface and effect. Interfaces that are only tracked or named in rules are
    /// not checked.
    fn check_existence(&self, drafts: &[Draft], problems: &mut Collector<'_>) {
        let mut warned = BTreeSet::new();
        let mut check = |what: &str, name: &str, at: usize, effect: &'static str| {
            if !self.interfaces.contains_key(name) && warned.insert((effect, name.to_owned())) {
                problems
                    .warn(at, format!("{what} is {name}, which does not exist on this machine; {effect}"));
            }
        };
        for draft in drafts {
            if let Some(Located { at, value }) = &draft.interface {
                check("interface", value, *at, "the instance is in fault until it exists");
            }
            for vip in draft.addresses.all() {
                if let Some(dev) = &vip.value.placement.interface {
                    check("dev", dev, vip.at, "the instance is in fault until it exists");
                }
            }
            for Located { at, value } in &draft.routing.devs {
                check("dev", value, *at, "the route is added once it exists");
            }
        }
    }
}

impl Interface {
    /// Returns whether the interface has an address to send adverts from. VIPs of routers that do
    /// not own their addresses do not count.
    fn has_own(&self, family: Family, drafts: &[Draft]) -> bool {
        let is_vip = |address: IpAddr| {
            drafts
                .iter()
                .filter(|draft| draft.election.priority != PRIORITY_OWNER)
                .any(|draft| draft.addresses.all().any(|vip| vip.value.address.address == address))
        };
        let is_source = |address: IpAddr| {
            Family::of(address) == family && (family == Family::V4 || host::is_link_local(address))
        };
        self.addresses.iter().any(|address| is_source(*address) && !is_vip(*address))
    }
}

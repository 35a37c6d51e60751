//! Starts vipd on the nodes of a lab in the setups that most end-to-end tests use.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::Result;

use crate::agent::{Agent, Instance};
use crate::binary::vipd;
use crate::control::{Reply, wait_for, wait_for_state};
use crate::lab::Lab;
use crate::links;
use crate::namespace::Namespace;
use crate::station::{INTERFACE, Station};

/// Advert interval in tests for which the interval does not matter.
pub const INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait for a state that a router reaches within a few intervals; generous, for
/// machines under load.
const SOON: Duration = Duration::from_secs(20);

/// Starts vipd on a node with these instances.
///
/// # Errors
/// Returns an error if there is no such node, or vipd does not start.
pub fn start_agent(lab: &Lab, station: Station, instances: &[Instance]) -> Result<Agent> {
    let mut agent = Agent::new(lab, station, vipd()?, instances)?;
    agent.start()?;
    Ok(agent)
}

/// Starts vipd on a node with one instance that has this priority and an interval of [`INTERVAL`].
///
/// # Errors
/// See [`start_agent`].
pub fn start_router(lab: &Lab, station: Station, priority: u8) -> Result<Agent> {
    start_agent(lab, station, &[Instance { priority, interval: INTERVAL, ..Instance::default() }])
}

/// Starts a master on node 1 and a backup on node 2, and waits until they are in these states.
///
/// # Errors
/// See [`start_agent`]; also returns an error if the routers do not reach their states in time.
pub fn start_pair(lab: &Lab) -> Result<(Agent, Agent)> {
    let (one, two) = (Station::Node(1), Station::Node(2));
    let master = start_router(lab, one, 200)?;
    wait_for_state(&master, "master", SOON)?;
    let backup = start_router(lab, two, 100)?;
    wait_for_backup_of(&backup, one.ipv4())?;
    Ok((master, backup))
}

/// Waits until the agent's first instance is a backup that follows `master`, and returns its
/// status.
///
/// # Errors
/// See [`wait_for`].
pub fn wait_for_backup_of(agent: &Agent, master: impl Into<IpAddr>) -> Result<Reply> {
    let master = master.into();
    wait_for(agent, &format!("backup of {master}"), SOON, |status| {
        status.text("state") == "backup" && status.address("last-adv-source") == Some(master)
    })
}

/// Returns the IPv4 addresses on a host's [`INTERFACE`].
///
/// # Errors
/// Returns an error if the addresses cannot be read.
pub fn addresses(host: &Namespace) -> Result<Vec<Ipv4Addr>> {
    host.run(|| links::addresses(INTERFACE))
}

/// Returns whether a host has this address on its [`INTERFACE`].
///
/// # Errors
/// See [`addresses`].
pub fn has_address(host: &Namespace, address: Ipv4Addr) -> Result<bool> {
    Ok(addresses(host)?.contains(&address))
}

//! The configuration and the state of instances change while the agent runs.

mod administrator;
mod file;

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::control::{Reply, stats, status};
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);

/// The settings of an instance that the tests change.
#[derive(Clone, Copy)]
struct Settings {
    vrid: u8,
    priority: u8,
    /// Last byte of the VIP.
    vip: u8,
    /// Additional configuration lines.
    more: &'static str,
}

impl Settings {
    fn new(vrid: u8) -> Self {
        Self { vrid, priority: 150, vip: vrid, more: "" }
    }

    fn vip(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, 0, self.vip)
    }
}

fn configuration(instances: &[Settings]) -> String {
    let mut text = String::new();
    for Settings { vrid, priority, more, .. } in instances {
        let _ = writeln!(
            text,
            "[[instance]]\nname = \"VI_{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\npriority = {priority}\n\
             advert_interval = \"100ms\"\nvirtual_addresses = [\"{}\"]\n{more}\n",
            instances.iter().find(|one| one.vrid == *vrid).expect("it is listed").vip()
        );
    }
    text
}

fn start(lab: &Lab, instances: &[Settings]) -> Result<Agent> {
    let mut agent = Agent::with_configuration(lab, ONE, vipd()?, configuration(instances))?;
    agent.start()?;
    for one in instances {
        wait_for_vrid(&agent, one.vrid, "master")?;
    }
    Ok(agent)
}

fn find(agent: &Agent, vrid: u8) -> Result<Option<Reply>> {
    let name = format!("VI_{vrid}");
    Ok(status(agent)?.into_iter().find(|status| status.text("name") == name))
}

fn wait_for_vrid(agent: &Agent, vrid: u8, state: &str) -> Result<()> {
    try_wait_until(&format!("VRID {vrid} to be {state}"), TIMEOUT, || {
        Ok(find(agent, vrid)?.is_some_and(|status| status.text("state") == state))
    })
}

/// Returns the number of times that each instance has become master, in the order of `status`.
fn master_transitions(agent: &Agent) -> Result<Vec<u64>> {
    stats(agent)?.1.iter().map(|statistics| statistics.number("master-transitions")).collect()
}

/// Returns the number of priority-0 adverts of a virtual router.
fn priority_zero_adverts(capture: &Capture, since: WallTime, vrid: u8) -> usize {
    let is_priority_zero = |advert: &vipd_tests::frame::Advert| advert.vrid == vrid && advert.priority == 0;
    capture.filter_map(since, |frame| frame.advert().filter(is_priority_zero)).len()
}

/// Returns the priorities that a virtual router has advertised, without consecutive duplicates.
fn priorities(capture: &Capture, since: WallTime, vrid: u8) -> Vec<u8> {
    let mut all = capture.filter_map(since, |frame| {
        frame.advert().filter(|advert| advert.vrid == vrid).map(|advert| advert.priority)
    });
    all.dedup();
    all
}

/// Waits for a log line that contains `text`, and returns the latest one.
fn wait_for_log(agent: &Agent, text: &str) -> String {
    let find = || agent.log().into_iter().rev().find(|line| line.text.contains(text));
    wait_until(&format!("the log to contain {text:?}"), TIMEOUT, || find().is_some())
        .unwrap_or_else(|error| panic!("{error}: {:#?}", agent.log()));
    find().expect("it was found").text
}

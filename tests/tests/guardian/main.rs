//! The guardian acts when the agent is killed or crashes, and only then.

mod death;
mod lifetime;
mod resources;
mod takeover;

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::control::{self, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::routers;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);
const INTERVAL: Duration = Duration::from_secs(1);

fn instance(vrid: u8, priority: u8) -> Instance {
    Instance {
        name: format!("VI_{vrid}"),
        vrid,
        priority,
        interval: INTERVAL,
        addresses: vec![address(vrid).into()],
        ..Instance::default()
    }
}

fn address(vrid: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, vrid, 1)
}

/// Starts an agent that can be killed without its guardian, and waits until the guardian runs.
fn start(lab: &Lab, station: Station, instances: &[Instance]) -> Agent {
    let mut agent =
        Agent::new(lab, station, vipd().expect("vipd binary"), instances).expect("create the agent");
    agent.run_below_init();
    agent.start().expect("start the agent");
    wait_until("the guardian to run", TIMEOUT, || guardian(&agent).is_some()).expect("guarded");
    agent
}

/// Returns the process ID of the agent itself.
fn main_process(agent: &Agent) -> Pid {
    let pid = agent.processes().first().copied().expect("running");
    Pid::from_raw(i32::try_from(pid).expect("a process ID")).expect("not 0")
}

/// Returns the process ID of the running agent's guardian, or `None` if no guardian runs.
fn guardian(agent: &Agent) -> Option<Pid> {
    let is_guardian = |pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "vipd-guardian\n")
    };
    Pid::from_raw(i32::try_from(agent.processes().into_iter().find(is_guardian)?).ok()?)
}

/// Sends a signal to the agent but not to its guardian, and waits until the agent has ended.
fn kill_alone(agent: &mut Agent, signal: Signal) {
    let process = main_process(agent);
    kill_process(process, signal).expect("send the signal");
    wait_for_end(process);
    agent.abandon().expect("running");
}

fn exists(process: Pid) -> bool {
    fs::exists(format!("/proc/{}", process.as_raw_nonzero())).expect("procfs")
}

fn wait_for_end(process: Pid) {
    wait_until("the process to end", TIMEOUT, || !exists(process)).expect("ended");
}

fn wait_for_all(agent: &Agent, state: &str) {
    wait_until(&format!("{state} of all instances"), TIMEOUT, || {
        control::status(agent).is_ok_and(|all| all.iter().all(|one| one.text("state") == state))
    })
    .unwrap_or_else(|error| panic!("{error}: {:#?}", agent.log()));
}

/// Returns the VRIDs and priorities of the adverts that a station has sent after `since`, in order.
fn adverts(capture: &Capture, station: Station, since: WallTime) -> Vec<(u8, u8)> {
    capture.filter_map(since, |frame| {
        let advert = frame.advert().filter(|_| frame.from == station)?;
        Some((advert.vrid, advert.priority))
    })
}

fn addresses(node: &Namespace) -> Vec<Ipv4Addr> {
    routers::addresses(node).expect("list the addresses")
}

fn host(lab: &Lab, station: Station) -> &Namespace {
    lab.host(station).expect("lab host")
}

/// Starts a master of VRIDs 1 to `count` on node 1, and a backup on node 2.
fn pair(lab: &Lab, count: u8) -> (Agent, Agent) {
    let instances = |priority| (1..=count).map(|vrid| instance(vrid, priority)).collect::<Vec<_>>();
    let master = start(lab, ONE, &instances(200));
    wait_until("node 1 to be master of all instances", TIMEOUT, || {
        addresses(host(lab, ONE)).len() == 1 + usize::from(count)
    })
    .expect("master");
    let backup = start(lab, TWO, &instances(100));
    routers::wait_for_backup_of(&backup, ONE.ipv4()).expect("backup");
    (master, backup)
}

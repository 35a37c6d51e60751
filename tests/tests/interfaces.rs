//! Multiple interfaces, drivers without native XDP, load sharing, a primary address configured as a
//! VIP, former bridge ports, the log of discarded adverts, and scheduling of the engine threads.

use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::TestResult;
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::{counter, status, wait_for_state};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::protocol::Version;
use vipd_tests::routers::addresses;
use vipd_tests::station::{INTERFACE, PREFIX, Station};
use vipd_tests::wait::try_wait_until;
use vipd_witness::Advert;

const NODE: Station = Station::Node(1);
const PEER: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns a configuration with VRID 51 on each of these interfaces.
fn routers(interfaces: &[&str]) -> String {
    let tables = interfaces.iter().enumerate().map(|(index, interface)| {
        format!(
            "[[instance]]\nname = \"VI_{index}\"\ninterface = \"{interface}\"\nvrid = 51\n\
             advert_interval = \"100ms\"\nvirtual_addresses = [\"10.0.{index}.1\"]\n"
        )
    });
    tables.collect()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn same_vrid_on_two_interfaces_is_two_routers() -> TestResult {
    let lab = Lab::new(2)?;
    let node = lab.host(NODE)?;
    node.run(|| {
        links::add_pair("eth2", "far")?;
        links::add_address("eth2", Ipv4Addr::new(10, 9, 9, 1), PREFIX)
    })?;
    let mut agent = Agent::with_configuration(&lab, NODE, vipd()?, routers(&[INTERFACE, "eth2"]))?;
    agent.start()?;
    try_wait_until("both instances to be master", TIMEOUT, || {
        Ok(status(&agent)?.iter().all(|instance| instance.text("state") == "master"))
    })?;
    for (interface, address) in [(INTERFACE, [10, 0, 0, 1]), ("eth2", [10, 0, 1, 1])] {
        let present = node.run(move || links::addresses(interface))?;
        assert!(present.contains(&Ipv4Addr::from(address)), "{interface} has {present:?}");
    }
    // A master on one segment affects only the router on that segment.
    let injector = Injector::open(lab.host(PEER)?)?;
    let master = Advert { interval: 4_000, ..PEER.advert(Version::V3, 51, 254) }.frame();
    let send = || injector.send_paced(std::slice::from_ref(&master), 10, Duration::from_millis(500));
    send()?;
    let states: Vec<_> = status(&agent)?.iter().map(|instance| instance.text("state").to_owned()).collect();
    assert_eq!(states, ["backup", "master"]);
    assert!(agent.stop()?.success());
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn bridge_receives_adverts_at_tc_ingress() -> TestResult {
    const BRIDGE: &str = "br1";
    let lab = Lab::new(2)?;
    // A bridge whose port is the uplink, as on a virtualization host.
    lab.host(NODE)?.run(|| {
        links::remove_address(INTERFACE, NODE.ipv4(), PREFIX)?;
        links::add_bridge(BRIDGE)?;
        links::join_bridge(INTERFACE, BRIDGE)?;
        links::add_address(BRIDGE, NODE.ipv4(), PREFIX)
    })?;
    let mut agent = Agent::with_configuration(&lab, NODE, vipd()?, routers(&[BRIDGE]))?;
    agent.start()?;
    let report = wait_for_state(&agent, "master", TIMEOUT)?;
    assert_eq!(report.text("vipd:xdp-mode"), "tc");
    assert!(
        agent.log().iter().any(|line| line.text.contains("bridge has no native mode")),
        "the reason is not logged: {:#?}",
        agent.log()
    );
    let received = counter(&agent, "advertisement-rcvd")?;
    let injector = Injector::open(lab.host(PEER)?)?;
    let master = Advert { interval: 100, ..PEER.advert(Version::V3, 51, 254) }.frame();
    injector.send(&master)?;
    wait_for_state(&agent, "backup", TIMEOUT)?;
    assert_eq!(counter(&agent, "advertisement-rcvd")?, received + 1);
    Ok(())
}

/// Returns the name and scheduling policy of each thread of a process (field 41 of
/// proc_pid_stat(5)).
fn policies(pid: u32) -> Result<Vec<(String, u32)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let stat = fs::read_to_string(entry?.path().join("stat"))?;
        let (name, rest) = stat.rsplit_once(')').context("no name in parentheses")?;
        let name = name.split_once('(').context("no name in parentheses")?.1.to_owned();
        // The field after the name is field 3.
        let policy = rest.split_whitespace().nth(41 - 3).context("fewer than 41 fields")?.parse()?;
        all.push((name, policy));
    }
    Ok(all)
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn only_the_engine_threads_run_realtime_when_enabled() -> TestResult {
    const FIFO: u32 = 1;
    for (setting, wanted) in [("auto", true), ("off", false)] {
        let lab = Lab::new(1)?;
        let configuration = format!("realtime = \"{setting}\"\n") + &routers(&[INTERFACE]);
        let mut agent = Agent::with_configuration(&lab, NODE, vipd()?, configuration)?;
        agent.start()?;
        wait_for_state(&agent, "master", TIMEOUT)?;
        for (name, policy) in policies(agent.pid()?)? {
            // The engine waits for the other two threads, so these two must not run at a lower
            // priority.
            let engine = ["engine", "addresses", "xdp-probe"].contains(&name.as_str());
            assert_eq!(policy == FIFO, wanted && engine, "{setting}: thread {name}");
        }
        let memory = fs::read_to_string(format!("/proc/{}/status", agent.pid()?))?;
        let locked = memory.lines().find_map(|line| line.strip_prefix("VmLck:")).context("no VmLck field")?;
        assert_eq!(locked.trim() != "0 kB", wanted, "{setting}: {locked} locked");
    }
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn discarded_adverts_are_logged_at_debug_level() -> TestResult {
    let lab = Lab::new(2)?;
    let mut agent = Agent::with_configuration(&lab, NODE, vipd()?, routers(&[INTERFACE]))?;
    agent.set_env("VIPD_LOG", "debug");
    agent.start()?;
    let injector = Injector::open(lab.host(PEER)?)?;
    let invalid = Advert { ttl: 254, ..PEER.advert(Version::V3, 51, 254) }.frame();
    try_wait_until("the discarded advert to be logged", TIMEOUT, || {
        // Adverts that arrive before the BPF program is attached are not reported.
        injector.send(&invalid)?;
        Ok(agent.log().iter().any(|line| line.text.contains("vrid 51") && line.text.contains("discarded")))
    })
    .with_context(|| format!("{:#?}", agent.log()))?;
    Ok(())
}

/// Load sharing: each node owns one address and backs up the other.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn two_routers_share_load_as_owner_and_backup() -> TestResult {
    let lab = Lab::new(2)?;
    let instance = |vrid: u8, priority: u8, address: Ipv4Addr| {
        format!(
            "[[instance]]\nname = \"VI_{vrid}\"\ninterface = \"{INTERFACE}\"\nvrid = {vrid}\npriority = {priority}\n\
             advert_interval = \"100ms\"\nvirtual_addresses = [\"{address}/{PREFIX}\"]\n"
        )
    };
    let (own, other) = (NODE.ipv4(), PEER.ipv4());
    let first = instance(1, 255, own) + &instance(2, 100, other);
    let second = instance(1, 100, own) + &instance(2, 255, other);
    let mut one = Agent::with_configuration(&lab, NODE, vipd()?, first)?;
    let mut two = Agent::with_configuration(&lab, PEER, vipd()?, second)?;
    one.start()?;
    two.start()?;
    let states = |agent: &Agent| -> Result<Vec<String>> {
        Ok(status(agent)?.iter().map(|instance| instance.text("state").to_owned()).collect())
    };
    try_wait_until("each node to be master of its own address", TIMEOUT, || {
        Ok(states(&one)? == ["master", "backup"] && states(&two)? == ["backup", "master"])
    })?;
    assert!(two.stop()?.success());
    try_wait_until("the remaining node to be master of both", TIMEOUT, || {
        Ok(states(&one)? == ["master", "master"])
    })?;
    assert!(one.stop()?.success());
    assert_eq!(addresses(lab.host(NODE)?)?, [own], "the host keeps its address");
    Ok(())
}

/// A configuration error must not remove the host's address.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn primary_address_configured_as_vip_is_never_removed() -> TestResult {
    let lab = Lab::new(1)?;
    let wrong = routers(&[INTERFACE]).replace("10.0.0.1", &format!("{}/{PREFIX}", NODE.ipv4()));
    let mut agent = Agent::with_configuration(&lab, NODE, vipd()?, wrong)?;
    agent.start()?;
    let report = wait_for_state(&agent, "fault", TIMEOUT)?;
    assert!(report.text("vipd:fault-reason").contains("is the primary address of"), "{report:?}");
    assert!(agent.stop()?.success());
    assert_eq!(addresses(lab.host(NODE)?)?, [NODE.ipv4()]);
    Ok(())
}

/// A bridge reports its ports in link messages of family AF_BRIDGE. When a port is detached, the
/// bridge sends RTM_DELLINK although the interface still exists.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn former_bridge_port_is_still_tracked() -> TestResult {
    const BRIDGE: &str = "br1";
    let lab = Lab::new(1)?;
    let mut agent = Agent::with_configuration(&lab, NODE, vipd()?, routers(&[INTERFACE]))?;
    agent.start()?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    lab.host(NODE)?.run(|| {
        links::add_bridge(BRIDGE)?;
        links::join_bridge(INTERFACE, BRIDGE)?;
        links::leave_bridge(INTERFACE)?;
        // Netlink messages are ordered: once this removal has been handled, the earlier messages
        // have been handled, too.
        links::remove_address(INTERFACE, Ipv4Addr::new(10, 0, 0, 1), 32)
    })?;
    try_wait_until("the address to be restored", TIMEOUT, || {
        Ok(counter(&agent, "vipd:addresses-restored")? == 1)
    })?;
    assert_eq!(counter(&agent, "master-transitions")?, 1);
    assert_eq!(status(&agent)?.first().context("no instance")?.text("state"), "master");
    Ok(())
}

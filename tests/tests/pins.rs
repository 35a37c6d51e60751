//! Pinned BPF links, which outlive the agent, and `vipd cleanup`.

use std::fs;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::client::{Client, uses_vip};
use vipd_tests::command::{address_line, run};
use vipd_tests::configuration::XdpMode;
use vipd_tests::control::{status, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::namespace::{Namespace, hide_pins};
use vipd_tests::process::{LogLine, output};
use vipd_tests::routers::has_address;
use vipd_tests::station::{Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Returns the names of the pins of all agents on a host.
fn pinned(host: &Namespace) -> Result<Vec<String>> {
    host.run(|| {
        let mut names = Vec::new();
        let Ok(agents) = fs::read_dir("/sys/fs/bpf/vipd") else { return Ok(names) };
        for agent in agents {
            for pin in fs::read_dir(agent?.path())? {
                names.push(pin?.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn pins_are_replaced_by_the_next_start_and_removed_by_a_clean_shutdown() -> TestResult {
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    let mut agent = Agent::new(&lab, NODE, vipd()?, &[Instance::default()])?;
    agent.start()?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    let pins = pinned(host)?;
    assert_eq!(pins.len(), 3, "two links and the map of VIPs: {pins:?}");
    agent.kill()?;
    assert_eq!(pinned(host)?, pins);
    // Each XDP mode has its own link and pin.
    agent.set_xdp_mode(XdpMode::Generic)?;
    agent.start()?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    let others = pinned(host)?;
    assert!(others.len() == 3 && others != pins, "{others:?}");
    agent.kill()?;
    agent.start()?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    assert_eq!(pinned(host)?, others);
    let replaced = |line: &LogLine| line.text.contains("replaces the program of a previous run");
    assert_eq!(agent.log().iter().filter(|line| replaced(line)).count(), 1, "{:#?}", agent.log());
    agent.stop()?;
    assert_eq!(pinned(host)?, Vec::<String>::new());
    assert!(!host.run(|| Path::new("/sys/fs/bpf/vipd").exists()));
    Ok(())
}

/// Runs vipd with these arguments. Returns whether it succeeded, and its output.
fn execute(host: &Namespace, arguments: &[&str]) -> Result<(bool, String)> {
    let mut command = Command::new(vipd_binary()?);
    command.env("VIPD_RUNTIME_DIR", Agent::runtime_dir()).args(arguments);
    let output = output(host, command)?;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.success(), String::from_utf8_lossy(&text).into_owned()))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn cleanup_removes_the_leftovers_of_a_dead_agent() -> TestResult {
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    let cleanup = || execute(host, &["cleanup"]);
    let instances = [
        Instance::default(),
        Instance {
            name: "VI_2".to_owned(),
            vrid: 52,
            addresses: vec![Ipv4Addr::new(192, 168, 122, 52).into()],
            virtual_mac: true,
            ..Instance::default()
        },
    ];
    let mut agent = Agent::new(&lab, NODE, vipd()?, &instances)?;
    agent.start()?;
    try_wait_until("both instances to be masters", TIMEOUT, || {
        Ok(status(&agent)?.iter().all(|instance| instance.text("state") == "master"))
    })?;
    try_wait_until("the VIP", TIMEOUT, || has_address(host, VIP))?;
    let (is_ok, text) = cleanup()?;
    assert!(!is_ok && text.contains("already running"), "{text}");
    agent.kill()?;
    let (is_ok, text) = cleanup()?;
    assert!(is_ok, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("removed virtual address ")).count(), 2, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("removed macvlan vrrp4-52")).count(), 1, "{text}");
    assert_eq!(text.lines().filter(|line| line.starts_with("removed BPF program of ")).count(), 2, "{text}");
    assert!(!has_address(host, VIP)? && pinned(host)?.is_empty());
    assert_eq!(cleanup()?, (true, "nothing to remove in this network namespace\n".to_owned()));
    Ok(())
}

/// After a crash and a takeover, the programs of the dead agent drop packets to its VIP.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn start_detaches_programs_of_a_dead_agent_whose_pins_are_not_visible() -> TestResult {
    check_start_after_crash_with_hidden_pins("auto")
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn start_detaches_xdp_program_of_a_dead_agent_whose_pins_are_not_visible() -> TestResult {
    check_start_after_crash_with_hidden_pins("generic")
}

fn check_start_after_crash_with_hidden_pins(mode: &str) -> TestResult {
    const FORMER: Ipv4Addr = Ipv4Addr::new(192, 168, 99, 1);
    let lab = Lab::new(2)?;
    let host = lab.host(NODE)?;
    host.run(|| {
        links::add_pair("eth9", "eth9-peer")?;
        ["eth9", "eth9-peer"].iter().try_for_each(|link| links::set_up(link))
    })?;
    run(host, "ip", &["address", "add", "192.0.2.1/32", "dev", "eth9"])?;
    let capture = lab.capture()?;
    let instance = |name: &str, interface: &str, vrid: u8, priority: u8, vip: Ipv4Addr| {
        format!(
            "[[instance]]\nname = \"{name}\"\ninterface = \"{interface}\"\nvrid = {vrid}\npriority = {priority}\n\
             advert_interval = \"100ms\"\nvirtual_addresses = [\"{vip}\"]\n"
        )
    };
    let agent = |station, instances: &[String]| {
        let configuration = format!("xdp = \"{mode}\"\n{}", instances.concat());
        Agent::with_configuration(&lab, station, vipd()?, configuration)
    };
    let preferred = instance("VI_1", "eth1", 51, 200, VIP);
    let mut first = agent(NODE, &[preferred.clone(), instance("VI_2", "eth9", 52, 100, FORMER)])?;
    first.start()?;
    try_wait_until("both instances to be masters", TIMEOUT, || {
        Ok(status(&first)?.iter().all(|instance| instance.text("state") == "master"))
    })?;
    let mut backup = agent(Station::Node(2), &[instance("VI_1", "eth1", 51, 100, VIP)])?;
    backup.start()?;
    wait_for_state(&backup, "backup", TIMEOUT)?;
    first.kill()?;
    wait_for_state(&backup, "master", TIMEOUT)?;
    backup.stop()?;
    host.run(hide_pins)?;
    assert!(has_address(host, VIP)?, "the stale VIP");
    assert!(address_line(host, FORMER.into())?.is_some(), "the stale VIP on eth9");
    // No longer uses `eth9`.
    let mut second = agent(NODE, &[preferred])?;
    second.start()?;
    assert_eq!(address_line(host, FORMER.into())?, None, "a stale VIP that is no longer configured");
    wait_for_state(&second, "master", TIMEOUT)?;
    let _client = Client::start(&lab)?;
    let start = WallTime::now();
    wait_until("answers for the VIP", TIMEOUT, || {
        capture.has(start, |frame| frame.from == NODE && uses_vip(frame))
    })?;
    let is_logged = |line: &LogLine| line.text.contains("detached BPF programs of a dead agent");
    assert_eq!(second.log().iter().filter(|line| is_logged(line)).count(), 1, "{:#?}", second.log());
    Ok(())
}

/// `vipd cleanup` also finds the programs of a dead agent whose pins are not visible if it is run
/// with another runtime directory.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn programs_whose_pins_are_not_visible_are_reported_and_cleaned_up() -> TestResult {
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    let instance = Instance { virtual_mac: true, ..Instance::default() };
    let mut agent = Agent::new(&lab, NODE, vipd()?, &[instance])?;
    agent.start()?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    let doctor = || execute(host, &["doctor", "--seconds", "1"]);
    host.run(hide_pins)?;
    let (_, text) = doctor()?;
    assert!(!text.contains("stale-programs"), "the agent is running: {text}");
    agent.kill()?;
    let (_, text) = doctor()?;
    assert!(text.contains("stale-programs"), "{text}");
    let (is_ok, text) = execute(host, &["--runtime-dir", "/dev/shm/other", "cleanup"])?;
    assert!(is_ok, "{text}");
    assert!(text.contains("removed macvlan vrrp4-51"), "{text}");
    let detached: Vec<&str> =
        text.lines().filter(|line| line.starts_with("removed BPF program of ")).collect();
    assert_eq!(detached.len(), 2, "{text}");
    assert!(["(tc)", "(egress)"].iter().all(|hook| text.contains(hook)), "{text}");
    let (_, text) = doctor()?;
    assert!(!text.contains("stale-programs"), "{text}");
    Ok(())
}

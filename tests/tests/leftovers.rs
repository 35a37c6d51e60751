//! Leftovers of dead agents. The next agent on their interfaces removes the VIPs and macvlans
//! before it detaches the BPF programs that fence the VIPs.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::programs::SchedClassifier;
use aya::programs::tc::TcAttachType;
use rustix::process::{Pid, Signal, kill_process_group};
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::client::{Client, uses_vip};
use vipd_tests::command::{address_line, run};
use vipd_tests::control::state;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::namespace::{Namespace, hide_pins};
use vipd_tests::process::{LogLine, output};
use vipd_tests::protocol::Version;
use vipd_tests::station::{Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(30);

/// An agent with its own runtime directory. Killing the agent does not kill its guardian.
struct Other {
    child: Child,
    directory: PathBuf,
}

impl Other {
    /// Starts the agent, and waits until all of `vips` are present.
    fn start(host: &Namespace, name: &str, configuration: String, vips: &[Ipv4Addr]) -> Result<Self> {
        let directory = Agent::runtime_dir().join(name);
        let file = directory.with_extension("toml");
        let mut command = Command::new(vipd_binary()?);
        command.arg("run").arg("-c").arg(&file).arg("--runtime-dir").arg(&directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        let child = host.run(move || -> Result<Child> {
            fs::write(&file, configuration)?;
            Ok(command.spawn()?)
        })?;
        let other = Self { child, directory };
        try_wait_until(&format!("the VIPs of {name}"), TIMEOUT, || {
            Ok(present(host, vips)?.len() == vips.len())
        })?;
        Ok(other)
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Returns how often the agent has restored a VIP that another process had removed.
    fn restored(&self, host: &Namespace) -> Result<u64> {
        let mut command = Command::new(vipd_binary()?);
        command.arg("--runtime-dir").arg(&self.directory).args(["stats", "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output(host, command)?.stdout)?;
        let instance = &report["instances"][0];
        instance["statistics"]["vipd:addresses-restored"].as_u64().with_context(|| format!("{report}"))
    }

    /// Returns whether the agent's guardian runs.
    fn has_guardian(&self, host: &Namespace) -> Result<bool> {
        let sockets = host.run(|| fs::read_to_string("/proc/thread-self/net/unix"))?;
        Ok(sockets
            .lines()
            .any(|line| line.ends_with(&format!("@vipd-guardian {}", self.directory.display()))))
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Kills the agent and its guardian. Drop cannot report an error.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn instance(name: &str, interface: &str, vrid: u8, settings: &str) -> String {
    format!(
        "[[instance]]\nname = \"{name}\"\ninterface = \"{interface}\"\nvrid = {vrid}\n\
         advert_interval = \"100ms\"\n{settings}\n"
    )
}

fn with_vip(name: &str, interface: &str, vrid: u8, address: Ipv4Addr) -> String {
    instance(name, interface, vrid, &format!("virtual_addresses = [\"{address}\"]"))
}

/// Returns the subset of `addresses` that is present on the host.
fn present(host: &Namespace, addresses: &[Ipv4Addr]) -> Result<Vec<Ipv4Addr>> {
    let mut present = Vec::new();
    for address in addresses {
        if address_line(host, (*address).into())?.is_some() {
            present.push(*address);
        }
    }
    Ok(present)
}

fn add_interface(host: &Namespace, name: &str) -> Result<()> {
    let peer = format!("{name}-peer");
    host.run({
        let name = name.to_owned();
        move || {
            links::add_pair(&name, &peer)?;
            [&name, &peer].iter().try_for_each(|link| links::set_up(link))
        }
    })
}

/// Returns the names of the pins of all agents on a host.
fn pinned(host: &Namespace) -> Result<Vec<String>> {
    host.run(|| {
        let mut names = Vec::new();
        for agent in fs::read_dir("/sys/fs/bpf/vipd")? {
            for pin in fs::read_dir(agent?.path())? {
                names.push(pin?.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    })
}

/// Returns the name of the runtime directory of each agent that has pins.
fn owners(host: &Namespace) -> Result<Vec<String>> {
    host.run(|| {
        let Ok(directories) = fs::read_dir("/sys/fs/bpf/vipd") else { return Ok(Vec::new()) };
        let names = directories.map(|entry| {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let (_, agent) = name.split_once('-').context("a pin directory without a network namespace")?;
            Ok(agent.rsplit("%2f").next().unwrap_or_default().to_owned())
        });
        let mut names = names.collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    })
}

/// Returns the number of programs at TC ingress and egress of an interface.
fn programs(host: &Namespace, interface: &'static str) -> Result<usize> {
    host.run(move || {
        let hooks = [TcAttachType::Ingress, TcAttachType::Egress];
        let counts =
            hooks.map(|hook| SchedClassifier::query_tcx(interface, hook).map(|(_, found)| found.len()));
        Ok(counts.into_iter().sum::<Result<usize, _>>()?)
    })
}

/// The dead agent had another runtime directory and other VIPs. A third agent, which is running,
/// has a VIP on the same interface that the dead agent also had.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn start_removes_leftovers_of_a_dead_agent_with_another_runtime_directory() -> TestResult {
    check_leftovers_of_another_agent(false)
}

/// As in the test above, but the agent does not see the pins of the other two.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn start_removes_leftovers_of_a_dead_agent_in_another_mount_namespace() -> TestResult {
    check_leftovers_of_another_agent(true)
}

fn check_leftovers_of_another_agent(are_pins_hidden: bool) -> TestResult {
    const STALE: [Ipv4Addr; 3] =
        [Ipv4Addr::new(10, 0, 0, 51), Ipv4Addr::new(10, 0, 0, 52), Ipv4Addr::new(10, 0, 0, 53)];
    const LIVE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 1, 0, 1), Ipv4Addr::new(10, 1, 0, 2)];
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    for name in ["eth8", "eth9"] {
        add_interface(host, name)?;
        run(host, "ip", &["address", "add", "192.0.2.1/32", "dev", name])?;
    }
    let [plain, on_macvlan, elsewhere] = STALE;
    let [own, shared] = LIVE;
    let former = instance("VI_1", "eth1", 51, &format!("virtual_addresses = [\"{plain}\"]"))
        + &instance(
            "VI_2",
            "eth1",
            52,
            &format!("virtual_mac = true\nvirtual_addresses = [\"{on_macvlan}\"]"),
        )
        + &instance(
            "VI_3",
            "eth1",
            53,
            &format!("virtual_addresses = [{{ address = \"{elsewhere}\", dev = \"eth9\" }}]"),
        )
        + &with_vip("VI_4", "eth1", 54, shared);
    let third = instance(
        "VI_1",
        "eth8",
        8,
        &format!("virtual_addresses = [\"{own}\", {{ address = \"{shared}\", dev = \"eth1\" }}]"),
    );
    let mut former = Other::start(host, "former", former, &STALE)?;
    let third = Other::start(host, "third", third, &LIVE)?;
    former.kill()?;
    let restored = third.restored(host)?;
    assert!(former.has_guardian(host)?);
    assert_eq!(present(host, &STALE)?, STALE);
    if are_pins_hidden {
        host.run(hide_pins)?;
    }
    let instances = [Instance { vrid: 60, ..Instance::default() }];
    let mut agent = Agent::new(&lab, NODE, vipd()?, &instances)?;
    agent.start()?;
    assert_eq!(present(host, &STALE)?, [] as [Ipv4Addr; 0], "{:#?}", agent.log());
    assert_eq!(present(host, &LIVE)?, LIVE, "VIPs of a running agent");
    assert_eq!(third.restored(host)?, restored, "VIPs of a running agent that were removed");
    let names = host.run(links::names)?;
    assert!(!names.iter().any(|name| name.starts_with("vrrp")), "{names:?}");
    assert!(!former.has_guardian(host)?);
    let name = Agent::runtime_dir().file_name().and_then(|name| name.to_str()).context("no name")?;
    let others = if are_pins_hidden { [].as_slice() } else { &["third"] };
    assert_eq!(owners(host)?, [&[name], others].concat());
    let detaching = |line: &LogLine| line.text.contains("detaching the BPF programs of a dead agent");
    assert_eq!(agent.log().iter().filter(|line| detaching(line)).count(), 1, "{:#?}", agent.log());
    try_wait_until("the instance to be master", TIMEOUT, || Ok(state(&agent)? == "master"))?;
    assert_eq!(programs(host, "eth8")?, 2, "the programs of a running agent");
    assert_eq!(programs(host, "eth9")?, 0);
    agent.stop()?;
    assert_eq!(owners(host)?, others);
    Ok(())
}

/// If stale VIPs were not removed, the host would answer for them once the programs of the previous
/// run are detached, or replaced by programs whose map does not contain the VIPs. When the agent
/// starts again, one stale VIP is fenced, a client keeps sending requests for this VIP, and another
/// agent is running.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn start_removes_vips_that_are_no_longer_configured() -> TestResult {
    const KEPT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const STALE: [Ipv4Addr; 2] = [VIP, Ipv4Addr::new(10, 0, 0, 3)];
    const LIVE: [Ipv4Addr; 1] = [Ipv4Addr::new(10, 1, 0, 1)];
    let lab = Lab::new(1)?;
    let capture = lab.capture()?;
    let host = lab.host(NODE)?;
    for name in ["eth8", "eth9"] {
        add_interface(host, name)?;
        run(host, "ip", &["address", "add", "192.0.2.1/32", "dev", name])?;
    }
    let _live = Other::start(host, "other", with_vip("VI_1", "eth8", 8, LIVE[0]), &LIVE)?;
    let kept = with_vip("VI_1", "eth1", 1, KEPT);
    let stale = [with_vip("VI_2", "eth1", 51, STALE[0]), with_vip("VI_3", "eth9", 3, STALE[1])].concat();
    let mut agent = Agent::with_configuration(&lab, NODE, vipd()?, format!("{kept}{stale}"))?;
    agent.start()?;
    try_wait_until("the VIPs", TIMEOUT, || Ok(present(host, &[KEPT, STALE[0], STALE[1]])?.len() == 3))?;
    let asked = WallTime::now();
    let client = Client::start(&lab)?;
    let answers =
        |since| capture.filter_map(since, |frame| (frame.from == NODE && uses_vip(frame)).then_some(()));
    wait_until("answers", TIMEOUT, || !answers(asked).is_empty())?;
    agent.kill()?;
    let lease_is_over = WallTime::now() + Duration::from_millis(200);
    wait_until("the end of the lease", TIMEOUT, || WallTime::now() > lease_is_over)?;
    let takeover = WallTime::now();
    let other_router = Injector::open(lab.host(Station::Client)?)?;
    other_router.send(&Station::Client.advert(Version::V3, 51, 1).frame())?;
    wait_until("the advert", TIMEOUT, || {
        capture.has(takeover, |frame| frame.claims_mastership(Station::Client))
    })?;
    // Answers that are in flight when the advert arrives do not count.
    let fenced = WallTime::now() + Duration::from_millis(5);
    assert_eq!(present(host, &STALE)?, STALE);
    agent.configure(kept)?;
    agent.start()?;
    assert_eq!(present(host, &STALE)?, [] as [Ipv4Addr; 0], "{:#?}", agent.log());
    assert_eq!(present(host, &LIVE)?, LIVE, "VIP of a running agent");
    try_wait_until("the VIP", TIMEOUT, || Ok(present(host, &[KEPT])?.len() == 1))?;
    client.stop()?;
    assert_eq!(answers(fenced).len(), 0, "answers after another router had taken over");
    Ok(())
}

/// An interface with virtual routers becomes an address-only interface in the next run, and vice
/// versa. If the program of the previous run stayed attached, it would continue to drop packets to
/// a VIP that was fenced when that run ended.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn programs_that_an_interface_no_longer_needs_are_detached() -> TestResult {
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    add_interface(host, "eth9")?;
    run(host, "ip", &["address", "add", "192.0.2.1/32", "dev", "eth9"])?;
    let elsewhere = format!("virtual_addresses = [{{ address = \"{VIP}\", dev = \"eth1\" }}]");
    let here = with_vip("VI_1", "eth1", 51, VIP);
    let there = instance("VI_1", "eth9", 51, &elsewhere);
    let mut agent = Agent::with_configuration(&lab, NODE, vipd()?, here.clone())?;
    let ifindex = host.run(|| links::index("eth1"))?;
    let hooks = || -> Result<Vec<String>> {
        let mut hooks = pinned(host)?;
        hooks.retain_mut(|name| {
            name.strip_prefix(&format!("{ifindex}-")).map(str::to_owned).is_some_and(|hook| {
                *name = hook;
                true
            })
        });
        Ok(hooks)
    };
    for (configuration, expected) in
        [(&here, ["egress", "tc"]), (&there, ["egress", "ingress"]), (&here, ["egress", "tc"])]
    {
        agent.configure(configuration.clone())?;
        agent.start()?;
        try_wait_until("the VIP", TIMEOUT, || Ok(present(host, &[VIP])?.len() == 1))?;
        assert_eq!(hooks()?, expected);
        agent.kill()?;
    }
    Ok(())
}

/// The map of VIPs stays pinned across an upgrade, so an agent that starts after a crash of the
/// successor finds the VIPs to remove.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_of_a_killed_successor_are_removed_at_the_next_start() -> TestResult {
    const KEPT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    let kept = with_vip("VI_1", "eth1", 1, KEPT);
    let configuration = format!("{kept}{}", with_vip("VI_2", "eth1", 51, VIP));
    let mut agent = Agent::with_configuration(&lab, NODE, vipd()?, configuration)?;
    agent.run_below_init();
    agent.start()?;
    try_wait_until("the VIPs", TIMEOUT, || Ok(present(host, &[KEPT, VIP])?.len() == 2))?;
    let pins = pinned(host)?;
    let runtime = Agent::runtime_dir().display().to_string();
    run(host, &vipd_binary()?.display().to_string(), &["upgrade", "--runtime-dir", &runtime])?;
    try_wait_until("the pins", TIMEOUT, || Ok(pinned(host)? == pins))?;
    agent.kill()?;
    assert_eq!(present(host, &[KEPT, VIP])?.len(), 2);
    // While another agent runs, only the map shows that the VIP belonged to the killed agent.
    add_interface(host, "eth8")?;
    run(host, "ip", &["address", "add", "192.0.2.1/32", "dev", "eth8"])?;
    let other = Ipv4Addr::new(10, 1, 0, 1);
    let _other = Other::start(host, "other", with_vip("VI_1", "eth8", 8, other), &[other])?;
    agent.configure(kept)?;
    agent.start()?;
    assert_eq!(present(host, &[VIP])?, [] as [Ipv4Addr; 0], "{:#?}", agent.log());
    Ok(())
}

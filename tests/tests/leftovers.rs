//! What dead agents have left is removed by the next agent on their interfaces, before the BPF
//! programs that fence their VIPs are detached.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::command::{address_line, run};
use vipd_tests::control::state;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::namespace::Namespace;
use vipd_tests::process::LogLine;
use vipd_tests::station::Station;
use vipd_tests::wait::try_wait_until;

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(30);

/// An agent with a runtime directory of its own. Its guardian survives it.
struct Other {
    child: Child,
    directory: PathBuf,
}

impl Other {
    /// Starts the agent, and waits until all its VIPs are present.
    fn start(host: &Namespace, name: &str, configuration: String, vips: &[Ipv4Addr]) -> Result<Self> {
        let directory = Agent::runtime_dir().join(name);
        let file = directory.with_extension("toml");
        let mut command = Command::new(vipd_binary()?);
        command.arg("run").arg("-c").arg(&file).arg("--runtime-dir").arg(&directory);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
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
        // Fails if the agent has been killed.
        let _ = self.kill();
    }
}

fn instance(name: &str, interface: &str, vrid: u8, settings: &str) -> String {
    format!(
        "[[instance]]\nname = \"{name}\"\ninterface = \"{interface}\"\nvrid = {vrid}\n\
         advert_interval = \"100ms\"\n{settings}\n"
    )
}

/// Returns those of the addresses that the host has.
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

/// Returns the directories of agents with pins.
fn owners(host: &Namespace) -> Result<Vec<String>> {
    host.run(|| {
        let names = fs::read_dir("/sys/fs/bpf/vipd")?.map(|entry| {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let (_, agent) = name.split_once('-').context("the network namespace")?;
            Ok(agent.rsplit("%2f").next().unwrap_or_default().to_owned())
        });
        let mut names = names.collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    })
}

/// The former agent ran with another runtime directory and had other VIPs. A third agent runs, with a
/// VIP on the same interface.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn start_removes_what_a_dead_agent_with_another_runtime_directory_has_left() -> TestResult {
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
        );
    let [own, shared] = LIVE;
    let third = instance(
        "VI_1",
        "eth8",
        8,
        &format!("virtual_addresses = [\"{own}\", {{ address = \"{shared}\", dev = \"eth1\" }}]"),
    );
    let mut former = Other::start(host, "former", former, &STALE)?;
    let _third = Other::start(host, "third", third, &LIVE)?;
    former.kill()?;
    assert!(former.has_guardian(host)?);
    assert_eq!(present(host, &STALE)?, STALE);
    let instances = [Instance { vrid: 60, ..Instance::default() }];
    let mut agent = Agent::new(&lab, NODE, vipd()?, &instances)?;
    agent.start()?;
    assert_eq!(present(host, &STALE)?, [] as [Ipv4Addr; 0], "{:#?}", agent.log());
    assert_eq!(present(host, &LIVE)?, LIVE, "VIPs of an agent that runs");
    let names = host.run(links::names)?;
    assert!(!names.iter().any(|name| name.starts_with("vrrp")), "{names:?}");
    assert!(!former.has_guardian(host)?);
    let name = Agent::runtime_dir().file_name().and_then(|name| name.to_str()).context("a name")?;
    assert_eq!(owners(host)?, [name, "third"]);
    let detaching = |line: &LogLine| line.text.contains("detaching the BPF programs of a dead agent");
    assert_eq!(agent.log().iter().filter(|line| detaching(line)).count(), 1, "{:#?}", agent.log());
    try_wait_until("the instance to be master", TIMEOUT, || Ok(state(&agent)? == "master"))?;
    agent.stop()?;
    assert_eq!(owners(host)?, ["third"]);
    Ok(())
}

/// The host would answer for the VIPs once the programs of the previous run are detached, or replaced
/// by programs that do not know them. Another agent runs.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn start_removes_vips_that_are_no_longer_configured() -> TestResult {
    const KEPT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    const STALE: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3)];
    const LIVE: [Ipv4Addr; 1] = [Ipv4Addr::new(10, 1, 0, 1)];
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    for name in ["eth8", "eth9"] {
        add_interface(host, name)?;
        run(host, "ip", &["address", "add", "192.0.2.1/32", "dev", name])?;
    }
    let vip = |name: &str, interface: &str, vrid: u8, address: Ipv4Addr| {
        instance(name, interface, vrid, &format!("virtual_addresses = [\"{address}\"]"))
    };
    let _live = Other::start(host, "other", vip("VI_1", "eth8", 8, LIVE[0]), &LIVE)?;
    let kept = vip("VI_1", "eth1", 1, KEPT);
    let configuration =
        [&*kept, &vip("VI_2", "eth1", 2, STALE[0]), &vip("VI_3", "eth9", 3, STALE[1])].concat();
    let mut agent = Agent::with_configuration(&lab, NODE, vipd()?, configuration)?;
    agent.start()?;
    try_wait_until("the VIPs", TIMEOUT, || Ok(present(host, &[KEPT, STALE[0], STALE[1]])?.len() == 3))?;
    agent.kill()?;
    agent.configure(kept)?;
    agent.start()?;
    assert_eq!(present(host, &STALE)?, [] as [Ipv4Addr; 0], "{:#?}", agent.log());
    let attached = |line: &LogLine| line.text.contains("BPF program attached");
    let removed = |line: &LogLine| line.text.contains("removed stale VIP");
    let log = agent.log();
    let last_removed = log.iter().rposition(removed).context("no VIP was removed")?;
    let first_attached = log.iter().rposition(attached).context("no program was attached")?;
    assert!(last_removed < first_attached, "{log:#?}");
    assert_eq!(present(host, &LIVE)?, LIVE, "VIP of an agent that runs");
    try_wait_until("the VIP", TIMEOUT, || Ok(present(host, &[KEPT])?.len() == 1))?;
    Ok(())
}

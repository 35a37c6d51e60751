//! `vipd doctor` names each trouble of `docs/troubles.md`, provoked here.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use vipd_tests::agent::{Agent, AgentKind, Instance};
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::command;
use vipd_tests::configuration::XdpMode;
use vipd_tests::control::{wait_for, wait_for_state};
use vipd_tests::foreign_program::{ForeignProgram, Kind};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::routers::start_agent;
use vipd_tests::station::{INTERFACE, Station, VIP};
use vipd_witness::{Advert, Checksum, Mac, Version};

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);
/// How long doctor observes: several intervals of 100 ms.
const SECONDS: &str = "1.2";

/// The output of doctor.
struct Diagnosis {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Diagnosis {
    /// Returns the evidence of a trouble.
    #[track_caller]
    fn evidence(&self, check: &str) -> &str {
        let finding = self.findings.iter().find(|finding| finding["check"] == check);
        let finding = finding.unwrap_or_else(|| panic!("no {check} in {:#?}", self.findings));
        assert_ne!(finding["remedy"], "");
        finding["evidence"].as_str().unwrap_or_default()
    }

    fn names(&self) -> Vec<&str> {
        self.findings.iter().filter_map(|finding| finding["check"].as_str()).collect()
    }
}

/// Runs doctor on node 1 with a configuration file there.
fn doctor_with(lab: &Lab, file: &str) -> Diagnosis {
    doctor_for(lab, file, SECONDS)
}

fn doctor_for(lab: &Lab, file: &str, seconds: &str) -> Diagnosis {
    let mut command = Command::new(vipd_binary().unwrap());
    command.env("VIPD_RUNTIME_DIR", Agent::runtime_dir());
    command.args(["doctor", "--json", "--seconds", seconds, "-c", file]);
    diagnose(lab, command)
}

/// Runs doctor on node 1.
fn diagnose(lab: &Lab, mut command: Command) -> Diagnosis {
    let output = lab.host(ONE).unwrap().run(move || command.output()).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    Diagnosis { code: output.status.code(), findings: report["vipd:findings"].as_array().unwrap().clone() }
}

fn configuration() -> String {
    Agent::runtime_dir().join("vipd.toml").display().to_string()
}

fn doctor(lab: &Lab) -> Diagnosis {
    doctor_with(lab, &configuration())
}

/// Writes a configuration file on node 1 and returns its path.
fn write(lab: &Lab, name: &str, text: &str) -> String {
    let path = Agent::runtime_dir().join(name);
    let (to, text) = (path.clone(), text.to_owned());
    lab.host(ONE).unwrap().run(move || fs::write(to, text)).unwrap();
    path.display().to_string()
}

fn run(lab: &Lab, station: Station, line: &str) {
    let words: Vec<_> = line.split_whitespace().collect();
    command::run(lab.host(station).unwrap(), words[0], &words[1..]).unwrap();
}

/// Runs doctor while node 2 sends each of these frames every `pause`.
fn doctor_during(lab: &Lab, frames: &[Vec<u8>], pause: Duration) -> Diagnosis {
    let injector = Injector::open(lab.host(TWO).unwrap()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                injector.send_all(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
                thread::sleep(pause);
            }
        });
        let diagnosis = doctor(lab);
        stop.store(true, Ordering::Relaxed);
        diagnosis
    })
}

fn instance() -> Instance {
    Instance { priority: 150, interval: Duration::from_millis(100), ..Instance::default() }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn healthy_master_and_backup_have_no_problem() {
    let lab = Lab::new(2).unwrap();
    let instance = Instance { interval: Duration::from_millis(500), ..instance() };
    let backup = start_agent(&lab, ONE, slice::from_ref(&instance)).unwrap();
    let master = start_agent(&lab, TWO, &[Instance { priority: 200, ..instance }]).unwrap();
    wait_for_state(&master, "master", TIMEOUT).unwrap();
    wait_for(&backup, "backup of node 2", TIMEOUT, |status| {
        status.text("state") == "backup" && status.address("last-adv-source").is_some()
    })
    .unwrap();
    // Real-time scheduling depends on the machine, and regular adverts on its load.
    let is_healthy = || {
        let found = doctor_for(&lab, &configuration(), "2.5");
        let names =
            found.names().into_iter().filter(|name| !matches!(*name, "not-real-time" | "irregular-adverts"));
        let names: Vec<_> = names.collect();
        assert_eq!((names, found.code), (vec![], Some(0)), "{:#?}", found.findings);
    };
    is_healthy();
    drop(master);
    wait_for_state(&backup, "master", TIMEOUT).unwrap();
    is_healthy();
}

/// The instances of node 1 for the troubles on the wire.
const WIRE: &str = r#"
[[instance]]
name = "VI_1"
interface = "eth1"
vrid = 51
priority = 150
advert_interval = "100ms"
virtual_addresses = ["192.168.122.50/24"]

[[instance]]
name = "V6"
interface = "eth1"
vrid = 52
priority = 150
advert_interval = "100ms"
virtual_addresses = ["fe80::50/64", "fd00:122::50/64"]

[[instance]]
name = "PASS"
interface = "eth1"
vrid = 53
version = 2
priority = 150
advert_interval = "1s"
auth_pass = "secret"
virtual_addresses = ["192.168.122.53/24"]

[[instance]]
name = "OWNER"
interface = "eth1"
vrid = 54
priority = 255
advert_interval = "100ms"
virtual_addresses = ["192.168.122.54/24"]

[[instance]]
name = "UNICAST"
interface = "eth1"
vrid = 55
priority = 150
advert_interval = "100ms"
unicast_source = "192.168.122.11"
unicast_peers = ["192.168.122.99"]
virtual_addresses = ["192.168.122.55/24"]
"#;

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn troubles_on_the_wire_are_named() {
    let lab = Lab::new(2).unwrap();
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().unwrap(), WIRE.to_owned()).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();

    let base = Advert { interval: 10, ..TWO.advert(Version::V3, 51, 100) };
    let vip = |host: u8| vec![Ipv4Addr::new(192, 168, 122, host).into()];
    let v2 =
        Advert { addresses: vip(53), authentication: *b"geheim\0\0", ..TWO.advert(Version::V2, 53, 100) };
    let unicast = |vrid: u8| Advert {
        destination: ONE.ipv4().into(),
        destination_mac: ONE.mac(),
        vrid,
        ..base.clone()
    };
    let v6 = Advert {
        source_mac: TWO.mac(),
        interval: 10,
        addresses: vec![Ipv6Addr::new(0xfd00, 0x122, 0, 0, 0, 0, 0, 0x50).into()],
        ..Advert::new(Version::V3, 52, 100, TWO.link_local())
    };
    let cases: &[(&str, &str, Advert)] = &[
        ("two-masters", "192.168.122.12: VRRPv3, priority 100", base.clone()),
        ("version-mismatch", "it sends VRRPv2", TWO.advert(Version::V2, 51, 100)),
        ("checksum-form", "it sends rfc9568", Advert { checksum: Checksum::Message, ..base.clone() }),
        ("checksum-wrong", "no form of checksum fits", Advert { corrupt: vec![22], ..base.clone() }),
        ("interval-mismatch", "it sends 300ms", Advert { interval: 30, ..base.clone() }),
        (
            "address-list-mismatch",
            "it advertises 192.168.122.50, 192.168.122.60",
            Advert { addresses: [vip(50), vip(60)].concat(), ..base.clone() },
        ),
        ("vrid-conflict", "it advertises 192.168.122.60", Advert { addresses: vip(60), ..base.clone() }),
        ("ttl-too-low", "TTL 64", Advert { ttl: 64, ..base.clone() }),
        ("transport-mismatch", "destination 192.168.122.11", unicast(51)),
        ("equal-priority", "priority 150", Advert { priority: 150, ..base.clone() }),
        ("malformed-adverts", "unknown VRRP type", Advert { kind: 2, ..base.clone() }),
        ("foreign-vrid", "VRID 77 (IPv4) from 192.168.122.12", Advert { vrid: 77, ..base.clone() }),
        ("vlan-tagged", "192.168.122.12 in VLAN 7", Advert { tags: vec![(0x8100, 7)], ..base.clone() }),
        ("first-not-link-local", "fd00:122::50", v6),
        ("authentication-mismatch", "password mismatch", Advert { interval: 0x0101, ..v2 }),
        (
            "two-owners",
            "priority 255",
            Advert { vrid: 54, priority: 255, addresses: vip(54), ..base.clone() },
        ),
        ("unknown-peer", "unicast_peers here: 192.168.122.99", unicast(55)),
    ];
    for (check, evidence, advert) in cases {
        let diagnosis = doctor_during(&lab, &[advert.frame()], Duration::from_millis(100));
        let found = diagnosis.evidence(check);
        assert!(found.contains(evidence), "{check}: {found}");
    }
    let slow = Advert { priority: 200, ..base.clone() }.frame();
    let diagnosis = doctor_during(&lab, &[slow], Duration::from_millis(250));
    assert!(diagnosis.evidence("irregular-adverts").contains("its interval is 100ms"));
    let often = Advert { interval: 100, ..base.clone() }.frame();
    let diagnosis = doctor_during(&lab, &[often], Duration::from_millis(20));
    assert!(diagnosis.evidence("advert-flood").contains("its interval is 1s"));
    let twin = Advert { source_mac: Mac([2, 0, 0, 0, 0, 0x77]), ..base.clone() }.frame();
    let diagnosis = doctor_during(&lab, &[base.frame(), twin], Duration::from_millis(100));
    assert!(diagnosis.evidence("duplicate-source").contains("02:00:00:00:00:77"));

    lab.host(TWO).unwrap().run(|| links::add_address(INTERFACE, VIP, 24)).unwrap();
    let diagnosis = doctor(&lab);
    assert!(diagnosis.evidence("duplicate-vip").contains("02:00:00:00:00:02 answered for 192.168.122.50"));
    assert!(diagnosis.evidence("peer-unreachable").contains("192.168.122.99"));
    assert_eq!(diagnosis.code, Some(1));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn troubles_of_the_agent_are_named() {
    let lab = Lab::new(1).unwrap();
    let mut agent = Agent::new(&lab, ONE, vipd().unwrap(), &[instance()]).unwrap();
    agent.set_option("realtime", "off").unwrap();
    agent.set_option("fence", "off").unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let changed = write(
        &lab,
        "changed.toml",
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"200ms\"\n\
         virtual_addresses = [\"192.168.122.50/24\"]\n",
    );
    let diagnosis = doctor_with(&lab, &changed);
    assert!(diagnosis.evidence("configuration-not-applied").contains("VI_1: interval is 100ms in the agent"));
    let broken = write(&lab, "broken.toml", "[[instance]]\nname = \"VI_1\"\n");
    assert!(doctor_with(&lab, &broken).evidence("configuration-invalid").contains("broken.toml:1:"));
    let diagnosis = doctor(&lab);
    assert!(diagnosis.evidence("not-real-time").contains("SCHED_FIFO"));
    assert!(diagnosis.evidence("fence-off").contains("fence"));
    assert_eq!(diagnosis.code, Some(0), "{:#?}", diagnosis.findings);

    let mut elsewhere = Command::new("unshare");
    elsewhere.args(["--net"]).arg(vipd_binary().unwrap()).env("VIPD_RUNTIME_DIR", Agent::runtime_dir());
    elsewhere.args(["doctor", "--json", "--seconds", "0.1", "-c", &configuration()]);
    let diagnosis = diagnose(&lab, elsewhere);
    assert!(diagnosis.evidence("agent-elsewhere").contains("network namespaces of both processes differ"));

    agent.pause().unwrap();
    let diagnosis = doctor(&lab);
    assert!(diagnosis.evidence("agent-silent").contains("did not reply within 5 s"));
    assert!(diagnosis.evidence("no-master").contains("no advert on eth1"));
    agent.resume().unwrap();

    lab.cut(ONE).unwrap();
    wait_for_state(&agent, "fault", TIMEOUT).unwrap();
    let diagnosis = doctor(&lab);
    assert!(diagnosis.evidence("instance-fault").contains("eth1"), "{:#?}", diagnosis.findings);
    assert_eq!(diagnosis.code, Some(1));
    lab.reconnect(ONE).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();

    agent.kill().unwrap();
    let diagnosis = doctor(&lab);
    assert!(diagnosis.evidence("agent-not-running").contains("no agent is running"));
    assert!(diagnosis.evidence("stale-addresses").contains("192.168.122.50/24"));
    assert_eq!(diagnosis.code, Some(1));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn host_problems_are_named() {
    let lab = Lab::new(1).unwrap();
    let agent = start_agent(&lab, ONE, &[instance()]).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let daemon = Instance { name: "other".to_owned(), vrid: 99, addresses: vec![], ..instance() };
    let daemon = Instance { addresses: vec![Ipv4Addr::new(192, 168, 122, 99).into()], ..daemon };
    let mut keepalived = Agent::new(&lab, ONE, AgentKind::Keepalived, &[daemon]).unwrap();
    keepalived.start().unwrap();
    let foreign = ForeignProgram::attach(lab.host(ONE).unwrap(), INTERFACE, Kind::PassingXdp).unwrap();
    run(&lab, ONE, "ip link set eth1 multicast off");
    run(&lab, ONE, "ip address add 192.168.122.50/32 dev lo");
    run(&lab, ONE, "ip link add eth9 type veth peer name peer9");
    run(&lab, ONE, "ip link set eth9 up");
    run(&lab, ONE, "ip address add 192.168.122.19/24 dev eth9");
    let diagnosis = doctor(&lab);
    for (check, evidence) in [
        ("other-daemon", "keepalived (process"),
        ("other-xdp-program", "XDP program"),
        ("multicast-off", "MULTICAST"),
        ("vip-configured-elsewhere", "192.168.122.50 is on lo"),
        ("arp-flux", "of eth9, whose arp_ignore is 0"),
    ] {
        let found = diagnosis.evidence(check);
        assert!(found.contains(evidence), "{check}: {found}");
    }
    assert!(diagnosis.evidence("other-xdp-program").contains(&foreign.id().to_string()));
    drop(keepalived);

    run(&lab, ONE, "ip link add br7 type bridge mcast_snooping 1");
    let bridged = write(
        &lab,
        "bridged.toml",
        "[[instance]]\nname = \"LAN\"\ninterface = \"br7\"\nvrid = 7\nvirtual_addresses = [\"192.0.2.7/24\"]\n",
    );
    assert!(doctor_with(&lab, &bridged).evidence("snooping-without-querier").contains("mcast_querier is 0"));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn cost_of_native_xdp_is_named() {
    let lab = Lab::new(1).unwrap();
    let mut agent = Agent::new(&lab, ONE, vipd().unwrap(), &[instance()]).unwrap();
    agent.set_xdp_mode(XdpMode::Native).unwrap();
    agent.start().unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let diagnosis = doctor(&lab);
    assert!(
        diagnosis.evidence("native-xdp-cost").contains("native mode on veth disables segmentation offload")
    );
    assert_eq!(diagnosis.code, Some(0), "{:#?}", diagnosis.findings);
}

//! `vipd import`: a node with the translated configuration behaves on the wire like keepalived with
//! the original, and nodes can be replaced one at a time, with an interruption only when a master
//! stops.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use vipd_tests::agent::{Agent, AgentKind};
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::capture::Capture;
use vipd_tests::command::run;
use vipd_tests::control::wait_for_state;
use vipd_tests::frame::{Advert, Frame};
use vipd_tests::lab::Lab;
use vipd_tests::probe::Prober;
use vipd_tests::station::{INTERFACE, Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);

/// Instances of both versions and families, over multicast and unicast.
const ORIGINAL: &str = "
$VIP=192.168.122
global_defs {
    script_user root
    vrrp_garp_master_delay 1
}
vrrp_script always {
    script \"/bin/true\"
    interval 1
    weight 5
}
vrrp_instance PASSWORD {
    state BACKUP
    interface eth1
    virtual_router_id 51
    priority PRIORITY
    advert_int 1
    authentication {
        auth_type PASS
        auth_pass longer-than-8
    }
    virtual_ipaddress {
        ${VIP}.50/24
    }
}
vrrp_instance FAST {
    interface eth1
    virtual_router_id 52
    version 3
    priority PRIORITY
    advert_int 0.1
    track_script {
        always
    }
    virtual_ipaddress {
        ${VIP}.51 label eth1:v
        ${VIP}.52/25 brd + scope link
    }
}
vrrp_instance SIX {
    interface eth1
    virtual_router_id 53
    priority PRIORITY
    advert_int 0.1
    virtual_ipaddress {
        fe80::50/64
        fd00:122::50/64
        fd00:122::51
    }
    virtual_ipaddress_excluded {
        ${VIP}.53/24
    }
}
vrrp_instance UNICAST {
    interface eth1
    virtual_router_id 54
    priority PRIORITY
    unicast_src_ip SOURCE
    unicast_peer {
        PEER
    }
    virtual_ipaddress {
        ${VIP}.54/24
    }
}
";

/// VRIDs of [`ORIGINAL`].
const VRIDS: [u8; 4] = [51, 52, 53, 54];

/// Returns keepalived's configuration of a node.
fn original(station: Station) -> String {
    let (priority, peer) = if station == ONE { ("150", TWO) } else { ("100", ONE) };
    ORIGINAL
        .replace("PRIORITY", priority)
        .replace("SOURCE", &station.ipv4().to_string())
        .replace("PEER", &peer.ipv4().to_string())
}

/// Translates a configuration with `vipd import`.
fn translated(directory: &Path, original: &str) -> String {
    let (from, to) = (directory.join("keepalived.conf"), directory.join("vipd.toml"));
    fs::write(&from, original).expect("written");
    let mut command = Command::new(vipd_binary().expect("vipd binary"));
    command.arg("import").arg(&from).arg("-o").arg(&to).arg("--force");
    let done = command.output().expect("vipd runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    fs::read_to_string(&to).expect("translated")
}

fn agent(lab: &Lab, station: Station, kind: &AgentKind, original: &str) -> Agent {
    let directory = tempfile::tempdir().expect("a directory");
    let configuration = match kind {
        AgentKind::Keepalived => original.to_owned(),
        _ => translated(directory.path(), original),
    };
    Agent::with_configuration(lab, station, kind.clone(), configuration).expect("create the agent")
}

/// The contents of an advert that must be equal whether keepalived or vipd sends it. Instead of the
/// destination, they include only whether it is a multicast address.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    version: u8,
    priority: u8,
    interval: u16,
    addresses: Vec<IpAddr>,
    authentication: Option<(u8, [u8; 8])>,
    is_multicast: bool,
    source: IpAddr,
}

impl From<Advert> for Contents {
    fn from(advert: Advert) -> Self {
        let Advert { version, priority, interval, addresses, authentication, destination, source, .. } =
            advert;
        Self {
            version,
            priority,
            interval,
            addresses,
            authentication,
            is_multicast: destination.is_multicast(),
            source,
        }
    }
}

/// Waits until a node is the only master of all virtual routers and returns its last adverts.
fn await_master(capture: &Capture, since: WallTime, master: Station) -> BTreeMap<u8, Contents> {
    let last = |vrid: u8| {
        let of_router = |frame: &Frame| {
            frame
                .advert()
                .filter(|advert| advert.vrid == vrid && advert.priority > 0)
                .map(|advert| (frame.from, advert))
        };
        let adverts = capture.filter_map(since, of_router);
        let alone = adverts.iter().rev().take_while(|(from, _)| *from == master).count();
        adverts.into_iter().next_back().filter(|_| alone >= 4)
    };
    wait_until(&format!("{master} to be master of all virtual routers"), TIMEOUT, || {
        VRIDS.iter().all(|vrid| last(*vrid).is_some())
    })
    .unwrap_or_else(|error| panic!("{error:#}"));
    VRIDS.iter().filter_map(|vrid| Some((*vrid, last(*vrid)?.1.into()))).collect()
}

/// Returns the addresses of a node's interface, with label, scope, broadcast address and lifetime,
/// sorted and without the agents' marks.
fn addresses(agent: &Agent) -> Vec<String> {
    let all = run(agent.host(), "ip", &["-o", "address", "show", "dev", INTERFACE]).expect("ip runs");
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(2).filter(|word| !matches!(*word, "secondary" | "\\"));
        let mut text = Vec::new();
        while let Some(word) = words.next() {
            if word == "proto" {
                words.next();
            } else {
                text.push(word);
            }
        }
        text.join(" ")
    };
    let mut lines: Vec<String> = all.lines().map(line).collect();
    lines.sort();
    lines
}

/// The behavior of a pair of agents: the adverts and addresses of node 1 as master, then the
/// adverts and addresses of node 2 after node 1 has been stopped.
type Behavior = [(BTreeMap<u8, Contents>, Vec<String>); 2];

fn play(first: &AgentKind, second: &AgentKind) -> Behavior {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let began = WallTime::now();
    let mut two = agent(&lab, TWO, second, &original(TWO));
    two.start().expect("start node 2");
    let mut one = agent(&lab, ONE, first, &original(ONE));
    one.start().expect("start node 1");
    let as_first = (await_master(&capture, began, ONE), addresses(&one));
    let stopped = WallTime::now();
    one.stop().expect("stop node 1");
    let as_second = (await_master(&capture, stopped, TWO), addresses(&two));
    [as_first, as_second]
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn translated_configuration_behaves_like_the_original() {
    let (keepalived, vipd) = (AgentKind::Keepalived, vipd().expect("vipd binary"));
    let expected = play(&keepalived, &keepalived);
    assert_eq!(expected[0].0[&51].priority, 150, "{expected:#?}");
    assert_eq!(expected[0].0[&52].priority, 155, "the weight of the script: {expected:#?}");
    for (first, second) in [(&vipd, &keepalived), (&keepalived, &vipd)] {
        let found = play(first, second);
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!(found, expected, "{first} on node 1, {second} on node 2");
        }
    }
}

/// Returns a typical configuration: VRRPv2 at 1 s with a password.
fn typical(priority: u8) -> String {
    format!(
        "vrrp_instance VI_1 {{\n state BACKUP\n interface {INTERFACE}\n virtual_router_id 51\n priority {priority}\n advert_int 1\n \
         authentication {{\n auth_type PASS\n auth_pass 1111\n }}\n virtual_ipaddress {{\n {VIP}/24\n }}\n}}\n"
    )
}

/// Skew_Time of node 2: the outage after the priority-0 advert of a master that is stopped.
const SKEW: Duration = Duration::from_millis(610);

/// Replaces keepalived with vipd, or vipd with keepalived: first on the backup, then on the master.
fn replace(lab: &Lab, capture: &Capture, agents: [Agent; 2], with: &AgentKind) -> [Agent; 2] {
    let [mut one, mut two] = agents;
    let is_master = |station: Station, since: WallTime| {
        capture.has(since, |frame| {
            frame.from == station && frame.advert().is_some_and(|advert| advert.priority > 0)
        })
    };
    two.stop().expect("stop the backup");
    let mut two = agent(lab, TWO, with, &typical(100));
    two.start().expect("start its replacement");
    if matches!(with, AgentKind::Vipd(_)) {
        wait_for_state(&two, "backup", TIMEOUT).expect("backup");
    }
    let stopped = WallTime::now();
    one.stop().expect("stop the master");
    wait_until("node 2 to take over", TIMEOUT, || is_master(TWO, stopped)).expect("takeover");
    let mut one = agent(lab, ONE, with, &typical(150));
    let started = WallTime::now();
    one.start().expect("start its replacement");
    wait_until("node 1 to take over", TIMEOUT, || is_master(ONE, started)).expect("takeover");
    [one, two]
}

/// Node by node, keepalived is replaced with vipd, and then vipd with keepalived. A client that
/// pings the VIP gets no replies during Skew_Time after each stop of a master. At any other time,
/// no gap between replies exceeds 100 ms.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn nodes_are_replaced_one_by_one_and_back() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let keepalived = AgentKind::Keepalived;
    let began = WallTime::now();
    let mut agents =
        [agent(&lab, ONE, &keepalived, &typical(150)), agent(&lab, TWO, &keepalived, &typical(100))];
    // If the backup became master first, which may happen on a busy machine, the client would lose
    // replies when node 1 preempts it.
    agents[0].start().expect("start keepalived");
    wait_until("node 1 to be master", TIMEOUT, || {
        capture.has(began, |frame| frame.from == ONE && frame.advert().is_some())
    })
    .expect("master");
    agents[1].start().expect("start keepalived");
    let client = lab.host(Station::Client).expect("the client");
    let prober = Prober::start(client, VIP, Duration::from_millis(10)).expect("pinging");
    wait_until("the VIP to answer", TIMEOUT, || prober.answered() > 0).expect("answered");
    let answered = prober.first_reply_since(began).expect("answered");

    let agents = replace(&lab, &capture, agents, &vipd().expect("vipd binary"));
    let agents = replace(&lab, &capture, agents, &keepalived);
    let settled = WallTime::now();
    wait_until("replies from the last master", TIMEOUT, || prober.first_reply_since(settled).is_some())
        .expect("answered");
    drop(agents);

    let pings = prober.stop().expect("pinged");
    let replies: Vec<WallTime> = pings.0.iter().filter_map(|probe| probe.answered).collect();
    let within = replies.iter().filter(|time| **time >= answered && **time <= settled);
    let times: Vec<&WallTime> = within.collect();
    let outages: Vec<Duration> = times
        .windows(2)
        .map(|pair| pair[1].saturating_since(*pair[0]))
        .filter(|gap| *gap > Duration::from_millis(100))
        .collect();
    assert_eq!(outages.len(), 2, "one outage for each stop of a master: {outages:?}");
    for outage in outages {
        assert!(outage < SKEW + Duration::from_millis(150), "{outage:?} without a reply");
    }
}

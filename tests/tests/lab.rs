//! Tests of the lab itself: isolation, capture, and scenarios with keepalived.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, AgentKind, Instance};
use vipd_tests::arp::neighbor;
use vipd_tests::capture::Capture;
use vipd_tests::frame::Frame;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::namespace::{Namespace, SCRATCH};
use vipd_tests::probe::Prober;
use vipd_tests::process;
use vipd_tests::protocol::Version;
use vipd_tests::routers::addresses;
use vipd_tests::scenario::{BACKUP, Outcome, PREFERRED, Scenario, Setup};
use vipd_tests::station::{INTERFACE, PREFIX, Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};
use vipd_witness::{Advert, Checksum};

const NODE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(10);

/// Returns host state that a lab could affect: links, mounts of [`SCRATCH`] and `/sys`, and files
/// of its agents. Anything else may be changed by other programs while the test runs.
fn traces() -> Result<BTreeSet<String>> {
    let mut traces: BTreeSet<_> = links::names()?.into_iter().collect();
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    traces.extend(
        mounts.lines().filter(|line| line.contains(SCRATCH) || line.contains(" /sys")).map(String::from),
    );
    for entry in fs::read_dir(SCRATCH)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        traces
            .extend(["keepalived", "vrrp", "vipd"].iter().any(|ours| name.starts_with(ours)).then_some(name));
    }
    Ok(traces)
}

/// Returns the inode number of the network namespace of a process or thread.
fn network_of(process: &Path) -> Option<u64> {
    fs::metadata(process.join("ns/net")).ok().map(|net| net.ino())
}

fn network_inside(namespace: &Namespace) -> Result<u64> {
    let thread = namespace.run(|| network_of(Path::new("/proc/thread-self")));
    thread.with_context(|| format!("reading the network namespace of {}", namespace.name()))
}

/// Returns the processes in these network namespaces.
fn processes_in(networks: &BTreeSet<u64>) -> Result<Vec<PathBuf>> {
    let processes = fs::read_dir("/proc")?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    Ok(processes
        .into_iter()
        .filter(|path| network_of(path).is_some_and(|net| networks.contains(&net)))
        .collect())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn lab_leaves_no_trace_on_the_host() -> TestResult {
    let before = traces()?;
    let lab = Lab::new(2)?;
    let mut agent = Agent::new(&lab, NODE, AgentKind::Keepalived, &[Instance::default()])?;
    agent.start()?;
    let mut networks = BTreeSet::from([network_inside(lab.switch())?]);
    for station in lab.stations() {
        networks.insert(network_inside(lab.host(station)?)?);
    }
    assert_eq!(networks.len(), 4, "a switch, two nodes and a client, each in its own namespace");
    assert!(!processes_in(&networks)?.is_empty(), "at least the agent runs there");
    assert_eq!(traces()?, before, "while the lab exists");

    drop((agent, lab));
    assert_eq!(processes_in(&networks)?, Vec::<PathBuf>::new());
    assert_eq!(traces()?, before, "after the lab is removed");
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn agents_are_killed_with_their_lab() -> TestResult {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_hold-lab"))
        .stdout(Stdio::piped())
        .spawn()
        .context("starting hold-lab")?;
    let mut line = String::new();
    BufReader::new(holder.stdout.take().context("no standard output")?).read_line(&mut line)?;
    let agents: Vec<_> = line.split_whitespace().map(|id| Path::new("/proc").join(id)).collect();
    assert!(agents.len() == 2, "hold-lab did not start: {line:?}");
    let networks: BTreeSet<_> = agents.iter().filter_map(|agent| network_of(agent)).collect();
    assert_eq!(networks.len(), 2, "each agent on its own node");
    assert!(processes_in(&networks)?.len() >= 4, "two keepalived processes per node");

    holder.kill()?;
    holder.wait()?;
    try_wait_until("all agents to exit with the lab, including the stopped one", TIMEOUT, || {
        Ok(processes_in(&networks)?.is_empty())
    })?;
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn labs_are_isolated() -> TestResult {
    let (one, other) = (Lab::new(1)?, Lab::new(1)?);
    let (capture_one, capture_other) = (one.capture()?, other.capture()?);
    let start = WallTime::now();
    let advert = NODE.advert(Version::V3, 51, 100).frame();
    Injector::open(one.host(NODE)?)?.send(&advert)?;
    Injector::open(other.host(NODE)?)?.send(&NODE.advert(Version::V3, 52, 100).frame())?;
    for (capture, vrid) in [(&capture_one, 51), (&capture_other, 52)] {
        wait_until("the lab's own advert", TIMEOUT, || capture.has(start, |frame| frame.advert().is_some()))?;
        let vrids = capture.filter_map(start, |frame| frame.advert().map(|advert| advert.vrid));
        assert_eq!(vrids, [vrid]);
    }
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn frames_are_captured_once_and_unchanged() -> TestResult {
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let right = Advert { interval: 1, ..NODE.advert(Version::V3, 51, 200) };
    let wrong = Advert { ttl: 1, checksum: Checksum::Bad, count: Some(200), ..right.clone() };
    let old = NODE.advert(Version::V2, 51, 0);
    let frames = [right.frame(), wrong.frame(), old.frame()];
    let paced = Injector::open(lab.host(NODE)?)?.send_paced(&frames, 3000, Duration::from_millis(300))?;
    assert_eq!(paced.sent, 3000);
    assert!(paced.elapsed >= Duration::from_millis(299), "{paced:?}");

    let captured = capture.stop()?;
    let adverts: Vec<_> = captured.iter().filter(|frame| frame.advert().is_some()).collect();
    assert_eq!(adverts.len(), 3000);
    for (number, frame) in adverts.iter().enumerate() {
        assert_eq!((frame.from, &frame.bytes), (NODE, &frames[number % 3]), "frame {number}");
    }
    assert!(adverts.is_sorted_by_key(|frame| frame.time));
    let read = adverts[0].advert().context("not an advert")?;
    assert_eq!((read.source_mac, read.source), (NODE.mac(), NODE.ipv4().into()));
    assert_eq!((read.version, read.vrid, read.priority, read.interval), (3, 51, 200, 1));
    let read = adverts[2].advert().context("not an advert")?;
    assert_eq!((read.version, read.priority, read.interval), (2, 0, 1));
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn frame_sent_before_a_query_is_found() -> TestResult {
    let lab = Lab::new(1)?;
    let capture = lab.capture()?;
    let injector = Injector::open(lab.host(NODE)?)?;
    let start = WallTime::now();
    let advert = NODE.advert(Version::V3, 51, 100).frame();
    let mut found = 0;
    for count in 1..=1000 {
        injector.send(&advert)?;
        found += usize::from(capture.filter_map(start, Frame::advert).len() == count);
    }
    // A busy kernel may postpone the delivery of a frame beyond the end of the system call.
    assert!(found > 900, "{found} of 1,000");
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn ping_arp_table_and_capture_agree() -> TestResult {
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let client = lab.host(Station::Client)?;
    let mac_of_vip = || Ok::<_, anyhow::Error>(neighbor(client, VIP)?.and_then(|entry| entry.mac));
    assert_eq!(mac_of_vip()?, None, "no node has the address");

    let start = WallTime::now();
    let ping = Prober::start(client, VIP, Duration::from_millis(2))?;
    let requests = |frame: &Frame| frame.arp().is_some_and(|arp| arp.operation == 1 && arp.target == VIP);
    wait_until("an ARP request from the client", TIMEOUT, || capture.has(start, requests))?;
    assert_eq!(ping.answered(), 0);

    lab.host(NODE)?.run(|| links::add_address(INTERFACE, VIP, PREFIX))?;
    wait_until("replies", TIMEOUT, || ping.answered() >= 20)?;
    assert_eq!(mac_of_vip()?, Some(NODE.mac()));
    assert_eq!(addresses(lab.host(NODE)?)?, [NODE.ipv4(), VIP]);

    lab.cut(NODE)?;
    let cut = WallTime::now();
    let cut_length = Duration::from_millis(100);
    wait_until("some lost probes", TIMEOUT, || WallTime::now() >= cut + cut_length)?;
    lab.reconnect(NODE)?;
    wait_until("a reply after the cut", TIMEOUT, || ping.first_reply_since(cut + cut_length).is_some())?;

    let identifier = ping.identifier();
    let probes = ping.stop()?;
    let (_, gap) = probes.longest_gap().context("fewer than two replies")?;
    assert!(gap >= cut_length, "a gap of only {gap:?} for a cut of {cut_length:?}");
    assert!(probes.lost() > 0 && probes.lost() < probes.sent(), "{} of {}", probes.lost(), probes.sent());

    let frames = capture.stop()?;
    let echoes = |reply| {
        let ours = |frame: &&Frame| {
            frame.echo().is_some_and(|echo| echo.reply == reply && echo.identifier == identifier)
        };
        frames.iter().filter(ours).collect::<Vec<_>>()
    };
    assert_eq!(echoes(true).len(), probes.sent() - probes.lost(), "replies in the capture and at the prober");
    assert!(echoes(true).iter().all(|frame| frame.from == NODE && frame.source_mac() == Some(NODE.mac())));
    assert!(echoes(false).iter().all(|frame| frame.from == Station::Client));
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn interface_can_be_removed_and_restored() -> TestResult {
    let lab = Lab::new(1)?;
    let node = lab.host(NODE)?;
    lab.unplug(NODE)?;
    assert_eq!(node.run(links::names)?, ["lo"]);
    assert!(Injector::open(node).is_err());

    lab.plug(NODE)?;
    assert_eq!(node.run(links::names)?, ["lo", INTERFACE]);
    let capture = lab.capture()?;
    let start = WallTime::now();
    Injector::open(node)?.send(&NODE.advert(Version::V3, 51, 100).frame())?;
    wait_until("a frame on the new interface", TIMEOUT, || {
        capture.has(start, |frame| frame.from == NODE && frame.advert().is_some())
    })?;
    assert!(lab.plug(NODE).is_err(), "the interface already exists");
    assert!(lab.host(Station::Node(2)).is_err(), "the lab has one node");
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn programs_run_inside_their_node() -> TestResult {
    let lab = Lab::new(1)?;
    let mut list = Command::new("ls");
    list.args(["/sys/class/net", SCRATCH]);
    let output = process::output(lab.host(NODE)?, list)?;
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(text, format!("{SCRATCH}:\n\n/sys/class/net:\n{INTERFACE}\nlo\n"));
    let missing = process::output(lab.host(NODE)?, Command::new("no-such-program"));
    assert!(format!("{:#}", missing.unwrap_err()).contains("no-such-program"));
    Ok(())
}

/// Checks properties of takeovers that do not depend on the speed of the machine.
fn check_order(outcome: &Outcome) {
    for takeover in &outcome.takeovers {
        let context = format!("{} {takeover:#?}", outcome.scenario);
        assert!(takeover.last_advert < takeover.first_advert, "t0 before t1: {context}");
        assert!(takeover.first_garp <= takeover.first_answer, "t2 before t3: {context}");
        assert!(
            takeover.cause < takeover.first_advert && takeover.first_answer < takeover.observed,
            "{context}"
        );
        assert!(takeover.garps > 0, "{context}");
        let mac = |entry: &Option<vipd_tests::arp::Neighbor>| entry.as_ref().and_then(|entry| entry.mac);
        assert_eq!(mac(&takeover.arp_before), Some(takeover.old.mac()), "{context}");
        assert_eq!(mac(&takeover.arp_after), Some(takeover.new.mac()), "{context}");
        if let Some(lateness) = takeover.lateness() {
            // Tolerates an advert that is up to one millisecond early.
            assert!(lateness > -1.0, "before the deadline: {context}");
        }
    }
}

fn play(scenario: Scenario, change: impl FnOnce(&mut Setup)) -> Result<Outcome> {
    // Ten times the minimum interval: these tests run in parallel, and check the order of events
    // rather than their times.
    let mut setup = Setup::new(AgentKind::Keepalived, AgentKind::Keepalived);
    setup.interval = Duration::from_millis(100);
    change(&mut setup);
    let outcome = scenario.play(&setup)?;
    check_order(&outcome);
    Ok(outcome)
}

fn masters(outcome: &Outcome) -> Vec<(Station, Station)> {
    outcome.takeovers.iter().map(|takeover| (takeover.old, takeover.new)).collect()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn keepalived_crash() -> TestResult {
    let outcome = play(Scenario::Crash, |_| ())?;
    assert_eq!(masters(&outcome), [(PREFERRED, BACKUP)]);
    let logged =
        |text: &str| outcome.log.iter().any(|(station, line)| *station == BACKUP && line.text.contains(text));
    assert!(logged("Entering MASTER STATE"), "{:#?}", outcome.log);
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn keepalived_preempts_after_restart_if_enabled() -> TestResult {
    let outcome = play(Scenario::Return, |_| ())?;
    assert_eq!(masters(&outcome), [(PREFERRED, BACKUP), (BACKUP, PREFERRED)]);
    let outcome = play(Scenario::Return, |setup| setup.preempt = false)?;
    assert_eq!(masters(&outcome), [(PREFERRED, BACKUP)]);
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn keepalived_link_loss() -> TestResult {
    let outcome = play(Scenario::Cut, |_| ())?;
    assert_eq!(masters(&outcome), [(PREFERRED, BACKUP), (BACKUP, PREFERRED)]);
    let failover = &outcome.takeovers[0];
    let probes = outcome.probes_around(failover);
    let (_, gap) = probes.longest_gap().context("fewer than two replies")?;
    // The last advert may be sent up to one interval before the cut.
    assert!(gap >= Duration::from_millis(200), "gap of {gap:?}");
    assert!(probes.lost() > 0);
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn keepalived_shutdown() -> TestResult {
    let outcome = play(Scenario::Stop, |_| ())?;
    assert_eq!(masters(&outcome), [(PREFERRED, BACKUP)]);
    assert_eq!(outcome.takeovers[0].deadline, Some(Duration::from_nanos(60_937_500)), "only Skew_Time");
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn keepalived_pause() -> TestResult {
    let outcome = play(Scenario::Pause, |_| ())?;
    assert_eq!(masters(&outcome)[0], (PREFERRED, BACKUP));
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn keepalived_vrrpv2() -> TestResult {
    let outcome = play(Scenario::Crash, |setup| {
        setup.version = Version::V2;
        setup.interval = Duration::from_secs(1);
    })?;
    assert_eq!(outcome.takeovers[0].deadline, Some(Duration::from_micros(3_609_375)));
    Ok(())
}

/// A packet socket on an interface that is connected to a trunk port may receive the frames of all
/// VLANs.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW"]
fn captures_of_an_interface_skip_other_protocols_and_vlans() -> TestResult {
    let lab = Lab::new(2)?;
    let capture = lab
        .host(NODE)?
        .run(|| links::index(INTERFACE).map(|index| Capture::of_interface(index, Station::Node(2))))??;
    let sender = Injector::open(lab.host(Station::Node(2))?)?;
    let start = WallTime::now();
    let advert = Station::Node(2).advert(Version::V3, 51, 100);
    let v6 = Advert::new(Version::V3, 51, 101, Station::Node(2).link_local());
    let tagged = |id| Advert { tags: vec![(0x8100, id)], priority: 102, ..advert.clone() };
    let mut udp = advert.frame();
    udp[23] = 17;
    for frame in [tagged(7).frame(), udp, tagged(0).frame(), v6.frame(), advert.frame()] {
        sender.send(&frame)?;
    }
    let priorities = || capture.filter_map(start, |frame| frame.advert().map(|advert| advert.priority));
    try_wait_until("the last advert", TIMEOUT, || Ok(priorities().contains(&100)))?;
    assert_eq!(priorities(), [102, 101, 100]);
    let is_udp = |frame: &Frame| frame.bytes[12..14] == [8, 0] && frame.bytes[23] == 17;
    assert!(!capture.has(start, is_udp));
    Ok(())
}

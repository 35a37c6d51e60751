//! The fence: once a new master has sent its first advert, the old master's node does not use the
//! VIP, even while the VIP is still on its interface.

use std::net::Ipv4Addr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::mount::{UnmountFlags, unmount};
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::client::{Client, arp_request, uses_vip};
use vipd_tests::configuration::XdpMode;
use vipd_tests::control::{counter, state, status, wait_for_state};
use vipd_tests::foreign_program::{ForeignProgram, Kind};
use vipd_tests::frame::Frame;
use vipd_tests::hmac::{Hmac, key};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::namespace::Namespace;
use vipd_tests::process::LogLine;
use vipd_tests::protocol::Version;
use vipd_tests::routers::has_address;
use vipd_tests::station::{Station, VIP};
use vipd_tests::tap::Tap;
use vipd_tests::time::WallTime;
use vipd_tests::wait::{try_wait_until, wait_until};
use vipd_witness::{Advert, Trailer};

const PREFERRED: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(100);
/// Period after the advert in which frames that were already in flight may still be captured.
const IN_FLIGHT: Duration = Duration::from_millis(1);

/// A master and its backup. Fields are dropped in order: the agents before the lab they run in.
struct Pair {
    _client: Client,
    preferred: Agent,
    backup: Agent,
    capture: Capture,
    lab: Lab,
}

impl Pair {
    fn start(mode: Option<XdpMode>, virtual_mac: bool) -> Result<Self> {
        let instance = Instance { virtual_mac, ..Instance::default() };
        Self::start_with(mode, &instance, "on", |_| Ok(()))
    }

    /// Starts the agents with this instance and with `fence` set to this value, after `prepare` has
    /// run on node 1.
    fn start_with(
        mode: Option<XdpMode>,
        instance: &Instance,
        fence: &str,
        prepare: impl FnOnce(&Namespace) -> Result<()>,
    ) -> Result<Self> {
        let lab = Lab::new(2)?;
        prepare(lab.host(PREFERRED)?)?;
        let capture = lab.capture()?;
        let start = WallTime::now();
        let agent = |station, priority| -> Result<Agent> {
            let instance = Instance { priority, interval: INTERVAL, preempt: false, ..instance.clone() };
            let mut agent = Agent::new(&lab, station, vipd()?, &[instance])?;
            agent.set_option("fence", fence)?;
            if let Some(mode) = mode {
                agent.set_xdp_mode(mode)?;
            }
            Ok(agent)
        };
        let (mut preferred, mut backup) = (agent(PREFERRED, 200)?, agent(BACKUP, 100)?);
        preferred.start()?;
        wait_until("node 1 to be master", TIMEOUT, || {
            capture.has(start, |frame| frame.claims_mastership(PREFERRED))
        })?;
        backup.start()?;
        try_wait_until("node 2 to be backup", TIMEOUT, || Ok(state(&backup)? == "backup"))?;
        let client = Client::start(&lab)?;
        wait_until("node 1 to answer", TIMEOUT, || {
            capture.has(start, |frame| frame.from == PREFERRED && uses_vip(frame))
        })?;
        Ok(Self { _client: client, preferred, backup, capture, lab })
    }

    /// Waits until node 2 has taken over and sent more than 200 answers. Returns the time of node
    /// 2's first advert.
    fn await_takeover(&self, since: WallTime) -> Result<WallTime> {
        wait_until("answers from node 2", TIMEOUT, || {
            self.capture
                .filter_map(since, |frame| (frame.from == BACKUP && uses_vip(frame)).then_some(()))
                .len()
                > 200
        })?;
        let adverts =
            self.capture.filter_map(since, |frame| frame.claims_mastership(BACKUP).then_some(frame.time));
        adverts.first().copied().context("no advert from node 2")
    }

    /// Waits until node 1 has sent more than 200 further answers.
    fn await_answers(&self) -> Result<()> {
        let since = WallTime::now();
        wait_until("answers from node 1", TIMEOUT, || {
            let answers = self
                .capture
                .filter_map(since, |frame| (frame.from == PREFERRED && uses_vip(frame)).then_some(()));
            answers.len() > 200
        })
    }

    /// Checks that node 1 used the VIP (see [`uses_vip`]) before the takeover, but not after it.
    fn check_answers(&self, since: WallTime, takeover: WallTime) -> Result<()> {
        let answers = self
            .capture
            .filter_map(since, |frame| (frame.from == PREFERRED && uses_vip(frame)).then_some(frame.time));
        ensure!(answers.iter().any(|time| *time < takeover), "no answer from node 1 before node 2 took over");
        let late = answers.iter().filter(|time| **time > takeover + IN_FLIGHT).count();
        ensure!(
            late == 0,
            "node 1 sent {late} of {} frames from the VIP after the first advert of node 2",
            answers.len()
        );
        Ok(())
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn stopped_master_is_silent_after_the_new_masters_first_advert() -> TestResult {
    for (mode, virtual_mac) in
        [(None, false), (Some(XdpMode::Native), false), (Some(XdpMode::Generic), false), (None, true)]
    {
        let pair = Pair::start(mode, virtual_mac)?;
        assert_eq!(status(&pair.preferred)?[0].text("vipd:fence"), "full");
        let stopped = WallTime::now();
        pair.preferred.pause()?;
        let takeover = pair.await_takeover(stopped)?;
        pair.check_answers(stopped, takeover)
            .with_context(|| format!("XDP mode {mode:?}, virtual MAC: {virtual_mac}"))?;
        assert!(virtual_mac || has_address(pair.preferred.host(), VIP)?, "the VIP was removed");
        pair.preferred.resume()?;
        try_wait_until("node 1 to be backup", TIMEOUT, || Ok(state(&pair.preferred)? == "backup"))?;
        try_wait_until("the address to be removed", TIMEOUT, || {
            Ok(!has_address(pair.preferred.host(), VIP)?)
        })?;
        assert!(counter(&pair.preferred, "vipd:fenced")? > 0);
        pair.check_answers(stopped, takeover)?;
    }
    Ok(())
}

/// While both agents are stopped, unsigned, forged and replayed adverts arrive. The VIP is fenced
/// only when the backup's own advert arrives.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn stopped_master_with_a_key_is_fenced_by_a_signed_advert_alone() -> TestResult {
    for mode in [None, Some(XdpMode::Native)] {
        let instance = Instance { hmac: Some(Hmac::enforce()), ..Instance::default() };
        let pair = Pair::start_with(mode, &instance, "on", |_| Ok(()))?;
        let recorded = pair.capture.filter_map(WallTime::from_parts(0, 0), |frame| {
            frame.claims_mastership(PREFERRED).then(|| frame.bytes.clone())
        });
        let recorded = recorded.last().context("no advert of node 1")?;
        pair.preferred.pause()?;
        pair.backup.pause()?;
        let advert = |station: Station, priority| {
            let interval = u16::try_from(INTERVAL.as_millis() / 10).unwrap_or(u16::MAX);
            Advert { interval, ..station.advert(Version::V3, Instance::default().vrid, priority) }
        };
        let wrong = || Some(Trailer::new(&key(2), 1));
        let injector = Injector::open(pair.lab.host(Station::Client)?)?;
        pair.await_answers()?;
        // Longer than the lease.
        thread::sleep(INTERVAL * 4);
        for priority in [1, 254, 255, 0] {
            let unsigned = advert(BACKUP, priority);
            injector.send(&unsigned.frame())?;
            injector.send(&Advert { signed: wrong(), ..unsigned }.frame())?;
        }
        injector.send(recorded)?;
        let stopped = WallTime::now();
        pair.await_answers()?;
        pair.backup.resume()?;
        let takeover = pair.await_takeover(stopped)?;
        pair.check_answers(stopped, takeover).with_context(|| format!("XDP mode {mode:?}"))?;
        pair.preferred.resume()?;
        try_wait_until("node 1 to be backup", TIMEOUT, || Ok(state(&pair.preferred)? == "backup"))?;
        assert!(counter(&pair.preferred, "vipd:fenced")? > 0);
    }
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn killed_master_is_silent_after_the_new_masters_first_advert() -> TestResult {
    for mode in [None, Some(XdpMode::Native), Some(XdpMode::Generic)] {
        let mut pair = Pair::start(mode, false)?;
        let killed = WallTime::now();
        pair.preferred.kill()?;
        let takeover = pair.await_takeover(killed)?;
        pair.check_answers(killed, takeover).with_context(|| format!("XDP mode {mode:?}"))?;
        pair.preferred.start()?;
        try_wait_until("node 1 to be backup", TIMEOUT, || Ok(state(&pair.preferred)? == "backup"))?;
        assert!(!has_address(pair.preferred.host(), VIP)?);
        // The fence no longer applies when node 1 becomes master again.
        let stopped = WallTime::now();
        pair.backup.stop()?;
        wait_until("node 1 to answer again", TIMEOUT, || {
            pair.capture.has(stopped, |frame| frame.from == PREFERRED && uses_vip(frame))
        })?;
    }
    Ok(())
}

/// If a master's last adverts are lost, the first advert of the new master arrives less than three
/// intervals after the last advert that the old master sent.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn stopped_master_is_fenced_by_a_low_priority_advert_once_its_own_is_overdue() -> TestResult {
    // An interval of 3 s leaves several seconds between the end of the lease and the end of three
    // intervals.
    const INTERVAL: Duration = Duration::from_secs(3);
    let lab = Lab::new(1)?;
    let capture = lab.capture()?;
    let instance = Instance { priority: 200, interval: INTERVAL, ..Instance::default() };
    let mut agent = Agent::new(&lab, PREFERRED, vipd()?, &[instance])?;
    agent.start()?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    let _client = Client::start(&lab)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    let answers = |since| {
        capture.filter_map(since, |frame| (frame.from == PREFERRED && uses_vip(frame)).then_some(frame.time))
    };
    let adverts = |since, station| {
        capture.filter_map(since, |frame| frame.claims_mastership(station).then_some(frame.time))
    };
    let before = WallTime::now();
    wait_until("an advert", TIMEOUT, || !adverts(before, PREFERRED).is_empty())?;
    agent.pause()?;
    let last = adverts(before, PREFERRED).last().copied().context("no advert")?;
    let is_overdue = || WallTime::now() > last + INTERVAL + INTERVAL / 4;
    wait_until("the next advert to be overdue", TIMEOUT, is_overdue)?;
    assert!(!answers(last + INTERVAL).is_empty(), "node 1 stopped answering before another router took over");
    injector.send(&Station::Client.advert(Version::V3, 51, 1).frame())?;
    wait_until("the client's advert", TIMEOUT, || !adverts(last, Station::Client).is_empty())?;
    let takeover = adverts(last, Station::Client)[0];
    let requests = || {
        let is_request = |frame: &Frame| frame.from == Station::Client && frame.arp().is_some();
        capture.filter_map(takeover, |frame| is_request(frame).then_some(())).len()
    };
    wait_until("100 requests", TIMEOUT, || requests() >= 100)?;
    let late = answers(takeover + IN_FLIGHT).len();
    assert_eq!(
        late,
        0,
        "answers after the client's advert, {} ms after the last advert of node 1",
        takeover.millis_since(last)
    );
    let resumed = WallTime::now();
    agent.resume()?;
    wait_until("node 1 to answer as the master again", TIMEOUT, || !answers(resumed).is_empty())?;
    Ok(())
}

/// The VIP on the address-only interface is an excluded address.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_on_an_address_only_interface_is_fenced() -> TestResult {
    const OTHER: Ipv4Addr = Ipv4Addr::new(10, 9, 9, 9);
    let lab = Lab::new(2)?;
    let capture = lab.capture()?;
    let agent = |station: Station, priority: u8| {
        let configuration = format!(
            "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\npriority = {priority}\n\
             advert_interval = \"100ms\"\npreempt = false\nvirtual_addresses = [\"{VIP}/24\"]\n\
             virtual_addresses_excluded = [{{ address = \"{OTHER}/24\", dev = \"dev0\" }}]\n"
        );
        Agent::with_configuration(&lab, station, vipd()?, configuration)
    };
    for station in [PREFERRED, BACKUP] {
        lab.host(station)?.run(|| {
            links::add_pair("dev0", "dev1")?;
            ["dev0", "dev1"].iter().try_for_each(|name| links::set_up(name))
        })?;
    }
    let host = lab.host(PREFERRED)?;
    let (tap, injector) = (Tap::open(host)?, Injector::open_at(host, "dev1")?);
    let request = {
        let mut frame = arp_request();
        frame[38..42].copy_from_slice(&OTHER.octets());
        frame
    };
    let is_reply = |frame: &Vec<u8>| {
        frame[12..14] == [8, 6] && frame[20..22] == [0, 2] && frame[28..32] == OTHER.octets()
    };
    let replies = || -> Result<usize> { Ok(tap.drain()?.iter().filter(|frame| is_reply(frame)).count()) };
    let (mut preferred, mut backup) = (agent(PREFERRED, 200)?, agent(BACKUP, 100)?);
    preferred.start()?;
    try_wait_until("a reply", TIMEOUT, || {
        injector.send(&request)?;
        Ok(replies()? > 0)
    })?;
    backup.start()?;
    try_wait_until("node 2 to be backup", TIMEOUT, || Ok(state(&backup)? == "backup"))?;
    assert_eq!(status(&preferred)?[0].text("vipd:fence"), "full");
    let stopped = WallTime::now();
    preferred.pause()?;
    wait_until("node 2 to take over", TIMEOUT, || {
        capture.has(stopped, |frame| frame.claims_mastership(BACKUP))
    })?;
    // Discards the replies that were sent before the advert.
    thread::sleep(IN_FLIGHT);
    replies()?;
    for _ in 0..100 {
        injector.send(&request)?;
        thread::sleep(Duration::from_millis(1));
    }
    let late = replies()?;
    assert_eq!(late, 0, "ARP replies from dev0");
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn program_that_runs_before_the_fence_at_egress_is_reported() -> TestResult {
    let lab = Lab::new(1)?;
    let host = lab.host(PREFERRED)?;
    let _foreign = ForeignProgram::attach(host, "eth1", Kind::PassingEgress)?;
    let mut agent = Agent::new(&lab, PREFERRED, vipd()?, &[Instance::default()])?;
    agent.start()?;
    let is_logged = |line: &LogLine| line.text.contains("another program runs first at TC egress");
    wait_until("the log line about TC egress", TIMEOUT, || agent.log().iter().any(is_logged))?;
    Ok(())
}

/// Without a BPF file system, the fence lasts only as long as the stopped process exists.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn without_a_bpf_file_system_a_stopped_master_is_fenced() -> TestResult {
    let pair = Pair::start_with(None, &Instance::default(), "on", |host| {
        host.run(|| unmount("/sys/fs/bpf", UnmountFlags::DETACH)).context("unmounting the BPF file system")
    })?;
    assert_eq!(status(&pair.preferred)?[0].text("vipd:fence"), "process");
    let is_logged = |line: &LogLine| line.text.contains("no BPF file system is mounted at /sys/fs/bpf");
    assert!(pair.preferred.log().iter().any(is_logged), "{:#?}", pair.preferred.log());
    let stopped = WallTime::now();
    pair.preferred.pause()?;
    let takeover = pair.await_takeover(stopped)?;
    Ok(pair.check_answers(stopped, takeover)?)
}

/// This test also shows that the checks of the other tests can fail.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn without_a_fence_a_stopped_master_keeps_answering() -> TestResult {
    let pair = Pair::start_with(None, &Instance::default(), "off", |_| Ok(()))?;
    assert_eq!(status(&pair.preferred)?[0].text("vipd:fence"), "off");
    let stopped = WallTime::now();
    pair.preferred.pause()?;
    let takeover = pair.await_takeover(stopped)?;
    assert!(pair.check_answers(stopped, takeover).is_err(), "the old master is silent");
    assert!(!pair.preferred.host().run(|| Path::new("/sys/fs/bpf/vipd").exists()), "a pin directory exists");
    Ok(())
}

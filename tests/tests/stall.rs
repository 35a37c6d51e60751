//! A master that was stalled (SIGSTOP) detects that it was replaced, regardless of the adverts it
//! received during the stall.

use std::net::Ipv4Addr;
use std::time::Duration;

use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::control::{counter, state, wait_for_state};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;
use vipd_witness::Advert;

const PREFERRED: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);
const THIRD_PARTY: Station = Station::Client;
const TIMEOUT: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);
/// Number of adverts in the flood: more than the ring can hold. Each has a different source, so
/// that none is rate limited.
const FLOOD: u32 = 20_000;

/// Two agents without preemption. Node 1 is master.
struct Pair {
    preferred: Agent,
    backup: Agent,
    capture: Capture,
    third_party: Injector,
    _lab: Lab,
}

impl Pair {
    fn start() -> Self {
        let lab = Lab::new(2).expect("create the lab");
        let capture = lab.capture().expect("start the capture");
        let agent = |station, priority| {
            let instance = Instance { priority, interval: SECOND, preempt: false, ..Instance::default() };
            let mut agent = Agent::new(&lab, station, vipd().expect("vipd binary"), &[instance])
                .expect("create the agent");
            agent.start().expect("start the agent");
            agent
        };
        let preferred = agent(PREFERRED, 200);
        wait_for_state(&preferred, "master", TIMEOUT).expect("node 1 is master");
        let backup = agent(BACKUP, 100);
        wait_for_state(&backup, "backup", TIMEOUT).expect("node 2 is backup");
        let third_party =
            Injector::open(lab.host(THIRD_PARTY).expect("client host")).expect("open the injector");
        Self { preferred, backup, capture, third_party, _lab: lab }
    }

    /// Suspends node 1 right after it has sent an advert, and calls `meanwhile`.
    fn suspend_preferred(&self, meanwhile: impl FnOnce(&Injector)) {
        let before = WallTime::now();
        self.wait_for_adverts(PREFERRED, before, 1);
        self.preferred.pause().expect("SIGSTOP");
        meanwhile(&self.third_party);
    }

    fn wait_for_adverts(&self, station: Station, since: WallTime, adverts: usize) {
        wait_until(&format!("{adverts} adverts from {station}"), TIMEOUT, || {
            self.adverts(station, since) >= adverts
        })
        .expect("adverts");
    }

    fn adverts(&self, station: Station, since: WallTime) -> usize {
        self.capture.filter_map(since, |frame| frame.claims_mastership(station).then_some(())).len()
    }

    /// Resumes node 1 and checks that it yields without sending an advert, and that node 2 stays
    /// master.
    fn check_successor_stays(&self) {
        let resumed = WallTime::now();
        self.preferred.resume().expect("SIGCONT");
        wait_for_state(&self.preferred, "backup", TIMEOUT).expect("node 1 yields");
        self.wait_for_adverts(BACKUP, resumed, 4);
        assert_eq!(self.adverts(PREFERRED, resumed), 0, "adverts from node 1: {:#?}", self.preferred.log());
        assert_eq!(state(&self.preferred).expect("query status"), "backup");
        assert_eq!(state(&self.backup).expect("query status"), "master");
        assert_eq!(counter(&self.preferred, "vipd:stalls").expect("query statistics"), 1);
        assert_eq!(counter(&self.preferred, "master-transitions").expect("query statistics"), 1);
        assert_eq!(counter(&self.backup, "master-transitions").expect("query statistics"), 1);
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn third_party_advert_during_stall_does_not_hide_takeover() {
    let pair = Pair::start();
    let stopped = WallTime::now();
    pair.suspend_preferred(|third_party| {
        std::thread::sleep(Duration::from_millis(5));
        third_party.send(&THIRD_PARTY.advert(Version::V3, 51, 1).frame()).expect("send");
    });
    pair.wait_for_adverts(BACKUP, stopped, 2);
    pair.check_successor_stays();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn ring_overrun_during_stall_does_not_hide_takeover() {
    let pair = Pair::start();
    let stopped = WallTime::now();
    pair.suspend_preferred(|third_party| {
        let advert = |number: u32| {
            let source = Ipv4Addr::from(0x0a40_0000 + number).into();
            Advert { source, ..THIRD_PARTY.advert(Version::V3, 51, 1) }.frame()
        };
        let frames: Vec<_> = (0..FLOOD).map(advert).collect();
        third_party.send_paced(&frames, frames.len(), Duration::from_millis(1500)).expect("send");
    });
    pair.wait_for_adverts(BACKUP, stopped, 2);
    assert!(
        counter(&pair.backup, "advertisement-rcvd").expect("query statistics") >= u64::from(FLOOD),
        "the flood did not arrive"
    );
    pair.check_successor_stays();
    assert!(
        counter(&pair.preferred, "vipd:ring-full").expect("query statistics") > 0,
        "the ring was not full"
    );
}

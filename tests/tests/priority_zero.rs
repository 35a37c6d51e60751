//! A master answers a flood of priority-0 adverts (RFC 9568 section 6.4.3) at a limited rate.

use std::net::Ipv4Addr;
use std::time::Duration;

use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::control::{counter, state, wait_for_state};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;
use vipd_witness::Advert;

const NODE: Station = Station::Node(1);
const FLOODER: Station = Station::Client;
const TIMEOUT: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(1);
/// Number of adverts in the flood. Each has a different source, so that the per-source limit does
/// not apply.
const FLOOD: u32 = 10_000;
/// Number of answers that may be sent back to back.
const BURST: u128 = 3;
/// Interval between further answers.
const PERIOD: Duration = Duration::from_millis(100);

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn priority_zero_answers_are_rate_limited() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let instance = Instance { priority: 200, interval: INTERVAL, ..Instance::default() };
    let mut agent =
        Agent::new(&lab, NODE, vipd().expect("vipd binary"), &[instance]).expect("create the agent");
    agent.start().expect("start the agent");
    wait_for_state(&agent, "master", TIMEOUT).expect("node 1 is master");

    let advert = |number: u32| {
        let source = Ipv4Addr::from(0x0a40_0000 + number).into();
        Advert { source, ..FLOODER.advert(Version::V3, 51, 0) }.frame()
    };
    let frames: Vec<_> = (0..FLOOD).map(advert).collect();
    let begin = WallTime::now();
    let injector = Injector::open(lab.host(FLOODER).expect("client host")).expect("open the injector");
    injector.send_paced(&frames, frames.len(), Duration::from_secs(2)).expect("send");
    wait_until("the flood to be counted", TIMEOUT, || {
        counter(&agent, "priority-zero-pkts-rcvd").is_ok_and(|counted| counted >= u64::from(FLOOD))
    })
    .expect("counted");
    // The engine drains the ring before it answers the query, so all adverts have been handled.
    assert_eq!(state(&agent).expect("query status"), "master");
    let sent = capture.filter_map(begin, |frame| {
        let own = frame.from == NODE && frame.advert().is_some();
        own.then_some(frame.time)
    });
    // Throughout the measurement, the token bucket refills and Adver_Timer fires.
    let span = WallTime::now().saturating_since(begin);
    let answers = BURST + span.as_nanos() / PERIOD.as_nanos() + 1;
    let periodic = span.as_nanos() / INTERVAL.as_nanos() + 1;
    let found = sent.len() as u128;
    assert!(found <= answers + periodic, "{found} adverts in {span:?} after {FLOOD} priority-0 adverts");
    assert!(found >= BURST, "only {found} answers to priority 0");
    assert!(counter(&agent, "vipd:assert-adverts-suppressed").expect("query statistics") > 0);
    assert_eq!(counter(&agent, "master-transitions").expect("query statistics"), 1);
    assert!(agent.stop().expect("stop the agent").success());
}

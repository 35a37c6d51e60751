//! VRRPv2's password: with keepalived on the other side, refused where it differs, and never shown.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use vipd_tests::agent::{Agent, AgentKind, Instance};
use vipd_tests::ask::{self, until_state};
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::command::{succeeds, text};
use vipd_tests::frame::Frame;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::{Station, VIP};
use vipd_tests::time::WallTime;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const SOON: Duration = Duration::from_secs(30);
const SECRET: &str = "gehe1m";

fn instance(priority: u8) -> Instance {
    Instance { version: Version::V2, priority, password: Some(SECRET.to_owned()), ..Instance::default() }
}

fn agent(lab: &Lab, station: Station, kind: AgentKind, priority: u8) -> Agent {
    let mut agent = Agent::new(lab, station, kind, &[instance(priority)]).expect("an agent");
    agent.start().expect("it starts");
    agent
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn it_is_keepalived_s_on_the_wire_in_both_directions() {
    for (first, second) in
        [(vipd().expect("a vipd"), AgentKind::Keepalived), (AgentKind::Keepalived, vipd().expect("a vipd"))]
    {
        let lab = Lab::new(2).expect("a lab");
        let capture = lab.capture().expect("a capture");
        let start = WallTime::now();
        let mut preferred = agent(&lab, ONE, first, 200);
        let _backup = agent(&lab, TWO, second, 100);
        let data = |frame: &Frame| frame.advert().and_then(|advert| advert.authentication);
        let alone = || capture.search(start, |frame| data(frame).map(|data| (frame.from, data)));
        succeeds("adverts of the preferred one alone", SOON, || {
            let adverts = alone();
            Ok(adverts.len() >= 5 && adverts.iter().rev().take(5).all(|(from, _)| *from == ONE))
        })
        .expect("elected");
        preferred.kill().expect("killed");
        let killed = WallTime::now();
        succeeds("adverts of the other", SOON, || {
            Ok(capture.has(killed, |frame| frame.from == TWO && data(frame).is_some()))
        })
        .expect("taken over");
        let mut secret = [0; 8];
        secret[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
        assert!(alone().iter().all(|(_, data)| *data == (1, secret)), "{:?}", alone());
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn each_way_to_fail_has_its_counter_and_none_ends_the_mastership() {
    let lab = Lab::new(2).expect("a lab");
    let one = agent(&lab, ONE, vipd().expect("a vipd"), 100);
    until_state(&one, "master", SOON).expect("master");
    let injector = Injector::open(lab.host(TWO).expect("a host")).expect("an injector");
    let mut advert = TWO.advert(Version::V2, 51, 254);
    for (kind, times) in [(1u16, 3), (0, 2), (7, 1)] {
        advert.interval = kind << 8 | 1;
        advert.authentication = *b"wrong\0\0\0";
        for _ in 0..times {
            injector.send(&advert.frame()).expect("sent");
        }
    }
    for (name, times) in
        [("vipd:auth-failures", 3), ("vipd:auth-type-mismatch", 2), ("vipd:invalid-auth-type", 1)]
    {
        succeeds(name, SOON, || Ok(ask::count(&one, name)? == times)).expect("counted");
    }
    assert_eq!(ask::state(&one).expect("it answers"), "master");
    advert.interval = 0x0101;
    advert.authentication = *b"gehe1m\0\0";
    injector.send(&advert.frame()).expect("sent");
    until_state(&one, "backup", SOON).expect("the right one counts");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn it_is_in_no_log_no_answer_and_no_process_list() {
    let lab = Lab::new(1).expect("a lab");
    let host = lab.host(ONE).expect("a host");
    let file = Agent::runtime_dir().join("password");
    host.run({
        let file = file.clone();
        move || {
            fs::write(&file, format!("{SECRET}\n"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
        }
    })
    .expect("a file");
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nversion = 2\nauth_pass_file = \"{}\"\n\
         virtual_addresses = [\"{VIP}/24\"]\n",
        file.display()
    );
    let mut agent =
        Agent::with_configuration(&lab, ONE, vipd().expect("a vipd"), configuration).expect("an agent");
    agent.set_environment("RUST_LOG", "trace");
    agent.start().expect("it starts");
    until_state(&agent, "master", SOON).expect("master");
    assert_eq!(ask::status(&agent).expect("it answers")[0].text("vipd:authentication"), "pass");
    let program = vipd_binary().expect("a vipd").display().to_string();
    let runtime = Agent::runtime_dir().display().to_string();
    let mut shown = String::new();
    for verb in ["status", "stats"] {
        for json in [&["--json"][..], &[]] {
            shown += &text(host, &program, &[&[verb, "--runtime-dir", &runtime], json].concat())
                .expect("an answer");
        }
    }
    let configured = Agent::runtime_dir().join("vipd.toml").display().to_string();
    shown += &text(host, &program, &["check", "-c", &configured]).expect("it is fine");
    shown +=
        &fs::read_to_string(format!("/proc/{}/cmdline", agent.id().expect("it runs"))).expect("a process");
    shown +=
        &fs::read_to_string(format!("/proc/{}/environ", agent.id().expect("it runs"))).expect("a process");
    agent.stop().expect("it stops");
    shown += &agent.log().iter().map(|line| line.text.clone()).collect::<String>();
    assert!(shown.contains("VI_1") && !shown.contains(SECRET), "{shown}");
}

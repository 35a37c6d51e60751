//! VRRPv2 password authentication: interoperability with keepalived, mismatches, and secrecy.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use vipd_tests::agent::{Agent, AgentKind, Instance};
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::command::run;
use vipd_tests::control::{self, wait_for_state};
use vipd_tests::frame::Frame;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::{Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);
const SECRET: &str = "gehe1m";

fn instance(priority: u8) -> Instance {
    Instance { version: Version::V2, priority, password: Some(SECRET.to_owned()), ..Instance::default() }
}

fn agent(lab: &Lab, station: Station, kind: AgentKind, priority: u8) -> Agent {
    let mut agent = Agent::new(lab, station, kind, &[instance(priority)]).expect("create the agent");
    agent.start().expect("start the agent");
    agent
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vrrpv2_password_interoperates_with_keepalived() {
    for (first, second) in [
        (vipd().expect("vipd binary"), AgentKind::Keepalived),
        (AgentKind::Keepalived, vipd().expect("vipd binary")),
    ] {
        let lab = Lab::new(2).expect("create the lab");
        let capture = lab.capture().expect("start the capture");
        let start = WallTime::now();
        let mut preferred = agent(&lab, ONE, first, 200);
        let _backup = agent(&lab, TWO, second, 100);
        let data = |frame: &Frame| frame.advert().and_then(|advert| advert.authentication);
        let all = || capture.filter_map(start, |frame| data(frame).map(|data| (frame.from, data)));
        try_wait_until("adverts from only the preferred node", TIMEOUT, || {
            let adverts = all();
            Ok(adverts.len() >= 5 && adverts.iter().rev().take(5).all(|(from, _)| *from == ONE))
        })
        .expect("elected");
        preferred.kill().expect("kill the agent");
        let killed = WallTime::now();
        try_wait_until("adverts from the backup", TIMEOUT, || {
            Ok(capture.has(killed, |frame| frame.from == TWO && data(frame).is_some()))
        })
        .expect("takeover");
        let mut secret = [0; 8];
        secret[..SECRET.len()].copy_from_slice(SECRET.as_bytes());
        assert!(all().iter().all(|(_, data)| *data == (1, secret)), "{:?}", all());
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn authentication_failures_are_counted_and_do_not_demote_the_master() {
    let lab = Lab::new(2).expect("create the lab");
    let one = agent(&lab, ONE, vipd().expect("vipd binary"), 100);
    wait_for_state(&one, "master", TIMEOUT).expect("master");
    let injector = Injector::open(lab.host(TWO).expect("lab host")).expect("open the injector");
    let mut advert = TWO.advert(Version::V2, 51, 254);
    for (kind, times) in [(1u16, 3), (0, 2), (7, 1)] {
        advert.interval = kind << 8 | 1;
        advert.authentication = *b"wrong\0\0\0";
        for _ in 0..times {
            injector.send(&advert.frame()).expect("send");
        }
    }
    for (name, times) in
        [("vipd:auth-failures", 3), ("vipd:auth-type-mismatch", 2), ("vipd:invalid-auth-type", 1)]
    {
        try_wait_until(name, TIMEOUT, || Ok(control::counter(&one, name)? == times)).expect("counted");
    }
    assert_eq!(control::state(&one).expect("query the agent"), "master");
    advert.interval = 0x0101;
    advert.authentication = *b"gehe1m\0\0";
    injector.send(&advert.frame()).expect("send");
    wait_for_state(&one, "backup", TIMEOUT).expect("correct password accepted");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn password_is_absent_from_logs_reports_and_process_arguments() {
    let lab = Lab::new(1).expect("create the lab");
    let host = lab.host(ONE).expect("lab host");
    let file = Agent::runtime_dir().join("password");
    host.run({
        let file = file.clone();
        move || {
            fs::write(&file, format!("{SECRET}\n"))?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))
        }
    })
    .expect("write the file");
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nversion = 2\nauth_pass_file = \"{}\"\n\
         virtual_addresses = [\"{VIP}/24\"]\n",
        file.display()
    );
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().expect("vipd binary"), configuration)
        .expect("create the agent");
    agent.set_env("VIPD_LOG", "trace");
    agent.start().expect("start the agent");
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    assert_eq!(control::status(&agent).expect("query the agent")[0].text("vipd:authentication"), "pass");
    let program = vipd_binary().expect("vipd binary").display().to_string();
    let runtime = Agent::runtime_dir().display().to_string();
    let mut shown = String::new();
    for verb in ["status", "stats"] {
        for json in [&["--json"][..], &[]] {
            shown += &run(host, &program, &[&[verb, "--runtime-dir", &runtime], json].concat())
                .expect("query the agent");
        }
    }
    let configured = Agent::runtime_dir().join("vipd.toml").display().to_string();
    shown += &run(host, &program, &["check", "-c", &configured]).expect("valid configuration");
    shown += &fs::read_to_string(format!("/proc/{}/cmdline", agent.pid().expect("agent is running")))
        .expect("read /proc");
    shown += &fs::read_to_string(format!("/proc/{}/environ", agent.pid().expect("agent is running")))
        .expect("read /proc");
    agent.stop().expect("stop the agent");
    shown += &agent.log().iter().map(|line| line.text.clone()).collect::<String>();
    assert!(shown.contains("VI_1") && !shown.contains(SECRET), "the password is exposed: {shown}");
}

//! `vipd scan` and `vipd capture` see adverts that the BPF program drops, in every mode.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::command;
use vipd_tests::configuration::XdpMode;
use vipd_tests::control::{counter, status, wait_for, wait_for_state};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::routers::start_agent;
use vipd_tests::station::Station;
use vipd_tests::wait::wait_until;
use vipd_witness::{Advert, Version};

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);

fn instance(priority: u8) -> Instance {
    Instance { priority, interval: Duration::from_millis(100), ..Instance::default() }
}

/// Runs `vipd` on node 1.
fn run(lab: &Lab, arguments: &[&str]) -> Output {
    let mut command = Command::new(vipd_binary().unwrap());
    command.args(arguments);
    let output = lab.host(ONE).unwrap().run(move || command.output()).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Returns the second of the minute at which a captured frame was received.
fn second(line: &str) -> f64 {
    line.split([' ', ':']).nth(2).and_then(|second| second.parse().ok()).unwrap()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn commands_end_during_a_storm_and_when_their_interface_is_deleted() {
    let lab = Lab::new(2).unwrap();
    let injector = Injector::open(lab.host(TWO).unwrap()).unwrap();
    let frame = TWO.advert(Version::V3, 51, 120).frame();
    let stop = AtomicBool::new(false);
    let start = |arguments: &[&str]| {
        let mut command = Command::new(vipd_binary().unwrap());
        command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
        lab.host(ONE).unwrap().run(move || command.spawn()).unwrap()
    };
    let directory = tempfile::tempdir().unwrap();
    // Starts a capture, and waits until it has opened the interface.
    let start_capture = |interface: &str| {
        let file = directory.path().join(interface);
        let capture = start(&["capture", interface, "-w", file.to_str().unwrap()]);
        let has_header = || std::fs::metadata(&file).is_ok_and(|file| file.len() > 0);
        wait_until("the header of the capture", TIMEOUT, has_header).map(|()| capture)
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                injector.send_all(&[frame.as_slice(); 64]).unwrap();
            }
        });
        let mut scan = start(&["scan", "eth1", "--seconds", "1"]);
        let result = wait_until("the end of the scan", TIMEOUT, || scan.try_wait().unwrap().is_some());
        let capture = start_capture("eth1").and_then(|mut capture| {
            kill_process(Pid::from_child(&capture), Signal::HUP).unwrap();
            wait_until("the end of the capture", TIMEOUT, || capture.try_wait().unwrap().is_some())?;
            Ok(capture.wait().unwrap())
        });
        stop.store(true, Ordering::Relaxed);
        result.unwrap();
        assert_eq!(capture.unwrap().code(), Some(0));
    });
    command::run(lab.host(ONE).unwrap(), "ip", &["link", "add", "eth9", "type", "veth", "peer", "peer9"])
        .unwrap();
    command::run(lab.host(ONE).unwrap(), "ip", &["link", "set", "eth9", "up"]).unwrap();
    let capture = start_capture("eth9").unwrap();
    command::run(lab.host(ONE).unwrap(), "ip", &["link", "delete", "eth9"]).unwrap();
    let output = capture.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("interface eth9 no longer exists"), "{error}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn scan_lists_the_master_in_every_mode_without_disturbing_the_backup() {
    let lab = Lab::new(2).unwrap();
    let master = start_agent(&lab, TWO, &[instance(200)]).unwrap();
    wait_for_state(&master, "master", TIMEOUT).unwrap();
    for mode in [None, Some(XdpMode::Native), Some(XdpMode::Generic)] {
        let mut backup = Agent::new(&lab, ONE, vipd().unwrap(), &[instance(100)]).unwrap();
        if let Some(mode) = mode {
            backup.set_xdp_mode(mode).unwrap();
            backup.start().unwrap();
            wait_for(&backup, "its mode", TIMEOUT, |status| status.text("vipd:xdp-mode") == mode.to_string())
                .unwrap();
            wait_for_state(&backup, "backup", TIMEOUT).unwrap();
        }
        let text =
            String::from_utf8(run(&lab, &["scan", "eth1", "--seconds", "1", "--json"]).stdout).unwrap();
        let report: Value = serde_json::from_str(&text).unwrap();
        let senders = report["vipd:routers"].as_array().unwrap();
        assert_eq!(senders.len(), 1, "{mode:?}: {text}");
        let sender = &senders[0];
        assert_eq!((&sender["vrid"], &sender["priority"]), (&51.into(), &200.into()), "{mode:?}: {text}");
        assert_eq!(sender["source"], TWO.ipv4().to_string());
        assert_eq!((&sender["is-master"], &sender["is-local"]), (&true.into(), &false.into()));
        assert_eq!(sender["advertise-interval-ns"], 100_000_000);
        let adverts = sender["adverts"].as_u64().unwrap();
        assert!(adverts > 2, "{mode:?}: {adverts} adverts");
        let lines = String::from_utf8(run(&lab, &["capture", "eth1", "--seconds", "1"]).stdout).unwrap();
        let times: Vec<f64> = lines.lines().filter(|line| line.contains(" in  ")).map(second).collect();
        let is_once = times.windows(2).all(|pair| (pair[1] - pair[0]).abs() > 0.001);
        assert!(times.len() > 2 && is_once, "{mode:?}: too few adverts, or one printed twice: {lines}");
        if mode.is_some() {
            assert_eq!(status(&backup).unwrap()[0].text("state"), "backup");
            assert_eq!(counter(&backup, "master-transitions").unwrap(), 0);
            backup.stop().unwrap();
        }
    }
    let table = String::from_utf8(run(&lab, &["scan", "eth1", "--seconds", "0.5"]).stdout).unwrap();
    assert!(table.starts_with("eth1: 1 router in 0.5 s\nVRID  FAMILY  ROUTER"), "{table}");
}

/// Captures on node 1 while node 2 sends a valid and an invalid advert, and returns the lines that
/// tshark prints: priority, TTL, comment, verdict, and whether the frame is malformed.
fn captured(lab: &Lab) -> Vec<String> {
    let injector = Injector::open(lab.host(TWO).unwrap()).unwrap();
    let valid = Advert { interval: 10, ..TWO.advert(Version::V3, 51, 120) };
    let frames = [valid.frame(), Advert { ttl: 9, ..valid }.frame()];
    let mut command = Command::new(vipd_binary().unwrap());
    let file = Agent::runtime_dir().join("vipd.toml");
    command.args(["capture", "eth1", "-w", "-", "--seconds", "1", "-c"]).arg(file);
    command.stdout(Stdio::piped());
    let mut capture = lab.host(ONE).unwrap().run(move || command.spawn()).unwrap();
    let mut tshark = Command::new("tshark");
    tshark.args(["-r", "-", "-T", "fields", "-E", "separator=;", "-e", "vrrp.prio", "-e", "ip.ttl"]);
    tshark
        .args(["-e", "frame.comment", "-e", "frame.verdict.ebpf_xdp", "-e", "_ws.malformed"])
        .stdin(capture.stdout.take().unwrap());
    tshark.stderr(Stdio::null());
    let output = thread::scope(|scope| {
        let reader = scope.spawn(move || tshark.output().unwrap());
        while capture.try_wait().unwrap().is_none() {
            for frame in &frames {
                injector.send(frame).unwrap();
            }
            thread::sleep(Duration::from_millis(50));
        }
        reader.join().unwrap()
    });
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON, and tshark"]
fn captured_frames_have_the_verdict_as_a_comment() {
    for mode in [XdpMode::Auto, XdpMode::Native, XdpMode::Generic] {
        let lab = Lab::new(2).unwrap();
        let mut agent = Agent::new(&lab, ONE, vipd().unwrap(), &[instance(100)]).unwrap();
        agent.set_xdp_mode(mode).unwrap();
        agent.start().unwrap();
        let name = if mode == XdpMode::Auto { "tc".to_owned() } else { mode.to_string() };
        wait_for(&agent, "its mode", TIMEOUT, |status| status.text("vipd:xdp-mode") == name).unwrap();
        let lines = captured(&lab);
        let action = if mode == XdpMode::Auto { "" } else { " (XDP_DROP)" };
        let code = if mode == XdpMode::Auto { "" } else { "1" };
        let accepted = format!("120;255;accepted for VI_1{action};{code};");
        let dropped = "120;9;invalid for VI_1: TTL or Hop Limit too small";
        let count = |start: &str| lines.iter().filter(|line| line.starts_with(start)).count();
        assert!(count(&accepted) > 3, "{mode}: {accepted:?} in {lines:#?}");
        assert!(count(dropped) > 3, "{mode}: {lines:#?}");
        assert!(lines.iter().all(|line| line.ends_with(';')), "{mode}: malformed: {lines:#?}");
    }
}

/// Returns the output of a command on node 1 as JSON.
fn json(lab: &Lab, line: &str) -> Value {
    let words: Vec<_> = line.split_whitespace().collect();
    let text = command::run(lab.host(ONE).unwrap(), words[0], &words[1..]).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{line}: {error}: {text}"))
}

/// Returns the name of the program through which node 1 drops adverts at the XDP hook.
fn consumer(lab: &Lab) -> String {
    let program = json(lab, "ip -j -d link show dev eth1")[0]["xdp"]["prog"]["id"].as_u64().unwrap();
    let maps = json(lab, &format!("bpftool -j prog show id {program}"))["map_ids"].clone();
    let is_array = |id: &&Value| {
        let name = json(lab, &format!("bpftool -j map show id {id}"))["name"].clone();
        name.as_str().unwrap().starts_with("AGENT_XDP")
    };
    let array = maps.as_array().unwrap().iter().find(is_array).unwrap();
    let entries = json(lab, &format!("bpftool -j map dump id {array}"));
    let bytes = entries[0]["value"].as_array().unwrap().iter().map(|byte| {
        let digits = byte.as_str().unwrap().trim_start_matches("0x");
        u8::from_str_radix(digits, 16).unwrap()
    });
    let bytes: Vec<u8> = bytes.collect();
    let program = u32::from_ne_bytes(bytes.try_into().unwrap());
    let name = json(lab, &format!("bpftool -j prog show id {program}"))["name"].clone();
    name.as_str().unwrap().to_owned()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn ended_and_killed_captures_do_not_disturb_the_agent() {
    let lab = Lab::new(2).unwrap();
    let mut backup = Agent::new(&lab, ONE, vipd().unwrap(), &[instance(100)]).unwrap();
    backup.set_xdp_mode(XdpMode::Generic).unwrap();
    backup.start().unwrap();
    let _master = start_agent(&lab, TWO, &[instance(200)]).unwrap();
    wait_for(&backup, "backup of node 2", TIMEOUT, |status| {
        status.text("state") == "backup" && status.address("last-adv-source").is_some()
    })
    .unwrap();
    let transitions = counter(&backup, "master-transitions").unwrap();
    let start = || {
        let mut command = Command::new(vipd_binary().unwrap());
        command.args(["capture", "eth1"]).stdout(Stdio::null()).stderr(Stdio::piped());
        let capture = lab.host(ONE).unwrap().run(move || command.spawn()).unwrap();
        wait_until("the capture", TIMEOUT, || consumer(&lab) == "vipd_tap").unwrap();
        capture
    };
    let mut ended = start();
    kill_process(Pid::from_child(&ended), Signal::INT).unwrap();
    assert_eq!(ended.wait().unwrap().code(), Some(0));
    assert!(consumer(&lab).starts_with("consume_xdp"), "{}", consumer(&lab));

    let flooded = start();
    kill_process(Pid::from_child(&flooded), Signal::STOP).unwrap();
    let injector = Injector::open(lab.host(TWO).unwrap()).unwrap();
    let invalid = Advert { ttl: 9, ..TWO.advert(Version::V3, 51, 200) }.frame();
    let errors = || counter(&backup, "vipd:ip-ttl-errors").unwrap();
    let before = errors();
    // The ring buffer of the tap has room for about 480 frames.
    wait_until("1000 dropped adverts", TIMEOUT, || {
        injector.send_all(&[invalid.as_slice(); 64]).unwrap();
        errors() > before + 1000
    })
    .unwrap();
    for signal in [Signal::CONT, Signal::INT] {
        kill_process(Pid::from_child(&flooded), signal).unwrap();
    }
    let output = flooded.wait_with_output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && text.contains(" frames were not captured"), "{text}");

    let mut killed = start();
    killed.kill().unwrap();
    killed.wait().unwrap();
    let received = counter(&backup, "advertisement-rcvd").unwrap();
    wait_until("more adverts", TIMEOUT, || counter(&backup, "advertisement-rcvd").unwrap() > received + 10)
        .unwrap();
    assert_eq!(counter(&backup, "master-transitions").unwrap(), transitions);
    run(&lab, &["scan", "eth1", "--seconds", "0.5"]);
    assert!(consumer(&lab).starts_with("consume_xdp"), "{}", consumer(&lab));
    assert_eq!(status(&backup).unwrap()[0].text("state"), "backup");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn capture_prints_a_line_for_each_advert() {
    let lab = Lab::new(1).unwrap();
    let agent = start_agent(&lab, ONE, &[instance(100)]).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let file = Agent::runtime_dir().join("vipd.toml");
    let output = run(&lab, &["capture", "eth1", "--seconds", "0.5", "-c", file.to_str().unwrap()]);
    let text = String::from_utf8(output.stdout).unwrap();
    let expected =
        " out 192.168.122.11 > 224.0.0.18 VRRPv3 VRID 51 priority 100 interval 100ms: sent by this host";
    assert!(text.lines().count() > 2 && text.lines().all(|line| line.ends_with(expected)), "{text}");
}

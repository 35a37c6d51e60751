//! Configured behavior: announcements, address options, preemption delay, address lists and
//! checksum form.

use std::time::Duration;

use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::capture::Capture;
use vipd_tests::command::{address_line, run};
use vipd_tests::control::{self, wait_for_state};
use vipd_tests::frame::{ChecksumForm, Frame};
use vipd_tests::lab::Lab;
use vipd_tests::station::{Station, VIP, VIP6};
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns the configuration of an instance with these additional lines.
fn instance(name: &str, vrid: u8, lines: &str) -> String {
    format!("[[instance]]\nname = \"{name}\"\ninterface = \"eth1\"\nvrid = {vrid}\n{lines}\n")
}

fn agent(lab: &Lab, station: Station, configuration: String) -> Agent {
    let mut agent = Agent::with_configuration(lab, station, vipd().expect("vipd binary"), configuration)
        .expect("create the agent");
    agent.start().expect("start the agent");
    agent
}

fn garps(capture: &Capture, since: WallTime) -> usize {
    capture.filter_map(since, |frame| frame.gratuitous_arp(VIP)).len()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn announcement_count_follows_the_configuration() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let start = WallTime::now();
    let lines = format!(
        "advert_interval = \"100ms\"\nvirtual_addresses = [\"{VIP}/24\"]\n\
         garp = {{ repeat = 2, delay = \"300ms\", refresh = \"1s\", refresh_repeat = 3 }}"
    );
    let agent = agent(&lab, ONE, instance("VI_1", 51, &lines));
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    // Two announcements immediately, two after the delay, and three per refresh.
    try_wait_until("two refreshes", TIMEOUT, || Ok(garps(&capture, start) >= 10)).expect("announced");
    let sent = control::counter(&agent, "vipd:gratuitous-arp-sent").expect("read the counter");
    assert_eq!((sent - 4) % 3, 0, "{sent}: expected 4 plus a multiple of 3");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn paced_announcements_do_not_delay_adverts() {
    const ADDRESSES: usize = 100;
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let start = WallTime::now();
    let many: Vec<_> = (0..ADDRESSES).map(|last| format!("\"10.0.1.{}/24\"", last + 1)).collect();
    let configuration = instance(
        "PACED",
        51,
        &format!(
            "advert_interval = \"10ms\"\nvirtual_addresses = [{}]\ngarp = {{ repeat = 1, delay = \"0s\", interval = \
             \"5ms\" }}",
            many.join(", ")
        ),
    ) + &instance(
        "OTHER",
        52,
        &format!("advert_interval = \"10ms\"\nvirtual_addresses = [\"{VIP}/24\"]"),
    );
    let agent = agent(&lab, ONE, configuration);
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let is_announcement =
        |frame: &Frame| frame.arp().filter(|arp| arp.sender == arp.target && arp.sender.octets()[1] == 0);
    let announcements = || capture.filter_map(start, |frame| is_announcement(frame).map(|_| ()));
    try_wait_until("all addresses to be announced", TIMEOUT, || Ok(announcements().len() >= ADDRESSES))
        .expect("announced");
    // The announcements take 495 ms, during which both routers must keep sending adverts. The test
    // checks order and counts, not times.
    let sequence: Vec<Option<u8>> = capture.filter_map(start, |frame| {
        let garp = frame.arp().filter(|arp| arp.sender == arp.target && arp.sender.octets()[1] == 0);
        garp.map(|_| None).or_else(|| frame.advert().map(|advert| Some(advert.vrid)))
    });
    let first = sequence.iter().position(Option::is_none).expect("announcements");
    let last = sequence.iter().rposition(Option::is_none).expect("announcements");
    for vrid in [51, 52] {
        let adverts = sequence[first..last].iter().filter(|seen| **seen == Some(vrid)).count();
        assert!(adverts >= 20, "VRID {vrid}: {adverts} adverts between the announcements");
    }
    let longest = sequence[first..last].split(Option::is_some).map(<[_]>::len).max().expect("announcements");
    assert!(longest <= 20, "{longest} announcements in a row");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn address_options_are_applied() {
    let lab = Lab::new(1).expect("create the lab");
    let host = lab.host(ONE).expect("lab host");
    let capture = lab.capture().expect("start the capture");
    run(host, "ip", &["link", "add", "eth2", "type", "veth", "peer", "name", "far2"])
        .expect("create the veth pair");
    run(host, "ip", &["link", "set", "far2", "up"]).expect("set the link up");
    run(host, "ip", &["link", "set", "eth2", "up"]).expect("set the link up");
    let lines = format!(
        "advert_interval = \"100ms\"\nvirtual_addresses = [\n\
         {{ address = \"{VIP}/24\", label = \"eth1:vip\", broadcast = \"192.168.122.255\" }},\n\
         {{ address = \"10.7.0.1/32\", scope = \"link\" }},\n\
         {{ address = \"10.8.0.1/24\", dev = \"eth2\" }},\n]\n\
         virtual_addresses_excluded = [{{ address = \"{VIP6}/64\", preferred = false }}]"
    );
    let mut agent = agent(&lab, ONE, instance("VI_1", 51, &lines));
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    let expected: [(std::net::IpAddr, &[&str]); 4] = [
        (VIP.into(), &["eth1:vip", "brd 192.168.122.255"]),
        ([10, 7, 0, 1].into(), &["eth1 ", "scope link"]),
        ([10, 8, 0, 1].into(), &["eth2 "]),
        (VIP6.into(), &["eth1 ", "deprecated", "nodad"]),
    ];
    for (address, words) in expected {
        try_wait_until("the address to be added", TIMEOUT, || Ok(address_line(host, address)?.is_some()))
            .expect("address present");
        let line = address_line(host, address).expect("list the addresses").expect("address present");
        assert!(words.iter().all(|word| line.contains(word)), "{words:?} in {line}");
    }
    // The interface of one of the VIPs goes down.
    let down = WallTime::now();
    run(host, "ip", &["link", "set", "eth2", "down"]).expect("set the link down");
    let status = wait_for_state(&agent, "fault", TIMEOUT).expect("fault");
    assert!(status.text("vipd:fault-reason").contains("`dev`"), "{status:?}");
    let is_priority_zero = |frame: &Frame| frame.advert().is_some_and(|advert| advert.priority == 0);
    try_wait_until("a priority-0 advert", TIMEOUT, || Ok(capture.has(down, is_priority_zero)))
        .expect("priority 0");
    run(host, "ip", &["link", "set", "eth2", "up"]).expect("set the link up");
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    agent.stop().expect("stop the agent");
    for (address, _) in expected {
        assert_eq!(address_line(host, address).expect("list the addresses"), None, "{address} is removed");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn preempt_delay_postpones_preemption() {
    let lab = Lab::new(2).expect("create the lab");
    let lines = |priority: u8, delay: &str| {
        format!(
            "advert_interval = \"100ms\"\npriority = {priority}\npreempt_delay = \"{delay}\"\n\
             virtual_addresses = [\"{VIP}/24\"]"
        )
    };
    let lower = agent(&lab, TWO, instance("VI_1", 51, &lines(100, "0s")));
    wait_for_state(&lower, "master", TIMEOUT).expect("master");
    let delayed = agent(&lab, ONE, instance("VI_1", 51, &lines(200, "1000s")));
    // The router follows the lower-priority master. Without a preempt delay, the router would
    // preempt that master.
    let followed = control::wait_for(&delayed, "to follow", TIMEOUT, |status| {
        status.address("last-adv-source") == Some(TWO.ipv4().into())
    });
    assert_eq!(followed.expect("router follows the master").text("state"), "backup");
    drop(delayed);
    let quick = agent(&lab, ONE, instance("VI_1", 51, &lines(200, "500ms")));
    wait_for_state(&quick, "master", TIMEOUT).expect("preempt delay elapsed");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn router_without_vips_still_elects_a_master() {
    let lab = Lab::new(2).expect("create the lab");
    let lines =
        |priority: u8| format!("advert_interval = \"100ms\"\npriority = {priority}\nvirtual_addresses = []");
    let mut one = agent(&lab, ONE, instance("VI_1", 51, &lines(200)));
    let two = agent(&lab, TWO, instance("VI_1", 51, &lines(100)));
    wait_for_state(&one, "master", TIMEOUT).expect("master");
    wait_for_state(&two, "backup", TIMEOUT).expect("backup");
    one.stop().expect("stop the agent");
    wait_for_state(&two, "master", TIMEOUT).expect("master");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn long_address_lists_are_sent_and_compared() {
    let lab = Lab::new(2).expect("create the lab");
    let list = |family: u8| -> String {
        let address = |last: usize| match family {
            4 => format!("\"10.0.1.{}/32\"", last + 1),
            _ if last == 0 => "\"fe80::1:1/64\"".to_owned(),
            _ => format!("\"fd00:122::1:{last:x}/64\""),
        };
        let count = if family == 4 { 254 } else { 89 };
        (0..count).map(address).collect::<Vec<_>>().join(", ")
    };
    let configuration = |priority: u8| {
        [4, 6]
            .map(|family| {
                let list = list(family);
                let lines = format!(
                    "advert_interval = \"200ms\"\npriority = {priority}\nvirtual_addresses = [{list}]\n\
                     garp = {{ repeat = 1, delay = \"0s\" }}"
                );
                instance(&format!("V{family}"), 51, &lines)
            })
            .concat()
    };
    let one = agent(&lab, ONE, configuration(200));
    let two = agent(&lab, TWO, configuration(100));
    try_wait_until(
        "one node to be master of both instances, the other a backup that receives adverts",
        TIMEOUT,
        || {
            let states = |agent: &Agent| -> anyhow::Result<Vec<String>> {
                Ok(control::status(agent)?.iter().map(|status| status.text("state").to_owned()).collect())
            };
            let (_, each) = control::stats(&two)?;
            let has_received = each
                .iter()
                .all(|counters| counters.number("advertisement-rcvd").is_ok_and(|received| received > 0));
            Ok(has_received && states(&one)? == ["master", "master"] && states(&two)? == ["backup", "backup"])
        },
    )
    .expect("elected");
    let (_, each) = control::stats(&two).expect("query the agent");
    for counters in each {
        assert_eq!(
            counters.number("address-list-errors").expect("read the counter"),
            0,
            "the address lists differ"
        );
        assert_eq!(counters.number("packet-length-errors").expect("read the counter"), 0);
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn both_checksum_forms_are_accepted_and_distinguished() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let start = WallTime::now();
    let lines = |priority: u8, form: &str| {
        format!(
            "advert_interval = \"100ms\"\npriority = {priority}\nchecksum = \"{form}\"\nvirtual_addresses = [\"{VIP}/24\"]"
        )
    };
    let mut newer = agent(&lab, ONE, instance("VI_1", 51, &lines(200, "rfc9568")));
    let older = agent(&lab, TWO, instance("VI_1", 51, &lines(100, "rfc5798")));
    wait_for_state(&newer, "master", TIMEOUT).expect("master");
    control::wait_for(&older, "to follow the RFC 9568 master", TIMEOUT, |status| {
        status.text("state") == "backup" && status.0["vipd:peers"][0]["checksum"] == "rfc9568"
    })
    .expect("router follows the master");
    assert!(control::counter(&older, "vipd:checksum-rfc9568-rcvd").expect("read the counter") > 0);
    newer.stop().expect("stop the agent");
    wait_for_state(&older, "master", TIMEOUT).expect("master");
    try_wait_until("adverts from the new master", TIMEOUT, || {
        Ok(capture.has(start, |frame| frame.from == TWO && frame.advert().is_some()))
    })
    .expect("adverts");
    for (station, form) in [(ONE, ChecksumForm::Rfc9568), (TWO, ChecksumForm::Rfc5798)] {
        let forms = capture.filter_map(start, |frame| {
            frame.advert().filter(|_| frame.from == station).map(|advert| advert.checksum_form)
        });
        assert!(!forms.is_empty() && forms.iter().all(|seen| *seen == Some(form)), "{station}: {forms:?}");
    }
}

//! Unicast peers: election, adverts from other sources, minimum TTL, and a missing source address.

use std::net::IpAddr;
use std::time::Duration;

use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::command::ping;
use vipd_tests::configuration::Family;
use vipd_tests::control::{self, wait_for_state};
use vipd_tests::frame::ChecksumForm;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::{Station, VIP, VIP6};
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const OTHER: Station = Station::Client;
const TIMEOUT: Duration = Duration::from_secs(20);

fn address(station: Station, family: Family) -> IpAddr {
    match family {
        Family::V4 => station.ipv4().into(),
        Family::V6 => station.ipv6().into(),
    }
}

fn vip(family: Family) -> IpAddr {
    match family {
        Family::V4 => VIP.into(),
        Family::V6 => VIP6.into(),
    }
}

fn agent(lab: &Lab, station: Station, peer: Station, family: Family, priority: u8) -> Agent {
    let instance = Instance {
        priority,
        interval: Duration::from_millis(100),
        unicast_peers: vec![address(peer, family)],
        ..Instance::of(family)
    };
    let mut agent =
        Agent::new(lab, station, vipd().expect("vipd binary"), &[instance]).expect("create the agent");
    agent.start().expect("start the agent");
    agent
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unicast_election_and_takeover_send_no_multicast() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(2).expect("create the lab");
        let client = lab.host(OTHER).expect("client host");
        let capture = lab.capture().expect("start the capture");
        let start = WallTime::now();
        let mut preferred = agent(&lab, ONE, TWO, family, 200);
        let backup = agent(&lab, TWO, ONE, family, 100);
        wait_for_state(&preferred, "master", TIMEOUT).expect("master");
        wait_for_state(&backup, "backup", TIMEOUT).expect("backup");
        let elected = WallTime::now();
        try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, vip(family)))
            .expect("ping is answered");
        let crashed = WallTime::now();
        preferred.kill().expect("kill the agent");
        wait_for_state(&backup, "master", TIMEOUT).expect("master");
        preferred.start().expect("restart the agent");
        wait_for_state(&preferred, "master", TIMEOUT).expect("master");
        wait_for_state(&backup, "backup", TIMEOUT).expect("backup");
        preferred.stop().expect("stop the agent");
        wait_for_state(&backup, "master", TIMEOUT).expect("master");

        let adverts = capture.filter_map(start, |frame| frame.advert().map(|advert| (frame.from, advert)));
        assert!(adverts.iter().any(|(_, advert)| advert.priority == 0), "no priority-0 advert on shutdown");
        for (from, advert) in &adverts {
            let to = if *from == ONE { TWO } else { ONE };
            assert_eq!((advert.source, advert.destination), (address(*from, family), address(to, family)));
            assert_eq!(advert.ttl, 255);
            let expected = if advert.source.is_ipv4() { ChecksumForm::Rfc5798 } else { ChecksumForm::Ipv6 };
            assert_eq!(advert.checksum_form, Some(expected), "{advert:?}");
        }
        // Without an agent, the kernel answers adverts with an ICMP error: Protocol Unreachable or,
        // for IPv6, Parameter Problem. With an agent, the kernel must not do so.
        let refused = capture.filter_map(elected, |frame| {
            frame.icmp_unreachable().filter(|_| frame.time < crashed).map(|error| (frame.from, error))
        });
        assert_eq!(refused, [], "{family}: an advert was answered with an ICMP error");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_from_unconfigured_peers_are_counted_and_ignored() {
    let lab = Lab::new(2).expect("create the lab");
    let one = agent(&lab, ONE, TWO, Family::V4, 100);
    wait_for_state(&one, "master", TIMEOUT).expect("master");
    let injector = Injector::open(lab.host(OTHER).expect("lab host")).expect("open the injector");
    let mut advert = OTHER.advert(Version::V3, 51, 254);
    advert.destination = ONE.ipv4().into();
    advert.destination_mac = ONE.mac();
    for _ in 0..10 {
        injector.send(&advert.frame()).expect("send");
    }
    // A unicast router ignores adverts to the multicast group.
    injector.send(&OTHER.advert(Version::V3, 51, 254).frame()).expect("send");
    try_wait_until("the adverts to be counted", TIMEOUT, || {
        let (global, _) = control::stats(&one)?;
        Ok(control::counter(&one, "vipd:peer-errors")? == 10
            && global.number("vipd:destination-passed")? == 1)
    })
    .expect("counted");
    assert_eq!(control::counter(&one, "advertisement-rcvd").expect("read the counter"), 0);
    assert_eq!(control::state(&one).expect("query the agent"), "master");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn min_ttl_applies_to_unicast_peers() {
    let lab = Lab::new(2).expect("create the lab");
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\npriority = 100\nadvert_interval = \"1s\"\n\
         unicast_source = \"{}\"\nunicast_peers = [{{ address = \"{}\", min_ttl = 250 }}]\n\
         virtual_addresses = [\"{VIP}/24\"]\n",
        ONE.ipv4(),
        TWO.ipv4()
    );
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().expect("vipd binary"), configuration)
        .expect("create the agent");
    agent.start().expect("start the agent");
    wait_for_state(&agent, "backup", TIMEOUT).expect("backup");
    let injector = Injector::open(lab.host(TWO).expect("lab host")).expect("open the injector");
    let mut advert = TWO.advert(Version::V3, 51, 200);
    advert.destination = ONE.ipv4().into();
    advert.destination_mac = ONE.mac();
    for ttl in [249, 250, 255] {
        advert.ttl = ttl;
        injector.send(&advert.frame()).expect("send");
    }
    try_wait_until("the adverts to be counted", TIMEOUT, || {
        Ok(control::counter(&agent, "vipd:ip-ttl-errors")? == 1
            && control::counter(&agent, "advertisement-rcvd")? == 2)
    })
    .expect("counted");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn missing_unicast_source_is_a_fault() {
    let lab = Lab::new(2).expect("create the lab");
    let host = lab.host(ONE).expect("lab host");
    let one = agent(&lab, ONE, TWO, Family::V4, 100);
    wait_for_state(&one, "master", TIMEOUT).expect("master");
    let source = ONE.ipv4().to_string();
    vipd_tests::command::run(host, "ip", &["address", "add", "10.9.9.9/24", "dev", "eth1"]).expect("add");
    vipd_tests::command::run(host, "ip", &["address", "del", &format!("{source}/24"), "dev", "eth1"])
        .expect("remove the address");
    let status = wait_for_state(&one, "fault", TIMEOUT).expect("fault");
    assert!(status.text("vipd:fault-reason").contains(&source), "{status:?}");
    vipd_tests::command::run(host, "ip", &["address", "add", &format!("{source}/24"), "dev", "eth1"])
        .expect("add the address");
    wait_for_state(&one, "master", TIMEOUT).expect("master");
}

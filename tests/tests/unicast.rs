//! Unicast peers: who is heard, who is not, and what never happens.

use std::net::IpAddr;
use std::time::Duration;

use vipd_tests::agent::{Agent, Instance};
use vipd_tests::ask::{self, until_state};
use vipd_tests::binary::vipd;
use vipd_tests::command::{ping, succeeds};
use vipd_tests::configuration::Family;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::{Station, VIP, VIP6};
use vipd_tests::time::WallTime;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const STRANGER: Station = Station::Client;
const SOON: Duration = Duration::from_secs(20);

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
    let mut agent = Agent::new(lab, station, vipd().expect("a vipd"), &[instance]).expect("an agent");
    agent.start().expect("it starts");
    agent
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn peers_elect_and_take_over_without_a_frame_to_the_group() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(2).expect("a lab");
        let client = lab.host(STRANGER).expect("a client");
        let capture = lab.capture().expect("a capture");
        let start = WallTime::now();
        let mut preferred = agent(&lab, ONE, TWO, family, 200);
        let backup = agent(&lab, TWO, ONE, family, 100);
        until_state(&preferred, "master", SOON).expect("master");
        until_state(&backup, "backup", SOON).expect("backup");
        let elected = WallTime::now();
        succeeds("the client's ping", SOON, || ping(client, vip(family))).expect("an answer");
        let crashed = WallTime::now();
        preferred.kill().expect("killed");
        until_state(&backup, "master", SOON).expect("master");
        preferred.start().expect("it starts again");
        until_state(&preferred, "master", SOON).expect("master");
        until_state(&backup, "backup", SOON).expect("backup");
        preferred.stop().expect("it stops");
        until_state(&backup, "master", SOON).expect("master");

        let adverts = capture.search(start, |frame| frame.advert().map(|advert| (frame.from, advert)));
        assert!(adverts.iter().any(|(_, advert)| advert.priority == 0), "it said that it stops");
        for (from, advert) in &adverts {
            let to = if *from == ONE { TWO } else { ONE };
            assert_eq!((advert.source, advert.destination), (address(*from, family), address(to, family)));
            assert_eq!(advert.ttl, 255);
            assert!(advert.checksum_form.is_some(), "the checksum is over the peer's address: {advert:?}");
        }
        // A node without an agent has a kernel that answers for itself; one with an agent is silent.
        let refused = capture.search(elected, |frame| {
            frame.icmp_unreachable().filter(|_| frame.time < crashed).map(|error| (frame.from, error))
        });
        assert_eq!(refused, [], "{family}: an advert was answered with an ICMP error");
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_stranger_s_adverts_are_counted_and_change_nothing() {
    let lab = Lab::new(2).expect("a lab");
    let one = agent(&lab, ONE, TWO, Family::V4, 100);
    until_state(&one, "master", SOON).expect("master");
    let injector = Injector::open(lab.host(STRANGER).expect("a host")).expect("an injector");
    let mut advert = STRANGER.advert(Version::V3, 51, 254);
    advert.destination = ONE.ipv4().into();
    advert.destination_mac = ONE.mac();
    for _ in 0..10 {
        injector.send(&advert.frame()).expect("sent");
    }
    // To the group, this virtual router listens to nobody.
    injector.send(&STRANGER.advert(Version::V3, 51, 254).frame()).expect("sent");
    succeeds("the adverts to be counted", SOON, || {
        let (global, _) = ask::stats(&one)?;
        Ok(ask::count(&one, "vipd:peer-errors")? == 10 && global.number("vipd:destination-passed")? == 1)
    })
    .expect("counted");
    assert_eq!(ask::count(&one, "advertisement-rcvd").expect("a counter"), 0);
    assert_eq!(ask::state(&one).expect("it answers"), "master");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_routed_peer_s_ttl_is_what_was_allowed_for_it() {
    let lab = Lab::new(2).expect("a lab");
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\npriority = 100\nadvert_interval = \"1s\"\n\
         unicast_source = \"{}\"\nunicast_peers = [{{ address = \"{}\", min_ttl = 250 }}]\n\
         virtual_addresses = [\"{VIP}/24\"]\n",
        ONE.ipv4(),
        TWO.ipv4()
    );
    let mut agent =
        Agent::with_configuration(&lab, ONE, vipd().expect("a vipd"), configuration).expect("an agent");
    agent.start().expect("it starts");
    let injector = Injector::open(lab.host(TWO).expect("a host")).expect("an injector");
    let mut advert = TWO.advert(Version::V3, 51, 200);
    advert.destination = ONE.ipv4().into();
    advert.destination_mac = ONE.mac();
    for ttl in [249, 250, 255] {
        advert.ttl = ttl;
        injector.send(&advert.frame()).expect("sent");
    }
    succeeds("the adverts to be counted", SOON, || {
        Ok(ask::count(&agent, "vipd:ip-ttl-errors")? == 1 && ask::count(&agent, "advertisement-rcvd")? == 2)
    })
    .expect("counted");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn without_its_source_it_waits_in_fault() {
    let lab = Lab::new(2).expect("a lab");
    let host = lab.host(ONE).expect("a host");
    let one = agent(&lab, ONE, TWO, Family::V4, 100);
    until_state(&one, "master", SOON).expect("master");
    let source = ONE.ipv4().to_string();
    vipd_tests::command::text(host, "ip", &["address", "add", "10.9.9.9/24", "dev", "eth1"]).expect("added");
    vipd_tests::command::text(host, "ip", &["address", "del", &format!("{source}/24"), "dev", "eth1"])
        .expect("gone");
    let status = until_state(&one, "fault", SOON).expect("fault");
    assert!(status.text("vipd:fault-reason").contains(&source), "{status:?}");
    vipd_tests::command::text(host, "ip", &["address", "add", &format!("{source}/24"), "dev", "eth1"])
        .expect("back");
    until_state(&one, "master", SOON).expect("master");
}

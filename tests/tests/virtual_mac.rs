//! The virtual router's own MAC: who sends from it, who answers with it, and what is left of it.

use std::net::IpAddr;
use std::time::Duration;

use vipd_tests::agent::{Agent, Instance};
use vipd_tests::ask::{self, until_state};
use vipd_tests::binary::vipd;
use vipd_tests::command::{ping, succeeds, text};
use vipd_tests::configuration::Family;
use vipd_tests::lab::Lab;
use vipd_tests::station::{Mac, Station, VIP, VIP6};
use vipd_tests::time::WallTime;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const SOON: Duration = Duration::from_secs(20);
const MAC4: Mac = Mac([0, 0, 0x5e, 0, 1, 51]);
const MAC6: Mac = Mac([0, 0, 0x5e, 0, 2, 51]);

fn instance(family: Family, priority: u8) -> Instance {
    Instance {
        name: format!("VI_{family}"),
        priority,
        interval: Duration::from_millis(100),
        virtual_mac: true,
        ..Instance::of(family)
    }
}

fn agent(lab: &Lab, station: Station, priority: u8) -> Agent {
    let instances = [instance(Family::V4, priority), instance(Family::V6, priority)];
    let mut agent = Agent::new(lab, station, vipd().expect("a vipd"), &instances).expect("an agent");
    agent.start().expect("it starts");
    agent
}

fn sysctl(lab: &Lab, station: Station, name: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/conf/eth1/{name}");
    let host = lab.host(station).expect("a host");
    host.run(move || std::fs::read_to_string(path)).expect("a sysctl").trim().to_owned()
}

fn links(lab: &Lab, station: Station) -> String {
    text(lab.host(station).expect("a host"), "ip", &["-o", "-d", "link"]).expect("links")
}

/// MAC of an address in the client's neighbour table.
fn learned(lab: &Lab, address: IpAddr) -> String {
    let client = lab.host(Station::Client).expect("a client");
    text(client, "ip", &["neighbour", "show", &address.to_string()]).expect("a table")
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_announcements_and_answers_bear_it_and_the_client_never_learns_another() {
    let lab = Lab::new(2).expect("a lab");
    let client = lab.host(Station::Client).expect("a client");
    let capture = lab.capture().expect("a capture");
    let start = WallTime::now();
    let mut preferred = agent(&lab, ONE, 200);
    let backup = agent(&lab, TWO, 100);
    until_state(&preferred, "master", SOON).expect("master");
    until_state(&backup, "backup", SOON).expect("backup");
    for _ in 0..2 {
        for (address, mac) in [(IpAddr::from(VIP), MAC4), (VIP6.into(), MAC6)] {
            succeeds("the client's ping", SOON, || ping(client, address)).expect("an answer");
            let entry = learned(&lab, address);
            assert!(entry.contains(&mac.to_string()), "{entry}");
        }
        if preferred.is_running() {
            preferred.stop().expect("it stops");
            until_state(&backup, "master", SOON).expect("master");
        }
    }
    let adverts = capture
        .search(start, |frame| frame.advert().map(|advert| (advert.source.is_ipv6(), advert.source_mac)));
    assert!([false, true].iter().all(|family| adverts.iter().any(|(v6, _)| v6 == family)), "adverts of both");
    assert!(adverts.iter().all(|(v6, mac)| *mac == if *v6 { MAC6 } else { MAC4 }), "{adverts:?}");
    // Nobody has ever said that the address is somewhere else.
    let arps =
        capture.search(start, |frame| frame.arp().filter(|arp| arp.sender == VIP).map(|arp| arp.sender_mac));
    assert!(!arps.is_empty() && arps.iter().all(|mac| *mac == MAC4), "{arps:?}");
    let said = capture.search(start, |frame| {
        frame.neighbor_advertisement().filter(|said| said.target == VIP6).and_then(|said| said.target_mac)
    });
    assert!(!said.is_empty() && said.iter().all(|mac| *mac == MAC6), "{said:?}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_backup_is_silent_and_has_no_address_of_its_mac() {
    let lab = Lab::new(2).expect("a lab");
    let capture = lab.capture().expect("a capture");
    let start = WallTime::now();
    let preferred = agent(&lab, ONE, 200);
    let backup = agent(&lab, TWO, 100);
    until_state(&preferred, "master", SOON).expect("master");
    until_state(&backup, "backup", SOON).expect("backup");
    succeeds("some adverts", SOON, || Ok(capture.search(start, vipd_tests::frame::Frame::advert).len() > 40))
        .expect("adverts");
    let leaked = capture.search(start, |frame| {
        let mac = frame.source_mac().filter(|mac| [MAC4, MAC6].contains(mac))?;
        (frame.from == TWO).then_some(mac)
    });
    assert_eq!(leaked, [], "a backup sent from the virtual MAC");
    let shown = links(&lab, TWO);
    assert_eq!(shown.matches("macvlan mode private").count(), 2, "{shown}");
    for station in [ONE, TWO] {
        let all =
            text(lab.host(station).expect("a host"), "ip", &["-6", "-o", "address"]).expect("addresses");
        assert!(!all.contains("fe80::200:5eff:fe00"), "RFC 9568 section 7.4: {all}");
    }
    // The master's own macvlan reports no group but those of its IPv6 addresses.
    let reports =
        capture.search(start, |frame| frame.membership_report().filter(|report| report.source_mac == MAC4));
    assert_eq!(reports, [], "IGMP from the virtual MAC");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn nothing_is_left_behind_by_a_stop_or_after_a_crash() {
    let lab = Lab::new(1).expect("a lab");
    let before = (sysctl(&lab, ONE, "arp_ignore"), sysctl(&lab, ONE, "arp_announce"));
    let mut agent = agent(&lab, ONE, 100);
    until_state(&agent, "master", SOON).expect("master");
    assert_eq!(sysctl(&lab, ONE, "arp_ignore"), "1");
    agent.stop().expect("it stops");
    assert!(!links(&lab, ONE).contains("macvlan"), "{}", links(&lab, ONE));
    assert_eq!((sysctl(&lab, ONE, "arp_ignore"), sysctl(&lab, ONE, "arp_announce")), before);

    agent.start().expect("it starts");
    until_state(&agent, "master", SOON).expect("master");
    agent.kill().expect("killed");
    assert!(links(&lab, ONE).contains("macvlan"), "a killed agent's links stay");
    // Without the virtual MAC now: what it needed is taken away at the start.
    let plain = Instance { interval: Duration::from_millis(100), ..Instance::default() };
    let mut plain = Agent::new(&lab, ONE, vipd().expect("a vipd"), &[plain]).expect("an agent");
    plain.start().expect("it starts");
    assert!(!links(&lab, ONE).contains("macvlan"), "{}", links(&lab, ONE));
    assert_eq!((sysctl(&lab, ONE, "arp_ignore"), sysctl(&lab, ONE, "arp_announce")), before);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_can_come_from_the_interface_s_own_mac() {
    let lab = Lab::new(1).expect("a lab");
    let capture = lab.capture().expect("a capture");
    let start = WallTime::now();
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"100ms\"\nvirtual_mac = true\n\
         virtual_mac_transmit_on_base = true\nvirtual_addresses = [\"{VIP}/24\"]\n"
    );
    let mut agent =
        Agent::with_configuration(&lab, ONE, vipd().expect("a vipd"), configuration).expect("an agent");
    agent.start().expect("it starts");
    succeeds("the announcement", SOON, || {
        Ok(capture.has(start, |frame| frame.gratuitous_arp(VIP).is_some_and(|arp| arp.sender_mac == MAC4)))
    })
    .expect("announced");
    let macs = capture.search(start, |frame| frame.advert().map(|advert| advert.source_mac));
    assert!(!macs.is_empty() && macs.iter().all(|mac| *mac == ONE.mac()), "{macs:?}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn one_that_somebody_deletes_is_made_again_and_the_other_stays() {
    let lab = Lab::new(1).expect("a lab");
    let host = lab.host(ONE).expect("a host");
    let agent = agent(&lab, ONE, 100);
    let states = || -> anyhow::Result<Vec<String>> {
        Ok(ask::status(&agent)?.iter().map(|status| status.text("state").to_owned()).collect())
    };
    succeeds("both to be master", SOON, || Ok(states()? == ["master", "master"])).expect("master");
    text(host, "ip", &["link", "delete", "vrrp4-51"]).expect("deleted");
    succeeds("it to be there again", SOON, || {
        Ok(states()? == ["master", "master"] && links(&lab, ONE).contains("vrrp4-51"))
    })
    .expect("made again");
    let client = lab.host(Station::Client).expect("a client");
    succeeds("the client's ping", SOON, || ping(client, VIP.into())).expect("an answer");
    let (_, each) = ask::stats(&agent).expect("it answers");
    assert_eq!(each[1].number("master-transitions").expect("a counter"), 1, "IPv6 has seen nothing of it");
    assert_eq!(each[0].number("master-transitions").expect("a counter"), 2);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn two_virtual_routers_share_an_interface_and_it_may_come_and_go() {
    let lab = Lab::new(1).expect("a lab");
    let agent = agent(&lab, ONE, 100);
    let masters = || Ok(ask::status(&agent)?.iter().all(|status| status.text("state") == "master"));
    succeeds("both to be master", SOON, masters).expect("master");
    lab.unplug(ONE).expect("unplugged");
    until_state(&agent, "fault", SOON).expect("fault");
    lab.plug(ONE).expect("plugged in");
    succeeds("both to be master", SOON, masters).expect("master");
    let client = lab.host(Station::Client).expect("a client");
    for address in [IpAddr::from(VIP), VIP6.into()] {
        succeeds("the client's ping", SOON, || ping(client, address)).expect("an answer");
    }
    assert_eq!(links(&lab, ONE).matches("macvlan mode private").count(), 2, "{}", links(&lab, ONE));
    assert_eq!(sysctl(&lab, ONE, "arp_ignore"), "1", "the new interface is prepared, too");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn addresses_of_the_other_family_have_the_interface_s_own_mac() {
    let lab = Lab::new(1).expect("a lab");
    let client = lab.host(Station::Client).expect("a client");
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"100ms\"\nvirtual_mac = true\n\
         virtual_addresses = [\"{VIP}/24\"]\nvirtual_addresses_excluded = [\"{VIP6}/64\"]\n"
    );
    let mut agent =
        Agent::with_configuration(&lab, ONE, vipd().expect("a vipd"), configuration).expect("an agent");
    agent.start().expect("it starts");
    for (address, mac) in [(IpAddr::from(VIP), MAC4), (VIP6.into(), ONE.mac())] {
        succeeds("the client's ping", SOON, || ping(client, address)).expect("an answer");
        assert!(learned(&lab, address).contains(&mac.to_string()), "{}", learned(&lab, address));
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_macvlan_that_somebody_else_has_made_is_left_alone() {
    let lab = Lab::new(1).expect("a lab");
    let host = lab.host(ONE).expect("a host");
    let mac = MAC4.to_string();
    let ip = |arguments: &[&str]| text(host, "ip", arguments).expect("done");
    ip(&["link", "add", "hand-made", "link", "eth1", "address", &mac, "type", "macvlan", "mode", "private"]);
    ip(&["address", "add", "10.9.9.9/32", "dev", "hand-made"]);
    let mut agent = agent(&lab, ONE, 100);
    agent.stop().expect("it stops");
    assert!(ip(&["-o", "address"]).contains("10.9.9.9"), "{}", ip(&["-o", "address"]));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn many_that_go_down_at_once_keep_nobody_waiting() {
    const MANY: u8 = 40;
    let lab = Lab::new(2).expect("a lab");
    let capture = lab.capture().expect("a capture");
    let one = |vrid: u8| Instance {
        name: format!("VI_{vrid}"),
        vrid,
        priority: 100,
        interval: Duration::from_millis(10),
        addresses: vec![[10, 0, vrid, 1].into()],
        virtual_mac: vrid <= MANY,
        ..Instance::default()
    };
    let all: Vec<_> = (1..=MANY + 1).map(one).collect();
    let mut lower = Agent::new(&lab, ONE, vipd().expect("a vipd"), &all).expect("an agent");
    lower.start().expect("it starts");
    let masters = |agent: &Agent, count: usize| -> anyhow::Result<bool> {
        Ok(ask::status(agent)?.iter().filter(|status| status.text("state") == "master").count() == count)
    };
    succeeds("it to be master of all", SOON, || masters(&lower, all.len())).expect("master");
    // Those with a virtual MAC go to the other one; the last stays, and adverts on.
    let higher: Vec<_> =
        all[..usize::from(MANY)].iter().cloned().map(|one| Instance { priority: 200, ..one }).collect();
    let mut other = Agent::new(&lab, TWO, vipd().expect("a vipd"), &higher).expect("an agent");
    let start = WallTime::now();
    other.start().expect("it starts");
    succeeds("the other to be master of the rest", SOON, || masters(&other, higher.len())).expect("master");
    let yielded: Vec<_> = capture.search(start, |frame| {
        frame.advert().filter(|advert| frame.from == TWO && advert.priority > 0).map(|_| frame.time)
    });
    let (first, last) = (yielded[0], *yielded.last().expect("adverts"));
    let stayed = |frame: &vipd_tests::frame::Frame| {
        frame.from == ONE
            && frame.time >= first
            && frame.advert().is_some_and(|advert| advert.vrid == MANY + 1)
    };
    let adverts = capture.search(start, |frame| stayed(frame).then_some(frame.time));
    // An engine that waited for each link would be silent for half a second, 50 intervals.
    let gaps = adverts.windows(2).map(|pair| pair[1].millis_since(pair[0]));
    let longest = gaps.fold(0.0, f64::max);
    assert!(last > first && longest < 250.0, "silent for {longest} ms");
    assert_eq!(ask::status(&lower).expect("it answers")[usize::from(MANY)].text("state"), "master");
}

//! The virtual router MAC: use in adverts, announcements and replies, silence in Backup, and
//! cleanup of macvlans.

use std::net::IpAddr;
use std::time::Duration;

use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::command::{ping, run};
use vipd_tests::configuration::Family;
use vipd_tests::control::{self, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::station::{Mac, Station, VIP, VIP6};
use vipd_tests::time::WallTime;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);
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
    let mut agent =
        Agent::new(lab, station, vipd().expect("vipd binary"), &instances).expect("create the agent");
    agent.start().expect("start the agent");
    agent
}

fn sysctl(lab: &Lab, station: Station, name: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/conf/eth1/{name}");
    let host = lab.host(station).expect("lab host");
    host.run(move || std::fs::read_to_string(path)).expect("read the sysctl").trim().to_owned()
}

fn links(lab: &Lab, station: Station) -> String {
    run(lab.host(station).expect("lab host"), "ip", &["-o", "-d", "link"]).expect("list the links")
}

/// Returns the client's neighbor entry for an address.
fn neighbor_entry(lab: &Lab, address: IpAddr) -> String {
    let client = lab.host(Station::Client).expect("client host");
    run(client, "ip", &["neighbor", "show", &address.to_string()]).expect("read the neighbor table")
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_announcements_and_answers_use_the_virtual_mac() {
    let lab = Lab::new(2).expect("create the lab");
    let client = lab.host(Station::Client).expect("client host");
    let capture = lab.capture().expect("start the capture");
    let start = WallTime::now();
    let mut preferred = agent(&lab, ONE, 200);
    let backup = agent(&lab, TWO, 100);
    wait_for_state(&preferred, "master", TIMEOUT).expect("master");
    wait_for_state(&backup, "backup", TIMEOUT).expect("backup");
    for _ in 0..2 {
        for (address, mac) in [(IpAddr::from(VIP), MAC4), (VIP6.into(), MAC6)] {
            try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, address))
                .expect("ping is answered");
            let entry = neighbor_entry(&lab, address);
            assert!(entry.contains(&mac.to_string()), "{entry}");
        }
        if preferred.is_running() {
            preferred.stop().expect("stop the agent");
            wait_for_state(&backup, "master", TIMEOUT).expect("master");
        }
    }
    let adverts = capture
        .filter_map(start, |frame| frame.advert().map(|advert| (advert.source.is_ipv6(), advert.source_mac)));
    assert!(
        [false, true].iter().all(|family| adverts.iter().any(|(v6, _)| v6 == family)),
        "expected adverts of both families"
    );
    assert!(adverts.iter().all(|(v6, mac)| *mac == if *v6 { MAC6 } else { MAC4 }), "{adverts:?}");
    // No frame may announce another MAC.
    let arps = capture
        .filter_map(start, |frame| frame.arp().filter(|arp| arp.sender == VIP).map(|arp| arp.sender_mac));
    assert!(!arps.is_empty() && arps.iter().all(|mac| *mac == MAC4), "{arps:?}");
    let announced = capture.filter_map(start, |frame| {
        frame.neighbor_advertisement().filter(|na| na.target == VIP6).and_then(|na| na.target_mac)
    });
    assert!(!announced.is_empty() && announced.iter().all(|mac| *mac == MAC6), "{announced:?}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_sends_nothing_from_the_virtual_mac() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let start = WallTime::now();
    let preferred = agent(&lab, ONE, 200);
    let backup = agent(&lab, TWO, 100);
    wait_for_state(&preferred, "master", TIMEOUT).expect("master");
    wait_for_state(&backup, "backup", TIMEOUT).expect("backup");
    try_wait_until("more than 40 adverts", TIMEOUT, || {
        Ok(capture.filter_map(start, vipd_tests::frame::Frame::advert).len() > 40)
    })
    .expect("adverts");
    let leaked = capture.filter_map(start, |frame| {
        let mac = frame.source_mac().filter(|mac| [MAC4, MAC6].contains(mac))?;
        (frame.from == TWO).then_some(mac)
    });
    assert_eq!(leaked, [], "a backup sent from the virtual MAC");
    let shown = links(&lab, TWO);
    assert_eq!(shown.matches("macvlan mode private").count(), 2, "{shown}");
    for station in [ONE, TWO] {
        let all = run(lab.host(station).expect("lab host"), "ip", &["-6", "-o", "address"])
            .expect("list the addresses");
        assert!(!all.contains("fe80::200:5eff:fe00"), "an address is derived from the virtual MAC: {all}");
    }
    // A macvlan sends MLD reports for its IPv6 addresses, but must not send IGMP reports.
    let reports = capture
        .filter_map(start, |frame| frame.membership_report().filter(|report| report.source_mac == MAC4));
    assert_eq!(reports, [], "IGMP from the virtual MAC");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn macvlans_and_sysctls_are_cleaned_up_after_shutdown_and_crash() {
    let lab = Lab::new(1).expect("create the lab");
    let before = (sysctl(&lab, ONE, "arp_ignore"), sysctl(&lab, ONE, "arp_announce"));
    let mut agent = agent(&lab, ONE, 100);
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    assert_eq!(sysctl(&lab, ONE, "arp_ignore"), "1");
    agent.stop().expect("stop the agent");
    assert!(!links(&lab, ONE).contains("macvlan"), "{}", links(&lab, ONE));
    assert_eq!((sysctl(&lab, ONE, "arp_ignore"), sysctl(&lab, ONE, "arp_announce")), before);

    agent.start().expect("start the agent");
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    agent.kill().expect("kill the agent");
    assert!(links(&lab, ONE).contains("macvlan"), "the macvlans of a killed agent remain");
    // Startup removes stale macvlans and restores the sysctls even if virtual MACs are no longer
    // configured.
    let plain = Instance { interval: Duration::from_millis(100), ..Instance::default() };
    let mut plain = Agent::new(&lab, ONE, vipd().expect("vipd binary"), &[plain]).expect("create the agent");
    plain.start().expect("start the agent");
    assert!(!links(&lab, ONE).contains("macvlan"), "{}", links(&lab, ONE));
    assert_eq!((sysctl(&lab, ONE, "arp_ignore"), sysctl(&lab, ONE, "arp_announce")), before);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_use_the_interface_mac_if_configured() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let start = WallTime::now();
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"100ms\"\nvirtual_mac = true\n\
         virtual_mac_transmit_on_base = true\nvirtual_addresses = [\"{VIP}/24\"]\n"
    );
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().expect("vipd binary"), configuration)
        .expect("create the agent");
    agent.start().expect("start the agent");
    try_wait_until("the announcement", TIMEOUT, || {
        Ok(capture.has(start, |frame| frame.gratuitous_arp(VIP).is_some_and(|arp| arp.sender_mac == MAC4)))
    })
    .expect("announced");
    let macs = capture.filter_map(start, |frame| frame.advert().map(|advert| advert.source_mac));
    assert!(!macs.is_empty() && macs.iter().all(|mac| *mac == ONE.mac()), "{macs:?}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn externally_deleted_macvlan_is_recreated() {
    let lab = Lab::new(1).expect("create the lab");
    let host = lab.host(ONE).expect("lab host");
    let agent = agent(&lab, ONE, 100);
    let states = || -> anyhow::Result<Vec<String>> {
        Ok(control::status(&agent)?.iter().map(|status| status.text("state").to_owned()).collect())
    };
    try_wait_until("both instances to be master", TIMEOUT, || Ok(states()? == ["master", "master"]))
        .expect("master");
    run(host, "ip", &["link", "delete", "vrrp4-51"]).expect("delete");
    try_wait_until("the macvlan to be recreated", TIMEOUT, || {
        Ok(states()? == ["master", "master"] && links(&lab, ONE).contains("vrrp4-51"))
    })
    .expect("macvlan recreated");
    let client = lab.host(Station::Client).expect("client host");
    try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, VIP.into()))
        .expect("ping is answered");
    let (_, each) = control::stats(&agent).expect("query the agent");
    assert_eq!(
        each[1].number("master-transitions").expect("read the counter"),
        1,
        "the IPv6 instance was affected"
    );
    assert_eq!(each[0].number("master-transitions").expect("read the counter"), 2);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn macvlans_are_recreated_with_their_interface() {
    let lab = Lab::new(1).expect("create the lab");
    let agent = agent(&lab, ONE, 100);
    let masters = || Ok(control::status(&agent)?.iter().all(|status| status.text("state") == "master"));
    try_wait_until("both instances to be master", TIMEOUT, masters).expect("master");
    lab.unplug(ONE).expect("unplug");
    wait_for_state(&agent, "fault", TIMEOUT).expect("fault");
    lab.plug(ONE).expect("plug in");
    try_wait_until("both instances to be master", TIMEOUT, masters).expect("master");
    let client = lab.host(Station::Client).expect("client host");
    for address in [IpAddr::from(VIP), VIP6.into()] {
        try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, address))
            .expect("ping is answered");
    }
    assert_eq!(links(&lab, ONE).matches("macvlan mode private").count(), 2, "{}", links(&lab, ONE));
    assert_eq!(sysctl(&lab, ONE, "arp_ignore"), "1", "the sysctls of the new interface are not set");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_of_the_other_family_use_the_interface_mac() {
    let lab = Lab::new(1).expect("create the lab");
    let client = lab.host(Station::Client).expect("client host");
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"100ms\"\nvirtual_mac = true\n\
         virtual_addresses = [\"{VIP}/24\"]\nvirtual_addresses_excluded = [\"{VIP6}/64\"]\n"
    );
    let mut agent = Agent::with_configuration(&lab, ONE, vipd().expect("vipd binary"), configuration)
        .expect("create the agent");
    agent.start().expect("start the agent");
    for (address, mac) in [(IpAddr::from(VIP), MAC4), (VIP6.into(), ONE.mac())] {
        try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, address))
            .expect("ping is answered");
        assert!(
            neighbor_entry(&lab, address).contains(&mac.to_string()),
            "{}",
            neighbor_entry(&lab, address)
        );
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn foreign_macvlan_is_kept() {
    let lab = Lab::new(1).expect("create the lab");
    let host = lab.host(ONE).expect("lab host");
    let mac = MAC4.to_string();
    let ip = |arguments: &[&str]| run(host, "ip", arguments).expect("run ip");
    ip(&["link", "add", "hand-made", "link", "eth1", "address", &mac, "type", "macvlan", "mode", "private"]);
    ip(&["address", "add", "10.9.9.9/32", "dev", "hand-made"]);
    let mut agent = agent(&lab, ONE, 100);
    agent.stop().expect("stop the agent");
    assert!(ip(&["-o", "address"]).contains("10.9.9.9"), "{}", ip(&["-o", "address"]));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn mass_yield_does_not_delay_adverts() {
    const MANY: u8 = 40;
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
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
    let mut lower = Agent::new(&lab, ONE, vipd().expect("vipd binary"), &all).expect("create the agent");
    lower.start().expect("start the agent");
    let masters = |agent: &Agent, count: usize| -> anyhow::Result<bool> {
        Ok(control::status(agent)?.iter().filter(|status| status.text("state") == "master").count() == count)
    };
    try_wait_until("the agent to be master of all instances", TIMEOUT, || masters(&lower, all.len()))
        .expect("master");
    // The instances with a virtual MAC yield to the other node; the last instance keeps sending
    // adverts.
    let higher: Vec<_> =
        all[..usize::from(MANY)].iter().cloned().map(|one| Instance { priority: 200, ..one }).collect();
    let mut other = Agent::new(&lab, TWO, vipd().expect("vipd binary"), &higher).expect("create the agent");
    let start = WallTime::now();
    other.start().expect("start the agent");
    try_wait_until("the other node to be master of these instances", TIMEOUT, || {
        masters(&other, higher.len())
    })
    .expect("master");
    let yielded: Vec<_> = capture.filter_map(start, |frame| {
        frame.advert().filter(|advert| frame.from == TWO && advert.priority > 0).map(|_| frame.time)
    });
    let (first, last) = (yielded[0], *yielded.last().expect("adverts"));
    let stayed = |frame: &vipd_tests::frame::Frame| {
        frame.from == ONE
            && frame.time >= first
            && frame.advert().is_some_and(|advert| advert.vrid == MANY + 1)
    };
    let adverts = capture.filter_map(start, |frame| stayed(frame).then_some(frame.time));
    // Waiting for every macvlan in turn would delay adverts for half a second, that is, 50
    // intervals.
    let gaps = adverts.windows(2).map(|pair| pair[1].millis_since(pair[0]));
    let longest = gaps.fold(0.0, f64::max);
    assert!(last > first && longest < 250.0, "no adverts for {longest} ms");
    assert_eq!(control::status(&lower).expect("query the agent")[usize::from(MANY)].text("state"), "master");
}

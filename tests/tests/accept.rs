//! Accept_Mode: whether a master accepts packets that are addressed to its VIPs.

use std::time::Duration;

use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::command::{ping, run};
use vipd_tests::control::{self, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::station::{Station, VIP, VIP6};
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(20);

fn agent(lab: &Lab, accept: bool) -> Agent {
    let configuration = format!(
        "[[instance]]\nname = \"V4\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"100ms\"\naccept = {accept}\n\
         virtual_addresses = [\"{VIP}/24\"]\n\n\
         [[instance]]\nname = \"V6\"\ninterface = \"eth1\"\nvrid = 51\nadvert_interval = \"100ms\"\naccept = {accept}\n\
         virtual_addresses = [\"fe80::50/64\", \"{VIP6}/64\"]\n"
    );
    let mut agent = Agent::with_configuration(lab, ONE, vipd().expect("vipd binary"), configuration)
        .expect("create the agent");
    agent.start().expect("start the agent");
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    agent
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_resolve_but_do_not_answer_without_accept() {
    let lab = Lab::new(1).expect("create the lab");
    let client = lab.host(Station::Client).expect("client host");
    let mut agent = agent(&lab, false);
    try_wait_until("both instances to be master", TIMEOUT, || {
        Ok(control::status(&agent)?.iter().all(|status| status.text("state") == "master"))
    })
    .expect("master");
    for (index, address) in [VIP.into(), VIP6.into()].into_iter().enumerate() {
        try_wait_until("a dropped echo request to be counted", TIMEOUT, || {
            assert!(!ping(client, address)?, "{address} answered a ping");
            Ok(control::stats(&agent)?.1[index].number("vipd:not-accepted")? > 0)
        })
        .expect("dropped and counted");
        // ARP, and Neighbor Solicitations and Advertisements, must pass (RFC 9568 section 6.4.3).
        let entry =
            run(client, "ip", &["neighbor", "show", &address.to_string()]).expect("read the neighbor table");
        assert!(entry.contains(&ONE.mac().to_string()), "{entry}");
    }
    // The node's own addresses are not filtered.
    assert!(
        ping(client, ONE.ipv4().into()).expect("run ping")
            && ping(client, ONE.ipv6().into()).expect("run ping")
    );
    agent.stop().expect("stop the agent");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_answer_with_accept() {
    let lab = Lab::new(1).expect("create the lab");
    let client = lab.host(Station::Client).expect("client host");
    let agent = agent(&lab, true);
    for address in [VIP.into(), VIP6.into()] {
        try_wait_until("a reply to the client's ping", TIMEOUT, || ping(client, address))
            .expect("ping is answered");
    }
    assert_eq!(control::counter(&agent, "vipd:not-accepted").expect("read the counter"), 0);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn accept_filter_is_restored_after_interface_recreation() {
    let lab = Lab::new(1).expect("create the lab");
    let client = lab.host(Station::Client).expect("client host");
    let agent = agent(&lab, false);
    let masters = || Ok(control::status(&agent)?.iter().all(|status| status.text("state") == "master"));
    try_wait_until("both instances to be master", TIMEOUT, masters).expect("master");
    // The interface has a new index in each round, so the BPF map needs new entries.
    for _ in 0..3 {
        lab.unplug(ONE).expect("unplug");
        wait_for_state(&agent, "fault", TIMEOUT).expect("fault");
        lab.plug(ONE).expect("plug in");
        try_wait_until("both instances to be master", TIMEOUT, masters).expect("master");
        let before = control::counter(&agent, "vipd:not-accepted").expect("read the counter");
        try_wait_until("a dropped echo request to be counted", TIMEOUT, || {
            assert!(!ping(client, VIP.into())?, "{VIP} answered a ping");
            Ok(control::counter(&agent, "vipd:not-accepted")? > before)
        })
        .expect("dropped and counted");
    }
    // The agent may find the program detached before it is notified that the interface was removed.
    let is_failure = |text: &str| text.contains("cannot") && !text.contains("the interface has been removed");
    assert!(!agent.log().iter().any(|line| is_failure(&line.text)), "{:#?}", agent.log());
}

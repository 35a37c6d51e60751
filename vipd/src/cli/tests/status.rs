//! The output of `status`.

use std::net::IpAddr;

use anstream::adapter::strip_str;

use crate::cli::{details, status};
use crate::control::model::{InstanceStatus, PeerStatus, State, StatusReport, TrackedObject, UnicastPeer};

/// Returns the status of an instance in this state with ordinary settings.
pub(in crate::cli) fn instance_status(name: &str, state: State) -> InstanceStatus {
    InstanceStatus {
        name: name.to_owned(),
        interface: "eth1".to_owned(),
        vrid: 51,
        family: "ipv4".to_owned(),
        version: 3,
        state,
        priority: 100,
        effective_priority: 100,
        last_adv_source: Some(IpAddr::from([192, 0, 2, 2])),
        master_down_interval: 360,
        skew_time: 609_375,
        virtual_addresses: vec!["192.0.2.10/24".to_owned(), "192.0.2.11/24".to_owned()],
        accept_mode: true,
        excluded_addresses: Vec::new(),
        virtual_mac: None,
        transport: "multicast".to_owned(),
        authentication: "none".to_owned(),
        hmac: None,
        checksum: "rfc5798".to_owned(),
        unicast_peers: Vec::new(),
        peers: Vec::new(),
        group: None,
        group_state: None,
        advertise_interval_ns: 1_000_000_000,
        active_advertise_interval_ns: 1_000_000_000,
        master_down_interval_ns: 3_609_375_000,
        preempt: true,
        preempt_delay_ns: 0,
        preempt_in_ns: None,
        startup_delay_ns: 0,
        starts_in_ns: None,
        fence: Some("full".to_owned()),
        xdp_mode: Some("native".to_owned()),
        missing_addresses: Vec::new(),
        routes: Vec::new(),
        rules: Vec::new(),
        missing_routes: Vec::new(),
        primary_address: Some(IpAddr::from([192, 0, 2, 1])),
        initialize_reason: None,
        fault_reason: None,
        fault: None,
        last_transition_reason: Some("startup".to_owned()),
        last_transition_ms: Some(245_000),
        track: Vec::new(),
        track_weight: 0,
        master_down_in_ns: None,
    }
}

#[test]
fn status_shows_faults_and_missing_routes_below_their_instance() {
    let broken = InstanceStatus {
        interface: "bond0.12".to_owned(),
        vrid: 7,
        last_adv_source: None,
        fence: Some("full".to_owned()),
        xdp_mode: None,
        last_transition_ms: None,
        fault_reason: Some("the interface is down".to_owned()),
        virtual_addresses: vec!["198.51.100.1/32".to_owned()],
        ..instance_status("broken", State::Fault)
    };
    let reason = "route 10.0.0.0/8 via 192.0.2.3: its interface is down";
    let master =
        InstanceStatus { missing_routes: vec![reason.to_owned()], ..instance_status("VI_1", State::Master) };
    let report = StatusReport { instances: vec![master, broken], guardian: None };
    let colored = status::render(&report, None);
    assert!(colored.contains("\u{1b}[32mmaster\u{1b}[0m"), "{colored:?}");
    assert!(colored.contains("\u{1b}[31mfault\u{1b}[0m"), "{colored:?}");
    assert_eq!(
        strip_str(&colored).to_string(),
        "\
NAME    INTERFACE  VRID  STATE   PRIO  INTERVAL  MASTER-DOWN  LAST-ADVERT-FROM  XDP     SINCE  ADDRESSES
VI_1    eth1         51  master   100        1s       3.609s  192.0.2.2         native  4m05s  192.0.2.10/24,192.0.2.11/24
  missing: route 10.0.0.0/8 via 192.0.2.3: its interface is down
broken  bond0.12      7  fault    100        1s       3.609s  -                 -           -  198.51.100.1/32
  fault: the interface is down
"
    );
}

/// Returns the report of a node with IPv4 and IPv6 instances and long names.
fn wide_report() -> StatusReport {
    let six = InstanceStatus {
        interface: "enp129s0f0v12.7".to_owned(),
        family: "ipv6".to_owned(),
        last_adv_source: Some("fe80::a00:27ff:fe4e:66a1".parse().expect("an address")),
        virtual_addresses: (1..=4).map(|last| format!("2001:db8:1:2:3:4:5:{last}/64")).collect(),
        fault_reason: Some(
            "interface enp129s0f0v12.7 has no usable link-local address from which to send adverts"
                .to_owned(),
        ),
        ..instance_status("gateway-v6", State::Fault)
    };
    let waiting = InstanceStatus {
        last_adv_source: None,
        starts_in_ns: Some(4_250_000_000),
        initialize_reason: Some("startup_delay".to_owned()),
        ..instance_status("VI_2", State::Initialize)
    };
    StatusReport { instances: vec![instance_status("VI_1", State::Master), six, waiting], guardian: None }
}

#[test]
fn status_fits_a_terminal_and_is_complete_in_a_pipe() {
    let report = wide_report();
    let render = |width| strip_str(&status::render(&report, width)).to_string();
    assert_eq!(
        render(Some(80)),
        "\
NAME        INTERFACE        VRID  STATE       PRIO  SINCE
VI_1        eth1               51  master       100  4m05s
  last advert from 192.0.2.2
  192.0.2.10/24, 192.0.2.11/24
gateway-v6  enp129s0f0v12.7    51  fault        100  4m05s
  last advert from fe80::a00:27ff:fe4e:66a1
  2001:db8:1:2:3:4:5:1/64, 2001:db8:1:2:3:4:5:2/64, 2001:db8:1:2:3:4:5:3/64,
  2001:db8:1:2:3:4:5:4/64
  fault: interface enp129s0f0v12.7 has no usable link-local address from which
  to send adverts
VI_2        eth1               51  initialize   100  4m05s
  192.0.2.10/24, 192.0.2.11/24
  initialize: startup_delay, 4.2s left
MASTER-DOWN, INTERVAL and XDP hidden on this terminal; see `vipd status NAME`
"
    );
    let pipe = render(None);
    for text in
        ["MASTER-DOWN", "2001:db8:1:2:3:4:5:1/64,2001:db8:1:2:3:4:5:2/64", "initialize: startup_delay"]
    {
        assert!(pipe.contains(text), "{pipe}");
    }
    assert_eq!(render(Some(500)), pipe, "on a wide terminal");
    for width in [80, 100, 120] {
        let shown = render(Some(width));
        assert!(shown.lines().all(|line| line.chars().count() <= width), "{width} columns:\n{shown}");
    }
}

#[test]
fn details_fit_a_terminal() {
    let report = wide_report();
    let shown = strip_str(&details::render(&report, Some(80))).to_string();
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let wrapped = "  fault           interface enp129s0f0v12.7 has no usable link-local address\n                  \
                   from which to send adverts\n";
    assert!(shown.contains(wrapped), "{shown}");
    assert!(shown.contains("\n  waits for       startup_delay, 4.2s left\n"), "{shown}");
}

#[test]
fn details_have_a_line_for_each_known_property() {
    let object = TrackedObject {
        kind: "script".to_owned(),
        name: "web".to_owned(),
        state: "down".to_owned(),
        weight: Some(-60),
        detail: Some("exit status 1".to_owned()),
        since_ms: 182_000,
        changes: 2,
    };
    let uplink = TrackedObject {
        kind: "interface".to_owned(),
        name: "eth2".to_owned(),
        state: "up".to_owned(),
        weight: None,
        detail: None,
        since_ms: 3_600_000,
        changes: 1,
    };
    let unicast = |last: u8, min_ttl| UnicastPeer { address: IpAddr::from([192, 0, 2, last]), min_ttl };
    let backup = InstanceStatus {
        unicast_peers: vec![unicast(2, 255), unicast(3, 64)],
        preempt_delay_ns: 30_000_000_000,
        preempt_in_ns: Some(12_340_000_000),
        startup_delay_ns: 5_000_000_000,
        routes: vec!["route 10.0.0.0/8 via 192.0.2.3".to_owned()],
        rules: vec!["rule from 192.0.2.10/32 table 100 priority 100".to_owned()],
        effective_priority: 40,
        track_weight: -60,
        track: vec![object, uplink],
        group: Some("gateway".to_owned()),
        group_state: Some(State::Backup),
        active_advertise_interval_ns: 500_000_000,
        master_down_in_ns: Some(1_204_000_000),
        excluded_addresses: vec!["10.0.0.1/32".to_owned()],
        missing_routes: vec!["route 10.0.0.0/8: its interface is down".to_owned()],
        peers: vec![
            PeerStatus {
                address: IpAddr::from([192, 0, 2, 2]),
                priority: 150,
                checksum: "rfc5798".to_owned(),
                last_heard_ms: 320,
                key_id: None,
                clock_offset_ms: None,
            },
            PeerStatus {
                address: IpAddr::from([192, 0, 2, 4]),
                priority: 90,
                checksum: "rfc9568".to_owned(),
                last_heard_ms: 1000,
                key_id: None,
                clock_offset_ms: None,
            },
        ],
        ..instance_status("VI_1", State::Backup)
    };
    let report =
        StatusReport { instances: vec![backup, instance_status("VI_2", State::Master)], guardian: None };
    let selected = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        details::select(report.clone(), &names).map(|report| report.instances.len())
    };
    assert_eq!(selected(&[]).expect("all"), 2);
    assert_eq!(selected(&["gateway"]).expect("the members"), 1);
    assert_eq!(selected(&["VI_2", "gateway", "VI_2"]).expect("each once"), 2);
    assert_eq!(
        selected(&["VI_2", "VI_3"]).expect_err("unknown").to_string(),
        "no instance or sync group is named \"VI_3\"; instances: VI_1, VI_2"
    );
    let first = details::select(report.clone(), &["VI_1".to_owned()]).expect("one");
    assert_eq!(
        strip_str(&details::render(&first, None)).to_string(),
        "\
VI_1
  state           backup for 4m05s (startup)
  virtual router  VRID 51 on eth1, IPv4, VRRPv3, multicast
  priority        40 (configured: 100; weights of tracked objects: -60)
  preempt         yes, after 30s (12.3s left)
  startup delay   5s
  accept          yes
  sync group      gateway (backup)
  interval        1s (learned from the master: 500ms)
  master-down     3.609s (fires in 1.204s)
  last advert     from 192.0.2.2
  unicast peer    192.0.2.2, priority 150, checksum rfc5798, last advert 320ms ago
  unicast peer    192.0.2.3 (min_ttl 64), no advert received
  peer            192.0.2.4, priority 90, checksum rfc9568, last advert 1.0s ago
  source          192.0.2.1
  XDP mode        native
  fence           full
  address         192.0.2.10/24
  address         192.0.2.11/24
  address         10.0.0.1/32 (not advertised)
  route           10.0.0.0/8 via 192.0.2.3
  rule            from 192.0.2.10/32 table 100 priority 100
  missing         route 10.0.0.0/8: its interface is down
  tracked         script web: down for 3m02s, weight -60, 2 changes: exit status 1
  tracked         interface eth2: up for 1h00m, fault while down, 1 change
"
    );
}

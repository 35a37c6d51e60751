//! Tests of arguments and output.

use std::net::IpAddr;
use std::time::Duration;

use anstream::adapter::strip_str;
use clap::{CommandFactory as _, Parser as _};

use super::args::{Cli, Command, StatsArgs};
use super::filter::Filter;
use super::{check, details, report, stats, status};
use crate::config::Config;
use crate::control::client::ClientError;
use crate::control::counters::{GLOBAL, INSTANCE};
use crate::control::model::{
    GlobalStatistics, InstanceStats, InstanceStatus, PeerStatus, State, Statistics, StatsReport,
    StatusReport, TrackedObject,
};
use crate::web::metrics::prometheus;

fn parse_stats(line: &str) -> Result<StatsArgs, clap::Error> {
    let words = ["vipd", "stats"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words)?.command {
        Command::Stats(args) => Ok(args),
        other => panic!("{other:?}"),
    }
}

#[test]
fn argument_definitions_are_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn config_has_a_default_and_runtime_dir_is_global() {
    let cli = Cli::try_parse_from(["vipd", "run"]).expect("run");
    let Command::Run(args) = cli.command else { panic!("{cli:?}") };
    assert_eq!(args.config.to_str(), Some("/etc/vipd/vipd.toml"));
    let cli =
        Cli::try_parse_from(["vipd", "check", "-c", "a.toml", "--runtime-dir", "/run/b"]).expect("check");
    assert_eq!(cli.runtime_dir.to_str(), Some("/run/b"));
    let before =
        Cli::try_parse_from(["vipd", "--runtime-dir", "/run/b", "status", "--json"]).expect("status");
    assert_eq!(before.runtime_dir.to_str(), Some("/run/b"));
}

#[test]
fn stats_options_are_parsed_and_invalid_ones_rejected() {
    let args = parse_stats("--interface eth1 --vrid 51 --json --watch 0.5").expect("valid");
    assert_eq!((args.interface.as_deref(), args.vrid), (Some("eth1"), Some(51)));
    assert_eq!((args.json, args.prometheus), (true, false));
    assert_eq!(args.watch, Some(Duration::from_millis(500)));
    for invalid in [
        "--json --prometheus",
        "--vrid 0",
        "--vrid 256",
        "--watch 0",
        "--watch -1",
        "--watch nan",
        "--watch inf",
        "--watch 1e300",
        "--watch 1e18",
        "--watch 86401",
        "--watch soon",
        "--watch",
        "--unknown",
    ] {
        let error = parse_stats(invalid).expect_err(invalid);
        assert_eq!(error.exit_code(), 2, "{invalid}");
    }
}

pub(super) fn instance_status(name: &str, state: State) -> InstanceStatus {
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
        checksum: "rfc5798".to_owned(),
        peers: Vec::new(),
        group: None,
        group_state: None,
        advertise_interval_ns: 1_000_000_000,
        active_advertise_interval_ns: 1_000_000_000,
        master_down_interval_ns: 3_609_375_000,
        preempt: true,
        fence: Some("full".to_owned()),
        xdp_mode: Some("native".to_owned()),
        missing_addresses: Vec::new(),
        missing_routes: Vec::new(),
        primary_address: Some(IpAddr::from([192, 0, 2, 1])),
        fault_reason: None,
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
    let colored = status::render(&report);
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

#[test]
fn details_have_a_line_for_each_property_that_is_known() {
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
    let backup = InstanceStatus {
        effective_priority: 40,
        track_weight: -60,
        track: vec![object, uplink],
        group: Some("gateway".to_owned()),
        group_state: Some(State::Backup),
        active_advertise_interval_ns: 500_000_000,
        master_down_in_ns: Some(1_204_000_000),
        excluded_addresses: vec!["10.0.0.1/32".to_owned()],
        missing_routes: vec!["route 10.0.0.0/8: its interface is down".to_owned()],
        peers: vec![PeerStatus {
            address: IpAddr::from([192, 0, 2, 2]),
            priority: 150,
            checksum: "rfc5798".to_owned(),
            last_heard_ms: 320,
        }],
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
        strip_str(&details::render(&first)).to_string(),
        "\
VI_1
  state           backup for 4m05s (startup)
  virtual router  VRID 51 on eth1, IPv4, VRRPv3, multicast
  priority        40 (configured: 100; weights of tracked objects: -60)
  preempt         yes
  sync group      gateway (backup)
  interval        1s (learned from the master: 500ms)
  master-down     3.609s (fires in 1.204s)
  last advert     from 192.0.2.2
  peer            192.0.2.2, priority 150, checksum rfc5798, last advert 320ms ago
  source          192.0.2.1
  XDP mode        native
  fence           full
  address         192.0.2.10/24
  address         192.0.2.11/24
  address         10.0.0.1/32 (not advertised)
  missing         route 10.0.0.0/8: its interface is down
  tracked         script web: down for 3m02s, weight -60, 2 changes: exit status 1
  tracked         interface eth2: up for 1h00m, fault while down, 1 change
"
    );
}

pub(super) fn instance_stats(
    name: &str,
    interface: &str,
    vrid: u8,
    statistics: &Statistics,
) -> InstanceStats {
    InstanceStats {
        name: name.to_owned(),
        interface: interface.to_owned(),
        vrid,
        family: "ipv4".to_owned(),
        statistics: *statistics,
    }
}

fn two_instances() -> StatsReport {
    let first = Statistics {
        master_transitions: 1,
        advertisement_rcvd: 4,
        advertisement_sent: 1200,
        priority_zero_pkts_rcvd: 2,
        checksum_errors: 3,
        gratuitous_arp_sent: 10,
        ..Default::default()
    };
    StatsReport {
        global: GlobalStatistics { checksum_errors: 3, engine_wakeups: 99, ..Default::default() },
        instances: vec![
            instance_stats("VI_1", "eth1", 51, &first),
            instance_stats("VI_2", "eth2", 52, &Statistics::default()),
        ],
    }
}

#[test]
fn stats_lists_nonzero_counters_that_have_no_column() {
    assert_eq!(
        strip_str(&stats::render(&two_instances(), None)).to_string(),
        "\
NAME  INTERFACE  VRID  RCVD  SENT  MASTER  PRIO0-RCVD  PRIO0-SENT  ERRORS
VI_1  eth1         51     4  1200       1           2           0       3
VI_2  eth2         52     0     0       0           0           0       0

NAME    COUNTER                   COUNT
VI_1    vipd:checksum-errors          3
VI_1    vipd:gratuitous-arp-sent     10
global  checksum-errors               3
global  vipd:engine-wakeups          99
"
    );
    let quiet = StatsReport { global: GlobalStatistics::default(), instances: Vec::new() };
    assert_eq!(
        strip_str(&stats::render(&quiet, None)).to_string(),
        "NAME  INTERFACE  VRID  RCVD  SENT  MASTER  PRIO0-RCVD  PRIO0-SENT  ERRORS\n"
    );
}

#[test]
fn rates_follow_totals_and_are_never_negative() {
    let before = two_instances();
    let mut now = before.clone();
    now.instances[0].statistics.advertisement_sent += 5;
    now.instances[0].statistics.checksum_errors = 1;
    let text = strip_str(&stats::render(&now, Some((&before, Duration::from_secs(2))))).to_string();
    let row: Vec<&str> = text.lines().nth(1).expect("row").split_whitespace().collect();
    assert_eq!(
        row,
        ["VI_1", "eth1", "51", "4(+0.0/s)", "1205(+2.5/s)", "1(+0.0/s)", "2(+0.0/s)", "0(+0.0/s)", "1"]
    );
}

#[test]
fn filters_select_instances_or_fail_with_a_list_of_them() {
    let names = |interface: Option<&str>, vrid| {
        let filter = Filter { interface: interface.map(str::to_owned), vrid };
        let left = filter.apply(two_instances()).map_err(|error| error.to_string())?;
        assert_eq!(left.global, two_instances().global);
        Ok::<_, String>(
            left.instances.into_iter().map(|instance| instance.name).collect::<Vec<_>>().join(" "),
        )
    };
    assert_eq!(names(None, None).as_deref(), Ok("VI_1 VI_2"));
    assert_eq!(names(Some("eth2"), None).as_deref(), Ok("VI_2"));
    assert_eq!(names(None, Some(51)).as_deref(), Ok("VI_1"));
    assert_eq!(
        names(Some("eth2"), Some(51)).expect_err("none"),
        "no instance matches interface eth2 and VRID 51; instances: VI_1 (--interface eth1 --vrid 51), \
         VI_2 (--interface eth2 --vrid 52)"
    );
}

#[test]
fn prometheus_has_one_block_per_counter_and_escapes_labels() {
    let mut report = two_instances();
    report.instances[1].name = "a\"b\\c\nd".to_owned();
    let text = prometheus(&report);
    let sent = "\
# HELP vipd_advertisement_sent_total Adverts sent
# TYPE vipd_advertisement_sent_total counter
vipd_advertisement_sent_total{name=\"VI_1\",interface=\"eth1\",vrid=\"51\",family=\"ipv4\"} 1200
vipd_advertisement_sent_total{name=\"a\\\"b\\\\c\\nd\",interface=\"eth2\",vrid=\"52\",family=\"ipv4\"} 0
";
    assert!(text.contains(sent), "{text}");
    let global = "\
# HELP vipd_global_checksum_errors_total Adverts with a wrong VRRP checksum
# TYPE vipd_global_checksum_errors_total counter
vipd_global_checksum_errors_total 3
# HELP";
    assert!(text.starts_with(global), "{text}");
    assert!(text.ends_with('\n'));
    let types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE ")).collect();
    assert_eq!(types.len(), GLOBAL.len() + INSTANCE.len());
    assert!(types.iter().all(|line| types.iter().filter(|other| *other == line).count() == 1), "{text}");
}

#[test]
fn check_prints_a_summary_and_the_instances() {
    let source = "
[[instance]]
name = \"VI_1\"
interface = \"eth1\"
vrid = 51
advert_interval = \"10ms\"
virtual_addresses = [\"192.0.2.10/24\", \"192.0.2.11\"]
";
    let config = Config::parse(source, "a.toml").expect("valid");
    assert_eq!(
        strip_str(&check::render("a.toml", &config)).to_string(),
        "\
a.toml: ok, 1 instance
NAME  INTERFACE  VRID  VERSION  PRIO  INTERVAL  PREEMPT  ADDRESSES
VI_1  eth1         51        3   100      10ms  yes      192.0.2.10/24,192.0.2.11/32
"
    );
}

#[test]
fn an_error_is_printed_with_its_causes_on_one_line() {
    let error = anyhow::anyhow!("the cause").context("what failed");
    let mut stderr = Vec::new();
    report(&error, &mut stderr).expect("written");
    assert_eq!(String::from_utf8_lossy(&stderr), "vipd: what failed: the cause\n");
}

#[test]
fn problems_that_the_agent_reports_are_printed_like_those_of_a_file() {
    let refusal = "a.toml:3:8: vrid is 510\na.toml: 1 problem; nothing has changed".to_owned();
    let mut stderr = Vec::new();
    report(&ClientError::Agent(refusal).into(), &mut stderr).expect("written");
    assert_eq!(
        String::from_utf8_lossy(&stderr),
        "a.toml:3:8: vrid is 510\nvipd: a.toml: 1 problem; nothing has changed\n"
    );
}

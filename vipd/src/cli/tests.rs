//! Tests of arguments and output.

mod documents;
mod help;
mod status;

use std::ffi::OsString;
use std::time::Duration;

use anstream::adapter::strip_str;
use clap::{ColorChoice, CommandFactory as _, Parser as _};

use super::args::{self, Cli, Command, StatsArgs};
use super::filter::Filter;
use super::{check, report, stats};
use crate::config::Config;
use crate::control::client::ClientError;
use crate::control::counters::{GLOBAL, INSTANCE};
use crate::control::model::{GlobalStatistics, InstanceStats, Statistics, StatsReport};
use crate::web::metrics::prometheus;

pub(super) use status::instance_status;

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
fn color_is_accepted_before_or_after_the_command() {
    for (line, expected) in [
        ("vipd status", Some(ColorChoice::Auto)),
        ("vipd --color never status", Some(ColorChoice::Never)),
        ("vipd status --color=always", Some(ColorChoice::Always)),
        ("vipd status --color", None),
        ("vipd status --color red", None),
    ] {
        let parsed = Cli::try_parse_from(line.split(' ')).ok().map(|cli| cli.color);
        assert_eq!(parsed, expected, "{line}");
    }
    // The color of help and of messages about an invalid command line.
    for (line, expected) in [
        ("status --nonsense", ColorChoice::Auto),
        ("--color never --help", ColorChoice::Never),
        ("--color=never status --color always --nonsense", ColorChoice::Always),
        ("status --color red --color", ColorChoice::Auto),
        ("status --colors always", ColorChoice::Auto),
        ("drain -- --color always", ColorChoice::Auto),
    ] {
        let words: Vec<OsString> = line.split(' ').map(Into::into).collect();
        assert_eq!(args::color(&words), expected, "{line}");
    }
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
        strip_str(&check::render("a.toml", &config, None)).to_string(),
        "\
a.toml: ok, 1 instance
NAME  INTERFACE  VRID  VERSION  PRIO  INTERVAL  PREEMPT  ADDRESSES
VI_1  eth1         51        3   100      10ms  yes      192.0.2.10/24,192.0.2.11/32
"
    );
}

#[test]
fn check_hides_columns_on_a_narrow_terminal() {
    let name = "a".repeat(41);
    let source = format!(
        "[[instance]]\nname = \"{name}\"\ninterface = \"enp129s0f0v12.7\"\nvrid = 51\n\
         virtual_addresses = [\"192.0.2.10/24\"]\n"
    );
    let config = Config::parse(&source, "a.toml").expect("valid");
    let heads = format!("{:41}  INTERFACE        VRID  PRIO  INTERVAL", "NAME");
    let expected = format!(
        "a.toml: ok, 1 instance\n{heads}\n{name}  enp129s0f0v12.7    51   100        1s\n  192.0.2.10/24\n\
         VERSION and PREEMPT hidden on this terminal\n"
    );
    assert_eq!(strip_str(&check::render("a.toml", &config, Some(80))).to_string(), expected);
    assert!(expected.lines().all(|line| line.len() <= 80), "{expected}");
}

#[test]
fn an_error_is_printed_with_its_causes_on_one_line() {
    let error = anyhow::anyhow!("the cause").context("what failed");
    assert_eq!(report(&error, None), "vipd: what failed: the cause\n");
}

#[test]
fn problems_reported_by_the_agent_are_printed_like_local_ones() {
    let refusal = "a.toml:3:8: vrid is 510\na.toml: 1 problem; nothing has changed".to_owned();
    assert_eq!(
        report(&ClientError::Agent(refusal).into(), None),
        "a.toml:3:8: vrid is 510\nvipd: a.toml: 1 problem; nothing has changed\n"
    );
}

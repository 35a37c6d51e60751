//! Command line parsing.

use std::time::Duration;

use clap::{CommandFactory, Parser};
use vipd_tests::protocol::Version;
use vipd_tests::scenario::Scenario;

use super::{Args, Pair, Program, interval, is_comparison, parse_interval, programs};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

fn parse(line: &str) -> Result<Args, String> {
    match Line::try_parse_from(["lab"].into_iter().chain(line.split_whitespace())) {
        Ok(line) => Ok(line.args),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn default_is_vipd_on_both_nodes() {
    let args = parse("").unwrap();
    assert!(args.scenarios.is_empty() && !args.no_preempt && !is_comparison(&args));
    assert_eq!(programs(&args), [Program::Vipd, Program::Vipd]);
    assert_eq!(args.vrrp_version, Version::V3);
    assert_eq!(args.interval, None);
}

#[test]
fn all_options_are_parsed() {
    let args =
        parse("cut stop --agents keepalived,vipd --interval 2s --vrrp-version 2 --no-preempt").unwrap();
    assert_eq!(args.scenarios, [Scenario::Cut, Scenario::Stop]);
    assert_eq!(args.agents, Pair { preferred: Program::Keepalived, backup: Program::Vipd });
    assert_eq!((args.interval, args.vrrp_version), (Some(Duration::from_secs(2)), Version::V2));
    assert!(args.no_preempt);
}

#[test]
fn repeat_or_compare_selects_a_comparison() {
    let args = parse("cut --repeat 5 --compare vipd,keepalived").unwrap();
    assert!(is_comparison(&args));
    assert_eq!((args.repeat, programs(&args)), (5, vec![Program::Vipd, Program::Keepalived]));
    let alone = parse("cut --repeat 5").unwrap();
    assert!(is_comparison(&alone));
    assert_eq!(programs(&alone), [Program::Vipd]);
}

#[test]
fn invalid_arguments_are_rejected_with_the_expected_values() {
    for (line, expected) in [
        ("explode", "expected one of crash, return, cut, stop, pause"),
        ("--agents vipd", "two programs separated by a comma"),
        ("--agents vipd,bird", "unknown program \"bird\""),
        ("--interval 10", "10ms, 100ms or 1s"),
        ("--interval 1.5s", "10ms, 100ms or 1s"),
        ("--vrrp-version 4", "2 or 3"),
        ("--repeat 0", "at least 1"),
        ("--repeat 3 --agents vipd,vipd", "cannot be used with"),
        ("--compare vipd,bird", "keepalived"),
    ] {
        let error = parse(line).expect_err(line);
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn intervals_must_be_encodable_in_the_version() {
    let millis = Duration::from_millis;
    assert_eq!(interval(Version::V3, None).unwrap(), millis(100));
    assert_eq!(interval(Version::V2, None).unwrap(), millis(1000));
    for (version, good) in [(Version::V3, [10, 40_950]), (Version::V2, [1000, 255_000])] {
        for good in good {
            assert_eq!(interval(version, Some(millis(good))).unwrap(), millis(good));
        }
    }
    for (version, bad) in [(Version::V3, [0, 15, 40_960]), (Version::V2, [0, 1500, 256_000])] {
        for bad in bad {
            let error = interval(version, Some(millis(bad))).unwrap_err().to_string();
            assert!(error.contains(&format!("--interval {bad}ms")), "{error}");
        }
    }
    assert_eq!(parse_interval("100ms").unwrap(), millis(100));
    assert!(parse_interval("99999999999999999999s").is_err(), "overflow");
}

#[test]
fn help_lists_every_scenario_with_its_summary() {
    let help = Line::command().render_long_help().to_string();
    for scenario in Scenario::ALL {
        let row = format!("  {:<9}{}", scenario.name(), scenario.summary());
        assert!(help.contains(&row), "{row:?} in {help}");
    }
}

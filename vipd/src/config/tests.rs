//! Tests of all configuration rules, with the exact position and message of each problem.

mod addresses;
mod announcements;
mod checks;
mod election;
mod files;
mod hmac;
mod interface;
mod machine;
mod metrics;
mod notify;
mod password;
mod routing;
mod transport;
mod values;
mod wire;

use std::net::Ipv4Addr;
use std::sync::Arc;

use super::settings::{Checksum, Placement, Transport};
use super::{Config, ConfigError, Instance, Realtime};
use crate::vrrp::config::{Family, RouterConfig, VirtualAddress};
use crate::vrrp::interval::Version;

/// Returns a valid instance whose sixth line is `line`. If one of the lines above sets the same
/// key, that line is left empty.
fn with(line: &str) -> String {
    let key = line.split('=').next().unwrap_or_default().trim();
    let base = [
        ("name", "name = \"a\""),
        ("interface", "interface = \"eth1\""),
        ("vrid", "vrid = 51"),
        ("virtual_addresses", "virtual_addresses = [\"192.0.2.10/24\"]"),
    ];
    let mut source = "[[instance]]\n".to_owned();
    for (name, text) in base {
        source.push_str(if name == key { "" } else { text });
        source.push('\n');
    }
    source + line + "\n"
}

/// Returns the problems in a source, one per line, without the file name.
fn problems(source: &str) -> String {
    match Config::parse(source, "f") {
        Ok(config) => panic!("accepted: {source}\n{config:?}"),
        Err(problems) => {
            assert!(!problems.list().is_empty());
            problems
                .to_string()
                .lines()
                .map(|line| line.trim_start_matches("f:"))
                .collect::<Vec<_>>()
                .join("\n")
        }
    }
}

/// Parses a valid instance that contains `line`.
#[track_caller]
fn parsed(line: &str) -> Instance {
    let mut config = Config::parse(&with(line), "f").unwrap_or_else(|problems| panic!("{problems}"));
    Arc::unwrap_or_clone(config.instances.remove(0))
}

/// Returns the warnings for a valid instance that contains `line`, one per line.
#[track_caller]
fn warnings(line: &str) -> String {
    let config = Config::parse(&with(line), "f").unwrap_or_else(|problems| panic!("{problems}"));
    config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[track_caller]
fn assert_rows(rows: &[(&str, &str)]) {
    for (line, expected) in rows {
        assert_eq!(problems(&with(line)), *expected, "\n{line}");
    }
}

#[track_caller]
fn assert_sources(rows: &[(&str, &str)]) {
    for (source, expected) in rows {
        assert_eq!(problems(source), *expected, "\n{source}");
    }
}

#[test]
fn instances_are_read_in_file_order() {
    let source = r#"
realtime = "off"

[[instance]]
name = "VI_1"
interface = "eth1"
vrid = 51
version = 2
priority = 255
advert_interval = "2s"
preempt = false
virtual_addresses = ["192.168.122.50/24", "10.0.0.1", "10.0.0.0/31"]

[[instance]]
name = "VI_2"
interface = "bond0.12"
vrid = 0xff
advert_interval = "1.5s"
virtual_addresses = ["198.51.100.7/32"]
"#;
    let config = Config::parse(source, "f").expect("valid");
    assert_eq!(config.realtime, Realtime::Off);
    let [one, two] = &config.instances[..] else { panic!("{config:?}") };
    assert_eq!((one.name.as_str(), one.interface.as_str()), ("VI_1", "eth1"));
    assert_eq!((one.router.vrid, one.router.priority, one.router.preempt), (51, 255, false));
    assert_eq!((one.router.version(), one.router.interval.nanos()), (Version::V2, 2_000_000_000));
    let addresses = [([192, 168, 122, 50], 24), ([10, 0, 0, 1], 32), ([10, 0, 0, 0], 31)]
        .map(|(address, prefix)| VirtualAddress { address: Ipv4Addr::from(address).into(), prefix });
    assert_eq!(one.router.virtual_addresses, addresses);
    assert_eq!((two.name.as_str(), two.interface.as_str()), ("VI_2", "bond0.12"));
    assert_eq!((two.router.vrid, two.router.priority, two.router.preempt), (255, 100, true));
    assert_eq!((two.router.version(), two.router.interval.nanos()), (Version::V3, 1_500_000_000));
}

#[test]
fn optional_keys_have_defaults() {
    let config = Config::parse(&with(""), "f").expect("valid");
    assert_eq!(config.realtime, Realtime::Auto);
    let router = &config.instances[0].router;
    assert_eq!((router.version(), router.interval.nanos()), (Version::V3, 1_000_000_000));
    let expected = RouterConfig::new(51, Family::V4, router.interval, router.virtual_addresses.clone());
    assert_eq!(*router, expected);
    let instance = &config.instances[0];
    assert_eq!((instance.transport.clone(), instance.source), (Transport::Multicast, None));
    assert_eq!((instance.checksum, instance.password), (Checksum::Rfc5798, None));
    assert_eq!((instance.virtual_mac, instance.accept, instance.announce_interval), (None, true, 0));
    assert_eq!(instance.placements, [Placement::default()]);
    assert_eq!(config.warnings, []);
}

#[test]
fn limits_are_inclusive() {
    for line in [
        "advert_interval = \"10ms\"",
        "advert_interval = \"40.95s\"",
        "version = 2\nadvert_interval = \"255s\"",
        "vrid = 1",
        "vrid = 255",
        "priority = 1",
        "priority = 255",
        "interface = \"0123456789abcde\"",
        "virtual_addresses = [\"192.0.2.1/1\"]",
    ] {
        assert!(Config::parse(&with(line), "f").is_ok(), "{line}");
    }
}

#[test]
fn instances_on_different_interfaces_may_share_vrid_and_address() {
    let second = with("").replace("\"a\"", "\"b\"").replace("eth1", "eth2");
    assert!(Config::parse(&(with("") + &second), "f").is_ok());
}

#[test]
fn an_instance_may_have_255_addresses() {
    let list = |count: u8| {
        let all: Vec<String> = (0..=255).map(|last| format!("\"10.0.{last}.1\"")).collect();
        with(&format!("virtual_addresses = [{}]", all[usize::from(255 - count)..].join(", ")))
    };
    let config = Config::parse(&list(254), "f").expect("255 addresses");
    assert_eq!(config.instances[0].router.virtual_addresses.len(), 255);
    assert_eq!(
        problems(&list(255)),
        "6:21: virtual_addresses is an array of length 256; it must be an array of up to 255 addresses, each a string or a \
         table; move some to `virtual_addresses_excluded`, or spread them over several instances"
    );
}

#[test]
fn an_unreadable_file_is_reported_with_a_remedy() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("vipd.toml");
    let name = path.display();
    let rejected = |path: &std::path::Path| Config::load(path).expect_err("rejected").to_string();
    assert_eq!(
        rejected(&path),
        format!(
            "cannot read {name}: No such file or directory (os error 2); create it, or specify another file with -c FILE"
        )
    );
    assert_eq!(
        rejected(directory.path()),
        format!(
            "cannot read {}: Is a directory (os error 21); specify a configuration file with -c FILE",
            directory.path().display()
        )
    );
    std::fs::write(&path, b"# caf\xc3\xa9\nname = \"\xff\"").expect("write");
    assert_eq!(
        rejected(&path),
        format!("{name}:2:9: byte 0xff is not valid UTF-8, which TOML requires; save the file as UTF-8")
    );
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).expect("write");
    assert_eq!(
        rejected(&path),
        format!(
            "cannot read {name}: the file is larger than 1 MiB; specify a configuration file with -c FILE"
        )
    );
    std::fs::write(&path, with("vrid = 0")).expect("write");
    assert!(
        matches!(Config::load(&path), Err(ConfigError::Problems(problems)) if problems.list().len() == 1)
    );
    std::fs::write(&path, "\u{feff}".to_owned() + &with("")).expect("write");
    assert!(Config::load(&path).is_ok(), "a byte-order mark is accepted");
}

//! Rules for `metrics`.

use super::*;

fn metrics(table: &str) -> Config {
    let source = format!("metrics = {table}\n{}", with(""));
    Config::parse(&source, "f").unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn metrics_are_off_unless_an_address_is_configured() {
    let config = Config::parse(&with(""), "f").unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!((config.metrics.listen, config.metrics.keepalived_names), (None, false));
    for (table, address, names) in [
        ("{ listen = \"127.0.0.1:9650\" }", "127.0.0.1:9650", false),
        ("{ listen = \"[::]:1\", keepalived_names = true }", "[::]:1", true),
        ("{ listen = \"[fe80::1%2]:65535\", keepalived_names = false }", "[fe80::1%2]:65535", false),
    ] {
        let config = metrics(table);
        let expected = Some(address.parse().expect("an address"));
        assert_eq!((config.metrics.listen, config.metrics.keepalived_names), (expected, names), "{table}");
        assert!(config.warnings.is_empty(), "{table}");
    }
}

#[test]
fn keepalived_names_without_listen_cause_a_warning() {
    let warnings = metrics("{ keepalived_names = true }").warnings;
    let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "1:32: metrics.keepalived_names has no effect without metrics.listen; add `listen = \"127.0.0.1:9650\"`"
        ]
    );
    assert!(metrics("{ keepalived_names = false }").warnings.is_empty());
}

#[test]
fn invalid_addresses_are_rejected() {
    for address in
        ["127.0.0.1", "localhost:9650", ":9650", "9650", "::1:9650", "127.0.0.1:0", "127.0.0.1:65536", ""]
    {
        let source = format!("metrics = {{ listen = {address:?} }}\n{}", with(""));
        let expected = format!(
            "1:22: metrics.listen is {address:?}; it must be an IPv4 or IPv6 address and a port from 1 to 65535, as a \
             string; write 127.0.0.1:9650 or [::1]:9650 for local clients, 0.0.0.0:9650 or [::]:9650 for all"
        );
        assert_eq!(problems(&source), expected, "{address}");
    }
    let source = format!("metrics = {{ listen = 9650, keepalived_name = true }}\n{}", with(""));
    assert_eq!(
        problems(&source),
        "1:22: metrics.listen is an integer; it must be an IPv4 or IPv6 address and a port from 1 to 65535, as a string; \
         use e.g. `listen = \"127.0.0.1:9650\"`\n\
         1:28: unknown key `keepalived_name` in `metrics`; did you mean `keepalived_names`? (allowed keys: listen, \
         keepalived_names)"
    );
}

//! Keys and rules for signed adverts. Messages must not contain a key.

mod files;

use std::fmt::Write as _;

use super::{assert_rows, parsed, problems, warnings, with};
use crate::config::Config;
use crate::config::machine::Machine;
use crate::vrrp::hmac::{AntiReplay, Key, Mode};

/// Two keys of 32 bytes.
const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const OTHER: &str = "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";

/// Returns `hmac` with a key and further settings.
fn hmac(settings: &str) -> String {
    format!("hmac = {{ keys = [{{ id = 1, hex = \"{KEY}\" }}]{settings} }}")
}

/// Returns `hmac` with two keys and further settings.
fn rotation(settings: &str) -> String {
    format!("hmac = {{ keys = [{{ id = 1, hex = \"{KEY}\" }}, {{ id = 2, hex = \"{OTHER}\" }}]{settings} }}")
}

/// Returns the bytes of [`KEY`].
fn bytes() -> Vec<u8> {
    (0..32).collect()
}

#[test]
fn defaults_are_those_of_keepalived() {
    let config = parsed(&hmac("")).hmac.expect("hmac");
    let [key] = &config.keys[..] else { panic!("{config:?}") };
    assert_eq!(*key, Key::new(1, &bytes()));
    assert_eq!((config.active, config.mode), (1, Mode::Enforce));
    assert_eq!((config.anti_replay, config.window), (AntiReplay::Time, 5));
    assert_eq!(warnings(&hmac("")), "");
}

#[test]
fn window_is_three_intervals_unless_configured() {
    for (interval, expected) in [
        ("version = 3\nadvert_interval = \"10ms\"", 5),
        ("version = 3\nadvert_interval = \"1.66s\"", 5),
        ("version = 3\nadvert_interval = \"1.67s\"", 6),
        ("version = 3\nadvert_interval = \"40.95s\"", 123),
        ("version = 2\nadvert_interval = \"100s\"", 300),
        ("version = 2\nadvert_interval = \"255s\"", 300),
    ] {
        let config = parsed(&format!("{interval}\n{}", hmac(""))).hmac.expect("hmac");
        assert_eq!(config.window, expected, "{interval}");
    }
    for (text, expected) in [("1s", 1), ("0.5m", 30), ("300s", 300)] {
        let config = parsed(&hmac(&format!(", window = \"{text}\""))).hmac.expect("hmac");
        assert_eq!(config.window, expected, "{text}");
    }
}

#[test]
fn load_near_the_budget_causes_a_warning() {
    // Warnings for 255 instances on each of two interfaces, with this interval and, besides a
    // link-local VIP, this number of VIPs.
    let warnings = |interval: &str, vips: usize, rules: &str| {
        let mut source = String::new();
        for (interface, prefix) in [("eth1", "fd01"), ("eth2", "fd02")] {
            for vrid in 1..=255 {
                let vips = (1..=vips).map(|vip| format!("\"{prefix}::{vrid}:{vip}\"")).collect::<Vec<_>>();
                let _ = write!(
                    source,
                    "[[instance]]\nname = \"{interface}-{vrid}\"\ninterface = \"{interface}\"\nvrid = {vrid}\n\
                     advert_interval = \"{interval}\"\nvirtual_addresses = [\"fe80::{vrid}\", {}]\n{rules}\n",
                    vips.join(", ")
                );
            }
        }
        let config = Config::parse(&source, "f").unwrap_or_else(|problems| panic!("{problems}"));
        let mut found = config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
        found.retain(|warning| warning.contains("budget"));
        found
    };
    let with_keys = |key: &str| format!("hmac = {{ keys = [{{ id = 1, hex = \"{key}\" }}] }}");
    let found = warnings("10ms", 1, &with_keys(KEY));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("7:") && found[0].contains(" use 82 % of the budget"), "{found:?}");
    assert!(warnings("20ms", 1, &with_keys(KEY)).is_empty(), "40 %");
    // Each advert of 572 bytes takes two tokens.
    assert!(warnings("20ms", 30, &with_keys(KEY))[0].contains(" use 82 % "));
    assert!(warnings("10ms", 1, "").is_empty());
    let found = warnings("1s", 30, &with_keys(KEY));
    assert!(found.len() == 1 && found[0].contains(" use 1020 tokens "), "{found:?}");
}

#[test]
fn modes_for_the_introduction_of_keys_cause_a_warning() {
    for (word, mode, effect) in [
        ("permissive", Mode::Permissive, "accepts adverts that are not signed"),
        ("receive-only", Mode::ReceiveOnly, "signs nothing and accepts adverts that are not signed"),
    ] {
        let line = hmac(&format!(", mode = \"{word}\""));
        assert_eq!(parsed(&line).hmac.expect("hmac").mode, mode);
        assert_eq!(
            warnings(&line),
            format!(
                "6:{}: hmac.mode is \"{word}\", which {effect}; it is intended only for the introduction of keys; when all \
                 routers have the keys, use \"enforce\"",
                line.find(&format!("\"{word}\"")).expect("the mode") + 1
            )
        );
    }
    let config = parsed(&hmac(", anti_replay = \"monotonic\", mode = \"enforce\"")).hmac.expect("hmac");
    assert_eq!((config.mode, config.anti_replay), (Mode::Enforce, AntiReplay::Monotonic));
}

#[test]
fn active_key_is_one_of_the_keys() {
    let active = |line: &str| parsed(line).hmac.expect("hmac").active;
    assert_eq!(active(&rotation(", active = 2")), 2);
    assert_eq!(active(&rotation(", mode = \"receive-only\"")), 1);
    assert_eq!(
        problems(&with(&rotation(""))),
        "6:8: hmac.active is missing, but a has several keys; it must be one of 1, 2; add e.g. `active = 1`"
    );
    let line = rotation(", active = 3, mode = \"receive-only\"");
    assert_eq!(
        problems(&with(&line)),
        format!(
            "6:{}: hmac.active is 3, but a has no key with this ID; it must be one of 1, 2; add the key, or choose another \
             ID",
            line.find("3, mode").expect("the ID") + 1
        )
    );
}

#[test]
fn invalid_settings_are_rejected() {
    assert_rows(&[
        (
            "hmac = true",
            "6:8: hmac is a boolean; it must be a table; use e.g. `hmac = { keys = [{ id = 1, file = \"/etc/vipd/key\" }] }`",
        ),
        (
            "hmac = { }",
            "6:8: hmac.keys is missing; it must be an array of 1 to 8 tables; add e.g. `keys = [{ id = 1, file = \
             \"/etc/vipd/key\" }]`",
        ),
        (
            "hmac = { keys = [] }",
            "6:17: hmac.keys is empty; it must be an array of 1 to 8 tables; add a key, or remove `hmac`",
        ),
        (
            "hmac = { keys = [1, 2, 3, 4, 5, 6, 7, 8, 9] }",
            "6:17: hmac.keys is 9 keys; it must be an array of 1 to 8 tables; remove keys with which no router signs any \
             more",
        ),
        (
            "hmac = { keys = [1], key = 2 }",
            "6:18: a key is an integer; it must be a table; use e.g. `{ id = 1, file = \"/etc/vipd/key\" }`\n\
             6:22: unknown key `key` in `hmac`; did you mean `keys`? (allowed keys: keys, active, mode, anti_replay, \
             window)",
        ),
        (
            "hmac = { keys = [{ id = 0 }] }",
            "6:18: a key of a has 0 of file, credential and hex; it must have exactly one of them; use e.g. `{ id \
             = 1, file = \"/etc/vipd/key\" }`\n\
             6:25: id is 0; it must be an integer from 1 to 255; choose another number",
        ),
        (
            "hmac = { keys = [{ id = 7, hex = \"\", file = \"k\" }] }",
            "6:18: key 7 of a has 2 of file, credential and hex; it must have exactly one of them; use e.g. `{ id = \
             1, file = \"/etc/vipd/key\" }`",
        ),
        (
            "hmac = { keys = [{ id = 7, hex = 12 }] }",
            "6:34: hex is an integer; it must be a string of 64 to 128 hexadecimal digits; use e.g. `hex = \"…\"`",
        ),
        (
            "hmac = { keys = [{ id = 7, hex = \"0123\" }] }",
            "6:34: key 7 of a: hex has a key of 2 bytes; a key has 32 to 64 bytes; use the output of `openssl rand -hex 32`",
        ),
        (
            "hmac = { keys = [{ id = 7, hex = \"012\" }] }",
            "6:34: key 7 of a: hex has 3 hexadecimal digits, which is an odd number; use the output of `openssl rand -hex \
             32`",
        ),
        (
            "hmac = { keys = [{ id = 7, hex = \"01:23\" }] }",
            "6:34: key 7 of a: hex has a character that is not a hexadecimal digit, at position 3; use the output of \
             `openssl rand -hex 32`",
        ),
        (
            "hmac = { keys = [{ id = 7, credential = \"../key\" }] }",
            "6:41: key 7 of a: credential is \"../key\"; it must be the name of a systemd credential; use NAME of \
             `LoadCredential=NAME:FILE`",
        ),
    ]);
}

#[test]
fn contradictory_settings_are_rejected() {
    let at = |line: &str, text: &str| line.find(text).expect("the text") + 1;
    for (settings, text, expected) in [
        (
            ", window = \"400s\"",
            "\"400s\"",
            "hmac.window is \"400s\"; it must be a duration as a string, from \"1s\" to \"300s\"; choose another duration",
        ),
        (
            ", window = \"1.5s\"",
            "\"1.5s\"",
            "hmac.window is \"1.5s\", which is not a whole number of seconds; use \"1s\" or \"2s\"",
        ),
        (
            ", window = \"9s\", anti_replay = \"monotonic\"",
            "\"9s\"",
            "hmac.window and hmac.anti_replay = \"monotonic\" are mutually exclusive; remove one of them",
        ),
        (
            ", mode = \"strict\"",
            "\"strict\"",
            "hmac.mode is \"strict\"; it must be \"enforce\", \"permissive\" or \"receive-only\"; choose one of them",
        ),
    ] {
        let line = hmac(settings);
        assert_eq!(problems(&with(&line)), format!("6:{}: {expected}", at(&line, text)));
    }
    let line = hmac("") + "\nversion = 2\nauth_pass = \"s3cret\"";
    assert_eq!(
        problems(&with(&line)),
        "6:8: hmac and auth_pass are mutually exclusive; remove `auth_pass`, which does not protect adverts"
    );
    let twice = rotation(", active = 1").replace("id = 2", "id = 1");
    assert_eq!(
        problems(&with(&twice)),
        format!(
            "6:{}: key ID 1 of a is already used at line 6, column 25; choose another ID",
            twice.rfind("1, hex").expect("ID") + 1
        )
    );
}

#[test]
fn messages_contain_no_key() {
    let part = &KEY[8..24];
    for line in [
        hmac("").replace('"', ""),
        hmac("").replace("\" }]", " }]"),
        hmac("").replace("hex =", "hex"),
        hmac("").replace("hex", "hexx"),
        hmac("").replace("hex", "file"),
        hmac("").replace("hex", "credential"),
        hmac("").replace("hex = \"", "file = \"hex:"),
        hmac("").replace("hex = \"", "hex = \"hex:"),
        hmac("").replace("hex = ", "hex = ["),
        hmac("").replace("1f\"", "1\""),
        hmac("").replace("1f\"", "1f\" \""),
        hmac("").replace("1f\"", &format!("{KEY}{KEY}\"")),
        hmac("").replace("}]", &format!("}}, {{ id = 1, hex = \"{KEY}\" }}]")),
        format!("hmac.keys = [\n{{ id = 1, hex =\n\"{KEY}1\" }} ]"),
        format!("hmac.keys = [{{ id = 1, hex = \"\"\"\n{}\\\n{}g\"\"\" }}]", &KEY[..32], &KEY[32..]),
    ] {
        let source = with(&line);
        let Err(problems) = Config::parse(&source, "f") else { panic!("accepted: {source}") };
        for problem in problems.list() {
            assert!(!format!("{problem:?}").contains(part), "{source}\n{problem:?}");
        }
    }
    let config = Config::parse(&with(&hmac("")), "f").expect("valid");
    let shown = format!("{config:?}");
    assert!(!shown.contains(part), "{shown}");
    // The words of the states suffice for signing, as the key does.
    let state = config.instances[0].hmac.as_ref().expect("hmac").keys[0].state();
    assert!(!shown.contains(&state.inner[0].to_string()), "{shown}");
}

#[test]
fn a_key_for_several_interfaces_causes_a_warning() {
    let second = |interface: &str, vrid: &str| {
        with(&hmac(""))
            .replace("\"a\"", "\"b\"")
            .replace("eth1", interface)
            .replace("51", vrid)
            .replace("192.0.2", "10.0.0")
    };
    let warnings = |source: &str| -> Vec<String> {
        let config = Config::parse(source, "f").unwrap_or_else(|problems| panic!("{problems}"));
        config.warnings.iter().map(ToString::to_string).collect()
    };
    assert_eq!(warnings(&(with(&hmac("")) + &second("eth1", "52"))), [""; 0]);
    assert_eq!(
        warnings(&(with(&hmac("")) + &second("eth2", "51"))),
        [
            "12:34: the same key is used on eth1 at line 6, column 34; a router that has the key of one interface's network can \
          also sign adverts in the other network; use a separate key for each interface"
        ]
    );
    assert_eq!(warnings(&(with(&hmac("")) + &second("eth2", "51").replace(KEY, OTHER))), [""; 0]);
}

#[test]
fn keys_of_another_machine_are_not_read() {
    let source = with(
        "hmac.keys = [{ id = 9, file = \"/nonexistent/key\" }, { id = 8, credential = \"key\" }]\nhmac.active = 8",
    );
    let machine = Machine { lacks_secrets: true, ..Machine::default() };
    let config = Config::parse_on(&source, "f", &machine).expect("valid");
    assert_eq!(config.instances[0].hmac.as_ref().expect("hmac").active, 8);
    assert!(Config::parse(&source, "f").is_err());
}

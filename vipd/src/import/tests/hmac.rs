//! `auth_hmac`: the settings, and messages without keys.

use super::{assert_rows, messages, settings, translated};
use crate::config::Config;
use crate::config::machine::Machine;

const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// The same key in the result.
const KEYS: &str =
    "keys = [{ id = 1, hex = \"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\" }]";
const PLAIN: &str = "attention: key 1 is in the result in plain text; move it to a file of its own (`file`) or to a \
                     systemd credential (`credential`)";

fn block(settings: &str) -> String {
    format!("auth_hmac {{\n{settings}\n}}")
}

#[test]
fn settings_of_signed_adverts_are_translated() {
    let key = format!("key 1 hex:{KEY}\nactive_key 1\n");
    let rows = [
        ("", &[][..], &[][..]),
        ("anti_replay time\nmode enforce\ntime_window 5", &["mode = \"enforce\"", "window = \"5s\""], &[]),
        ("mode receive-only\ntime_window 300", &["mode = \"receive-only\"", "window = \"300s\""], &[]),
        (
            "mode permissive\nanti_replay monotonic",
            &["mode = \"permissive\"", "anti_replay = \"monotonic\""],
            &[],
        ),
        (
            "time_window 7\nanti_replay monotonic",
            &["anti_replay = \"monotonic\""],
            &["note: `time_window` is left out: it has no effect"],
        ),
        (
            "time_window 301",
            &[],
            &["attention: `time_window` is \"301\"; it must be an integer from 1 to 300"],
        ),
        (
            "mode strict",
            &[],
            &["attention: `mode` is \"strict\"; it must be enforce, permissive or receive-only"],
        ),
        ("anti_replay", &[], &["attention: `anti_replay` is \"\"; it must be time or monotonic"]),
        ("mod permissive", &[], &["attention: unknown keyword `mod`; did you mean `mode`?"]),
    ];
    for (settings, expected, expected_messages) in rows {
        let expected = [&["[instance.hmac]", KEYS, "active = 1"], expected].concat();
        let expected_messages = [&[PLAIN], expected_messages].concat();
        assert_rows(&[(&block(&(key.clone() + settings)), &expected, &expected_messages)]);
    }
}

#[test]
fn sources_of_keys_are_translated() {
    let text = "0123456789abcdefghijklmnopqrstuv";
    let digits = "303132333435363738396162636465666768696a6b6c6d6e6f70717273747576";
    for (value, expected, message) in [
        (
            "file:/etc/key",
            "file = \"/etc/key\"",
            "is in the file /etc/key, which vipd's user must be able to read",
        ),
        ("\"file:/etc/a key\"", "file = \"/etc/a key\"", "is in the file /etc/a key"),
        ("file:keys/a", "file = \"keys/a\"", "which must be in the directory of vipd's configuration"),
        (
            "file:${_ENV CREDENTIALS_DIRECTORY}/vrrp51",
            "credential = \"vrrp51\"",
            "add it to vipd's service with `LoadCredential=vrrp51:FILE`",
        ),
        ("file:/run/credentials/keepalived.service/k", "credential = \"k\"", "`LoadCredential=k:FILE`"),
        (text, &format!("hex = \"{digits}\""), "is in the result in plain text"),
    ] {
        assert_rows(&[(
            &block(&format!("key 1 {value}\nactive_key 1")),
            &["[instance.hmac]", &format!("keys = [{{ id = 1, {expected} }}]"), "active = 1"],
            &[message],
        )]);
    }
}

#[test]
fn result_is_valid_without_the_key_files() {
    let translation = translated(&super::instance(&block("key 1 file:/nonexistent/key\nactive_key 1")));
    let machine = Machine { lacks_secrets: true, ..Machine::default() };
    let config = Config::parse_on(&translation.toml, "vipd.toml", &machine).expect("valid");
    assert_eq!(config.instances[0].hmac.as_ref().expect("hmac").active, 1);
}

#[test]
fn first_key_is_active_unless_another_one_is_configured() {
    let other = KEY.replace("00", "ff");
    let keys = format!("key 3 hex:{KEY}\nkey 1 hex:{other}\n");
    for (setting, expected, message) in [
        ("active_key 1", Some("active = 1"), None),
        ("", Some("active = 3"), Some("`auth_hmac` has no `active_key`; key 3 is used")),
        (
            "active_key 2",
            Some("active = 3"),
            Some("`active_key` is 2, but there is no such key; key 3 is used"),
        ),
        ("mode receive-only", None, None),
    ] {
        let translation = translated(&super::instance(&block(&(keys.clone() + setting))));
        let found = settings(&translation);
        let active = found.iter().copied().find(|line| line.starts_with("active"));
        assert_eq!(active, expected, "{setting}");
        let messages = messages(&translation).join("\n");
        assert_eq!(messages.lines().count(), 2 + usize::from(message.is_some()), "{messages}");
        assert!(messages.contains(message.unwrap_or_default()), "{messages}");
        Config::parse(&translation.toml, "vipd.toml").unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn invalid_keys_are_left_out() {
    let left_out = "attention: `auth_hmac` has no valid key; it is left out, and adverts are not signed";
    for (line, message) in [
        ("key", "attention: `key` has no ID from 1 to 255; it is left out"),
        ("key 1", "attention: key 1 has 0 bytes; it must have 32 to 64; it is left out"),
        ("key 0 hex:00", "attention: `key` has no ID from 1 to 255"),
        ("key 256 hex:00", "attention: `key` has no ID from 1 to 255"),
        ("key 1 hex:00", "attention: key 1 has 1 bytes; it must have 32 to 64"),
        ("key 1 hex:001", "attention: key 1 has 3 hexadecimal digits, which is an odd number"),
        ("key 1 hex:0g", "attention: key 1 has characters that are not hexadecimal digits"),
        ("key 1 a text in words that is long enough", "attention: key 1 has more than one word"),
        ("key 1 file:", "attention: key 1 has a file whose name is not known"),
        ("key 1 file:${_ENV HOME}/key", "attention: key 1 has a file whose name is not known"),
    ] {
        assert_rows(&[(&block(line), &[], &[left_out, message])]);
    }
    let twice = format!("key 1 hex:{KEY}\nkey 1 hex:{KEY}\nactive_key 1");
    assert_rows(&[(
        &block(&twice),
        &["[instance.hmac]", KEYS, "active = 1"],
        &[PLAIN, "attention: key 1 is already defined; this one is left out"],
    )]);
}

#[test]
fn password_is_left_out() {
    let both = format!(
        "authentication {{\nauth_type PASS\nauth_pass s3cret\n}}\n{}",
        block(&format!("key 1 hex:{KEY}\nactive_key 1"))
    );
    assert_rows(&[(
        &both,
        &["[instance.hmac]", KEYS, "active = 1"],
        &["note: the password is left out: keepalived ignores it, too, with `auth_hmac`", PLAIN],
    )]);
}

#[test]
fn messages_contain_no_key() {
    let part = &KEY[8..24];
    for line in [
        format!("key 1 hex:{KEY}"),
        format!("key 1 hex:{KEY}0"),
        format!("key 1 hex:{KEY}g"),
        format!("key 1 hex:{KEY}{KEY}{KEY}"),
        format!("key 1 {KEY}"),
        format!("key {KEY}"),
        format!("key hex:{KEY} 1"),
        format!("key 1 hex {KEY}"),
        format!("key 1 hex:{KEY} {{\n}}"),
        format!("kex 1 hex:{KEY}"),
        format!("hex:{KEY}"),
        format!("{KEY} {{\n1\n}}"),
        format!("key 1 \"hex:{KEY}"),
        format!("key 1 hex:{KEY}\nkey 1 hex:{KEY}"),
    ] {
        let translation = translated(&super::instance(&block(&line)));
        let messages = messages(&translation).join("\n");
        assert!(!messages.is_empty() && !messages.contains(part), "{line}\n{messages}");
        let comments = translation.toml.lines().filter(|line| line.starts_with('#'));
        assert!(comments.into_iter().all(|line| !line.contains(part)), "{}", translation.toml);
    }
}

//! The VRRPv2 password, which must not appear in messages.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::{assert_rows, parsed, problems, warnings, with};
use crate::config::Config;
use crate::config::settings::Password;

const PLAIN: &str =
    "the password is sent in plain text; it protects against misconfigured routers, not against attackers";

#[test]
fn a_password_is_padded_with_zeros() {
    let instance = parsed("auth_pass = \"s3cret\"\nversion = 2");
    assert_eq!(instance.password, Some(Password(*b"s3cret\0\0")));
    assert!(!format!("{instance:?}").contains("s3cret"));
    assert_eq!(parsed("auth_pass = \"s3creter\"\nversion = 2").password, Some(Password(*b"s3creter")));
    assert_eq!(warnings("auth_pass = \"s3cret\"\nversion = 2"), format!("6:13: {PLAIN}"));
}

#[test]
fn invalid_passwords_are_rejected() {
    assert_rows(&[
        (
            "auth_pass = \"s3cretnis\"\nversion = 2",
            "6:13: auth_pass has 9 bytes; a password is 1 to 8 bytes; use the first eight, as keepalived does with longer passwords",
        ),
        (
            "auth_pass = \"\"\nversion = 2",
            "6:13: auth_pass is empty; a password is 1 to 8 bytes; set one, or remove the key",
        ),
        (
            "auth_pass = \"a\\u0000b\"\nversion = 2",
            "6:13: auth_pass has a zero byte; a password is 1 to 8 bytes; remove it",
        ),
        (
            "auth_pass = 12345\nversion = 2",
            "6:13: auth_pass is an integer; it must be a string of 1 to 8 bytes; use e.g. `auth_pass = \"…\"`",
        ),
        (
            "auth_pass = \"s3cret\"",
            "6:13: a password is set for a VRRPv3 instance, but VRRPv3 has no authentication (RFC 9568 section 9); remove it, or set \
             `version = 2`",
        ),
        (
            "auth_pass_file = \"/nonexistent/password\"\nversion = 2",
            "6:18: auth_pass_file \"/nonexistent/password\" cannot be read: No such file or directory (os error 2); \
             create it, or specify another file",
        ),
    ]);
}

#[test]
fn messages_do_not_contain_the_password() {
    for line in [
        "auth_pass = s3cret",
        "auth_pass = \"s3cret",
        "auth_pass = [\"s3cret\"]",
        "auth_pass = { word = \"s3cret\" }",
        "auth_pas = \"s3cret\"",
        "auth_pass = \"s3cret\" \"s3cret\"",
        "auth_pass = \"s3cret\"\nauth_pass = \"s3cret\"",
        "auth_pass = \"s3cretnisvoll\"\nversion = 2",
        "auth_pass = \"s3cret\"\nversion = 3",
    ] {
        let messages = problems(&with(line));
        assert!(!messages.contains("s3cret"), "{messages}");
    }
}

#[test]
fn a_password_file_is_relative_to_the_configuration() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("vipd.toml");
    let password = directory.path().join("password");
    let name = password.display();
    let write = |content: &[u8], mode: u32| {
        fs::write(&password, content).expect("write");
        fs::set_permissions(&password, Permissions::from_mode(mode)).expect("chmod");
    };
    let load = |line: &str| {
        fs::write(&path, with(line)).expect("write");
        Config::load(&path).map_err(|problems| problems.to_string())
    };
    let relative = "auth_pass_file = \"password\"\nversion = 2";
    for content in ["s3cret", "s3cret\n", "s3cret\r\n", "s3cret\nsecond line\n"] {
        write(content.as_bytes(), 0o600);
        let config = load(relative).expect("valid");
        assert_eq!(config.instances[0].password, Some(Password(*b"s3cret\0\0")), "{content:?}");
        assert_eq!(config.warnings.len(), 1, "{:?}", config.warnings);
    }
    write(b"s3cret\n", 0o604);
    let config = load(relative).expect("valid");
    assert_eq!(
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            format!("6:18: auth_pass_file \"{name}\" is world-readable; run `chmod o-r {name}`"),
            format!("6:18: {PLAIN}")
        ]
    );
    assert_eq!(
        load("auth_pass_file = \"password\"\nversion = 2\nauth_pass = \"a\""),
        Err(format!(
            "{}:6:18: auth_pass and auth_pass_file are mutually exclusive; remove one of them",
            path.display()
        ))
    );
    for (content, expected) in [
        (
            &b"s3cretnis\n"[..],
            "has 9 bytes; a password is 1 to 8 bytes; use the first eight, as keepalived does with longer passwords",
        ),
        (b"\ns3cret", "is empty; a password is 1 to 8 bytes; set one, or remove the key"),
    ] {
        write(content, 0o600);
        let expected = format!("{}:6:18: auth_pass_file \"{name}\" {expected}", path.display());
        assert_eq!(load(relative), Err(expected));
    }
}

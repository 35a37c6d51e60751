//! Keys in files and credentials, and permissions.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::{KEY, bytes};
use crate::config::Config;
use crate::config::machine::Machine;
use crate::config::tests::with;
use crate::vrrp::hmac::Key;

/// A configuration file in a directory with key files.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().expect("temporary directory") }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn write(&self, name: &str, content: &[u8], mode: u32) {
        let path = self.path().join(name);
        fs::write(&path, content).expect("write");
        fs::set_permissions(&path, Permissions::from_mode(mode)).expect("chmod");
    }

    /// Loads an instance with a key from `source`. Returns the key and the warnings.
    fn load(&self, source: &str) -> Result<(Key, Vec<String>), String> {
        let source = with(&format!("hmac.keys = [{{ id = 9, {source} }}]"));
        self.write("vipd.toml", source.as_bytes(), 0o640);
        let machine = Machine { credentials: Some(self.path().to_owned()), ..Machine::default() };
        let config = Config::load_on(self.path().join("vipd.toml"), &machine).map_err(|error| {
            let text = error.to_string();
            text.rsplit_once("vipd.toml:").map_or(text.clone(), |(_, message)| message.to_owned())
        })?;
        let key = config.instances[0].hmac.as_ref().expect("hmac").keys[0].clone();
        Ok((key, config.warnings.iter().map(ToString::to_string).collect()))
    }
}

#[test]
fn keys_are_read_from_files_and_credentials() {
    let files = Files::new();
    let text = "correct horse battery staple, 42!";
    let upper = KEY.to_uppercase();
    for (content, key) in [
        (format!("hex:{KEY}"), bytes()),
        (format!("hex:{KEY}\n"), bytes()),
        (format!("hex:{upper} \r\nsecond line"), bytes()),
        (format!("hex:{KEY}{KEY}"), [bytes(), bytes()].concat()),
        (text.to_owned(), text.as_bytes().to_vec()),
        (format!("{text}\n"), text.as_bytes().to_vec()),
    ] {
        files.write("key", content.as_bytes(), 0o600);
        let expected = Key::new(9, &key);
        for source in ["file = \"key\"", "credential = \"key\""] {
            let (found, _) = files.load(source).unwrap_or_else(|error| panic!("{content}: {error}"));
            assert_eq!(found, expected, "{source}: {content}");
        }
    }
}

#[test]
fn weak_keys_cause_a_warning() {
    let files = Files::new();
    let place = format!("6:31: file \"{}/key\"", files.path().display());
    let generate = "write `hex:` and, on the same line, the output of `openssl rand -hex 32`";
    for (content, expected) in [
        (format!("hex:{KEY}"), None),
        (
            format!("hex:{}", "ab".repeat(32)),
            Some(format!("has a key with only 1 different byte, which is easy to guess; {generate}")),
        ),
        (
            "secret, secret, secret, secret, secret".to_owned(),
            Some(format!("has a key with only 7 different bytes, which is easy to guess; {generate}")),
        ),
        (
            "correct horse battery staple, 42!".to_owned(),
            Some(format!("has a key that is text, which may be easy to guess; {generate}")),
        ),
        (
            KEY.to_owned(),
            Some(
                "has hexadecimal digits without `hex:`, so that the key is the text of the digits; write `hex:` before them \
                 on all routers or, if there are fewer than 64, replace the key"
                    .to_owned(),
            ),
        ),
    ] {
        files.write("key", content.as_bytes(), 0o600);
        let (_, warnings) = files.load("file = \"key\"").expect("valid");
        let expected: Vec<_> = expected.into_iter().map(|text| format!("{place} {text}")).collect();
        assert_eq!(warnings, expected, "{content}");
    }
    // A file that several instances name is reported once.
    let second =
        with("hmac.keys = [{ id = 1, file = \"key\" }]").replace("\"a\"", "\"b\"").replace("51", "52");
    let both = with("hmac.keys = [{ id = 9, file = \"key\" }]") + &second.replace("192.0.2", "10.0.0");
    files.write("key", b"secret, secret, secret, secret, secret", 0o600);
    let path = files.path().join("vipd.toml").display().to_string();
    assert_eq!(Config::parse(&both, &path).expect("valid").warnings.len(), 1);
    let weak = format!("hex = \"{}\"", "00".repeat(32));
    let (_, warnings) = files.load(&weak).expect("valid");
    assert_eq!(
        warnings,
        [
            "6:30: key 9 of a: hex has a key with only 1 different byte, which is easy to guess; use the output of `openssl \
          rand -hex 32`"
        ]
    );
}

#[test]
fn malformed_and_readable_files_are_rejected() {
    let files = Files::new();
    let name = format!("{}/key", files.path().display());
    let place = format!("6:31: key 9 of a: file \"{name}\"");
    let generate = "write `hex:` and, on the same line, the output of `openssl rand -hex 32`";
    assert_eq!(
        files.load("file = \"key\""),
        Err(format!(
            "{place} cannot be read: No such file or directory (os error 2); create it, or specify another file"
        ))
    );
    for (content, expected) in [
        (&b""[..], "has a key of 0 bytes; a key has 32 to 64 bytes"),
        (b"short\n", "has a key of 5 bytes; a key has 32 to 64 bytes"),
        (&[b'x'; 65], "has a key of 65 bytes; a key has 32 to 64 bytes"),
        (&[7; 32], "has binary data or control characters; it must be a line of text"),
        (b"hex:0", "has 1 hexadecimal digits, which is an odd number"),
        (b"hex: 00", "has a character that is not a hexadecimal digit, at position 1"),
        (&[b'0'; 5000], "has a key of 4096 bytes; a key has 32 to 64 bytes"),
    ] {
        files.write("key", content, 0o600);
        assert_eq!(files.load("file = \"key\""), Err(format!("{place} {expected}; {generate}")));
    }
    files.write("key", format!("hex:{KEY}").as_bytes(), 0o604);
    assert_eq!(
        files.load("file = \"key\""),
        Err(format!(
            "{place} is world-readable; run `chmod o-r {name}`, and replace the key if others may have read it"
        ))
    );
    // systemd sets the permissions of credentials.
    assert!(files.load("credential = \"key\"").is_ok());
    assert_eq!(
        files.load("credential = \"other\""),
        Err("6:37: key 9 of a: credential \"other\" cannot be read: No such file or directory (os error 2); add \
             `LoadCredential=other:FILE` to the service, and restart it; if permission is denied, run the command as \
             root"
            .to_owned())
    );
}

#[test]
fn group_of_key_file_is_compared_with_that_of_the_configuration() {
    let files = Files::new();
    files.write("key", format!("hex:{KEY}").as_bytes(), 0o640);
    assert_eq!(files.load("file = \"key\"").expect("valid").1, [""; 0]);
    // Without a configuration file, every group differs from that of the configuration.
    let source = with("hmac.keys = [{ id = 9, file = \"key\" }]");
    let config =
        Config::parse(&source, &files.path().join("absent.toml").display().to_string()).expect("valid");
    let name = format!("{}/key", files.path().display());
    assert_eq!(
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [format!(
            "6:31: file \"{name}\" is readable by its group, which is not the group of the configuration file; if the \
             agent does not belong to the key file's group, change that group with `chgrp`"
        )]
    );
}

#[test]
fn secrets_in_a_world_readable_configuration_cause_a_warning() {
    let files = Files::new();
    let path = files.path().join("vipd.toml");
    let name = path.display();
    let load = |line: &str, mode: u32| -> Vec<String> {
        files.write("vipd.toml", with(line).as_bytes(), mode);
        let config = Config::load(&path).expect("valid");
        config.warnings.iter().map(ToString::to_string).collect()
    };
    let key = format!("hmac.keys = [{{ id = 9, hex = \"{KEY}\" }}]");
    assert_eq!(load(&key, 0o640), [""; 0]);
    assert_eq!(
        load(&key, 0o644),
        [format!("6:30: hex is in {name}, which is world-readable; run `chmod o-r {name}`, or use `file`")]
    );
    let found = load("auth_pass = \"s3cret\"\nversion = 2", 0o644);
    let expected = format!(
        "6:13: auth_pass is in {name}, which is world-readable; run `chmod o-r {name}`, or use `auth_pass_file`"
    );
    assert!(found.contains(&expected), "{found:?}");
    // Only the permissions of the file that contains the key matter.
    files.write("vipd.toml", b"include = [\"instances.toml\"]\n", 0o644);
    files.write("instances.toml", with(&key).as_bytes(), 0o640);
    let config = Config::load(&path).expect("valid");
    assert_eq!(config.warnings, []);
}

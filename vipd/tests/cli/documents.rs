//! The configurations in the documentation.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use vipd_tests::markdown::documents;

use super::{text, vipd};

/// An instance that makes a partial configuration complete.
const INSTANCE: &str = "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\n\
                        virtual_addresses = [\"192.0.2.10/24\"]\n";

/// Names under which the documents refer to keys for signed adverts, as files or credentials.
const KEYS: [&str; 2] = ["vrrp51.key", "vrrp51-next"];

/// Returns a complete configuration: `block` itself if it has an instance, otherwise `block` and
/// [`INSTANCE`]. `INSTANCE` comes first if `block` has no tables or has a table `[instance.…]`, so
/// that the keys or the table belong to the instance.
fn complete(block: &str) -> String {
    let has = |start: &str| block.lines().any(|line| line.starts_with(start));
    if has("[[instance]]") {
        block.to_owned()
    } else if has("[") && !has("[instance.") {
        format!("{block}\n{INSTANCE}")
    } else {
        format!("{INSTANCE}{block}")
    }
}

#[test]
fn check_accepts_the_configurations_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let directory = tempfile::tempdir().expect("temporary directory");
    for key in KEYS {
        let path = directory.path().join(key);
        fs::write(&path, format!("hex:{}\n", "00112233445566778899aabbccddeeff".repeat(2))).expect("write");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("a file of this user");
    }
    let path = directory.path().join("block.toml");
    let mut checked = 0;
    for document in documents(root).expect("documentation") {
        for block in document.code.iter().filter(|code| code.language.as_deref() == Some("toml")) {
            fs::write(&path, complete(&block.text)).expect("write");
            let mut check = vipd(&["check", "-c", text(&path)]);
            let output = check.env("CREDENTIALS_DIRECTORY", directory.path()).output().expect("vipd starts");
            let problems = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{}:{}: {problems}",
                document.path.display(),
                block.line
            );
            checked += 1;
        }
    }
    assert!(checked >= 3, "only {checked} configurations were found");
}

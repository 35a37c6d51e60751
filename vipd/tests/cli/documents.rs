//! The configurations in the documentation.

use std::fs;
use std::path::Path;

use vipd_tests::markdown::documents;

use super::{run, text};

/// An instance that makes a partial configuration complete.
const INSTANCE: &str = "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\n\
                        virtual_addresses = [\"192.0.2.10/24\"]\n";

/// Returns a complete configuration: `block` itself if it has an instance, otherwise `block` with
/// an instance. If `block` has no tables, its keys are added to the instance.
fn complete(block: &str) -> String {
    let has = |start: &str| block.lines().any(|line| line.starts_with(start));
    if has("[[instance]]") {
        block.to_owned()
    } else if has("[") {
        format!("{block}\n{INSTANCE}")
    } else {
        format!("{INSTANCE}{block}")
    }
}

#[test]
fn check_accepts_the_configurations_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("block.toml");
    let mut checked = 0;
    for document in documents(root).expect("documentation") {
        for block in document.code.iter().filter(|code| code.language.as_deref() == Some("toml")) {
            fs::write(&path, complete(&block.text)).expect("write");
            let output = run(&["check", "-c", text(&path)]);
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

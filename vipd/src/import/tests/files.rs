//! Files like those found in the field, and their translations.

use std::fs;
use std::path::Path;

use super::{Memory, assert_valid, import, messages, options};

/// Returns all files below the folder of fixtures, with paths relative to that folder.
fn fixtures() -> Memory {
    fn add(folder: &Path, base: &Path, memory: &mut Memory) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                add(&path, base, memory);
            } else {
                let name = path.strip_prefix(base).expect("below the folder").to_owned();
                memory.files.insert(name, fs::read(&path).expect("a file"));
            }
        }
    }
    let mut memory = Memory::default();
    add(&folder(), &folder(), &mut memory);
    memory
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/import/tests/fixtures")
}

/// Checks the result and the messages of a file. If the environment variable `UPDATE` is set, first
/// rewrites the expected result and messages.
#[track_caller]
fn check(name: &str, id: Option<&str>, needs_attention: bool) {
    let path = format!("{name}.conf");
    let translation =
        import(Path::new(&path), &options(id), &fixtures()).unwrap_or_else(|error| panic!("{error}"));
    let found = translation.attention().count() > 0;
    let log = messages(&translation).join("\n") + "\n";
    for (extension, text) in [("toml", &translation.toml), ("messages", &log)] {
        let path = folder().join(format!("{name}.{extension}"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&path, text).expect("written");
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(*text, expected, "{name}.{extension}");
    }
    assert_eq!(found, needs_attention, "{log}");
    if !needs_attention {
        assert_valid(&translation);
    }
}

#[test]
fn simple_pair_is_translated() {
    check("pair", None, false);
}

#[test]
fn unicast_with_password_is_translated() {
    check("unicast", None, false);
}

#[test]
fn keys_of_signed_adverts_need_attention() {
    check("hmac", None, true);
}

#[test]
fn sync_group_with_notifications_is_translated() {
    check("firewall", None, false);
}

#[test]
fn checks_with_weights_are_translated() {
    check("checks", None, false);
}

#[test]
fn dual_stack_with_virtual_macs_is_translated() {
    check("dual-stack", None, false);
}

#[test]
fn routes_and_rules_are_translated() {
    check("routes", None, false);
}

#[test]
fn timers_and_global_defaults_are_translated() {
    check("timers", None, false);
}

#[test]
fn template_is_expanded_and_translated() {
    check("template", Some("main"), false);
}

#[test]
fn contradictory_example_with_load_balancer_needs_attention() {
    check("shipped", None, true);
}

#[test]
fn settings_without_an_equivalent_need_attention() {
    check("attention", None, true);
}

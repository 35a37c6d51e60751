//! Checks or rewrites generated files and the generated parts of documents.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

const BEGIN: &str = "<!-- generated: UPDATE=1 cargo test -p vipd --lib is_current -->\n";
const END: &str = "<!-- end of generated -->\n";

/// Checks that the generated part of a document, between the [`BEGIN`] and [`END`] lines, equals
/// `expected`. If the environment variable `UPDATE` is set, rewrites that part instead.
///
/// # Panics
/// Panics if the part differs and `UPDATE` is not set, if the document lacks one of the two lines,
/// or if the document cannot be read or written.
#[track_caller]
pub(crate) fn check(document: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(document);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
    let (before, rest) =
        text.split_once(BEGIN).unwrap_or_else(|| panic!("{document} does not contain the line {BEGIN}"));
    let (found, after) =
        rest.split_once(END).unwrap_or_else(|| panic!("{document} does not contain the line {END}"));
    let expected = format!("\n{}\n\n", expected.trim());
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).expect("writable document");
    } else {
        assert_eq!(
            found, expected,
            "{document} is out of date; run `UPDATE=1 cargo test -p vipd --lib is_current`"
        );
    }
}

/// Checks that a directory of the repository contains exactly the files in `expected`, a map from
/// name to contents. If the environment variable `UPDATE` is set, updates the directory instead.
///
/// # Panics
/// Panics if `UPDATE` is not set and a file is missing, differs or is not in `expected`, or if the
/// directory cannot be read or written.
#[track_caller]
pub(crate) fn check_files(directory: &str, expected: &BTreeMap<String, String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(directory);
    let update = std::env::var_os("UPDATE").is_some();
    let present = fs::read_dir(&path).unwrap_or_else(|error| panic!("{directory}: {error}"));
    for file in present.map(|entry| entry.expect("readable directory").file_name()) {
        let stale = file.to_str().is_none_or(|name| !expected.contains_key(name));
        if stale && update {
            fs::remove_file(path.join(&file)).expect("writable directory");
        } else {
            assert!(!stale, "{directory}/{} is not generated; remove it", file.display());
        }
    }
    for (name, expected) in expected {
        if update {
            fs::write(path.join(name), expected).expect("writable directory");
            continue;
        }
        let found = fs::read_to_string(path.join(name)).unwrap_or_default();
        assert!(
            found == *expected,
            "{directory}/{name} is out of date; run `UPDATE=1 cargo test -p vipd --lib is_current`"
        );
    }
}

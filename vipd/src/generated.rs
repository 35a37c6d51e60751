//! Checks or rewrites the generated parts of documents.

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
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{document}: {error}"));
    let (before, rest) =
        text.split_once(BEGIN).unwrap_or_else(|| panic!("{document} does not contain the line {BEGIN}"));
    let (found, after) =
        rest.split_once(END).unwrap_or_else(|| panic!("{document} does not contain the line {END}"));
    let expected = format!("\n{}\n\n", expected.trim());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).expect("writable document");
    } else {
        assert_eq!(
            found, expected,
            "{document} is out of date; run `UPDATE=1 cargo test -p vipd --lib is_current`"
        );
    }
}

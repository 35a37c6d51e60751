//! The copyright notices and licenses of the libraries in the program, which must accompany it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::iter;
use std::path::Path;

use anyhow::{Context, Result};

use super::crates::{Crate, Id};
use crate::support::workspace;

/// Beginnings of the names of files with notices or licenses.
const NAMES: [&str; 6] = ["COPYING", "COPYRIGHT", "LICENCE", "LICENSE", "NOTICE", "UNLICENSE"];
/// Line between two texts.
const RULE: &str = "------------------------------------------------------------------------------";

/// Libraries under the MIT license that are not crates, with their copyright notices.
const RUST: (&str, &str) = ("rust-std", "Copyright (c) The Rust Project Contributors");
const MUSL: (&str, &str) = ("musl", "Copyright (c) 2005-2020 Rich Felker, et al.");

/// Returns the notices and licenses of the third-party libraries that vipd contains when built for
/// `target`, each text once. Omits libunwind in a static program: the LLVM exception of its license
/// waives the notice for object code.
pub(super) fn render(crates: &BTreeMap<Id, Crate>, target: &str) -> Result<String> {
    let mut texts = BTreeMap::<String, Vec<String>>::new();
    let mut without = Vec::new();
    let foreign = crates.iter().filter(|(_, found)| found.checksum.is_some());
    for ((name, version), found) in foreign.filter(|(_, found)| !found.build_only) {
        let own = files(&found.directory)?;
        if own.is_empty() {
            without.push(format!("{name} {version}: {}", found.license));
        }
        for text in own {
            texts.entry(text).or_default().push(format!("{name} {version}"));
        }
    }
    let mit = fs::read_to_string(workspace::root().join("LICENSE-MIT")).context("cannot read LICENSE-MIT")?;
    let terms = mit.find("Permission is").map(|start| &mit[start..]).context("LICENSE-MIT has no terms")?;
    let musl = target.ends_with("musl").then_some(MUSL);
    for (name, copyright) in iter::once(RUST).chain(musl) {
        texts.entry(format!("{copyright}\n\n{terms}")).or_default().push(name.to_owned());
    }
    let mut all: Vec<(Vec<String>, String)> = texts.into_iter().map(|(text, users)| (users, text)).collect();
    all.sort();
    let mut document = String::from("Copyright notices and licenses of the libraries that vipd contains.\n");
    for (users, text) in all {
        write!(document, "\n{RULE}\n{}:\n\n{}\n", users.join(", "), text.trim_matches('\n'))?;
    }
    if !without.is_empty() {
        write!(document, "\n{RULE}\nCrates without a license text:\n\n{}\n", without.join("\n"))?;
    }
    Ok(document)
}

/// Returns the texts in a crate's directory.
fn files(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    let mut texts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().to_uppercase();
        if path.is_file() && NAMES.iter().any(|prefix| name.starts_with(prefix)) {
            let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            texts.push(String::from_utf8_lossy(&bytes).replace("\r\n", "\n"));
        }
    }
    texts.sort();
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_program_has_the_notice_of_musl() {
        let text = |target: &str| render(&BTreeMap::new(), target).expect("rendered");
        let (gnu, musl) = (text("x86_64-unknown-linux-gnu"), text("x86_64-unknown-linux-musl"));
        assert!(gnu.contains(RUST.1) && !gnu.contains(MUSL.1), "{gnu}");
        assert!(musl.contains(RUST.1) && musl.contains(MUSL.1), "{musl}");
        assert_eq!(musl.matches("THE SOFTWARE IS PROVIDED").count(), 2, "{musl}");
    }
}

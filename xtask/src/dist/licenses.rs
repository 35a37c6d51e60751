//! The copyright notices and licenses of the crates in the program, which must accompany it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::crates::{Crate, Id};

/// Beginnings of the names of files with notices or licenses.
const NAMES: [&str; 6] = ["COPYING", "COPYRIGHT", "LICENCE", "LICENSE", "NOTICE", "UNLICENSE"];
/// Line between two texts.
const RULE: &str = "------------------------------------------------------------------------------";

/// Returns the texts of all crates of other projects, each text once.
pub(super) fn render(crates: &BTreeMap<Id, Crate>) -> Result<String> {
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
    let mut all: Vec<(Vec<String>, String)> = texts.into_iter().map(|(text, users)| (users, text)).collect();
    all.sort();
    let mut document = String::from("Copyright notices and licenses of the crates that vipd contains.\n");
    for (users, text) in all {
        write!(document, "\n{RULE}\n{}:\n\n{}\n", users.join(", "), text.trim_matches('\n'))?;
    }
    if !without.is_empty() {
        write!(document, "\n{RULE}\nWithout a text in the crate:\n\n{}\n", without.join("\n"))?;
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

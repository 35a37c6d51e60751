//! The list of protocol requirements.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::directory;

/// A protocol requirement.
#[derive(Debug, Clone)]
pub struct Item {
    /// Identifier that scenarios and tests refer to: a letter and a number.
    pub name: String,
    /// RFC and section that the requirement comes from, `keepalived` and its version, or `vipd`.
    pub source: String,
    /// Keyword of RFC 2119, such as MUST or SHOULD NOT, or `custom` if the source requires nothing.
    pub level: String,
    /// The requirement, in one sentence.
    pub requirement: String,
    /// Tests other than scenarios, how vipd deviates from the requirement (`choice: …`), or why the
    /// requirement does not apply to vipd (`not applicable: …`). May be empty.
    pub other_tests: String,
    /// Why its scenarios were skipped with a device. Empty in the lab, and if at least one of the
    /// scenarios was played.
    pub skip_reasons: String,
}

impl Item {
    /// Returns whether the item is marked as a deliberate choice or as not applicable.
    pub fn is_explained(&self) -> bool {
        ["choice: ", "not applicable: "].iter().any(|word| self.other_tests.starts_with(word))
    }

    /// Returns the tests listed in `other_tests`, as file and function.
    pub fn tests(&self) -> impl Iterator<Item = (&str, &str)> {
        self.other_tests.split('`').skip(1).step_by(2).filter_map(|quoted| quoted.split_once("::"))
    }
}

/// Returns all items in document order.
///
/// # Errors
/// Returns an error if the document cannot be read or parsed.
pub fn all() -> Result<Vec<Item>> {
    let path = directory().join("items/items.md");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| item |"));
    rows.filter(|line| !line.starts_with("| ---")).map(item).collect()
}

fn item(line: &str) -> Result<Item> {
    let cells: Vec<_> = line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    ensure!(cells.len() == 5, "an item must have five cells: {line}");
    let [name, source, level, requirement, other_tests]: [String; 5] =
        cells.try_into().ok().context("an item must have five cells")?;
    Ok(Item { name, source, level, requirement, other_tests, skip_reasons: String::new() })
}

/// Returns a sort key that orders `S2` before `S10`.
pub(super) fn natural(name: &str) -> (String, u32, String) {
    let letters: String = name.chars().take_while(char::is_ascii_alphabetic).collect();
    let digits: String = name[letters.len()..].chars().take_while(char::is_ascii_digit).collect();
    let rest = name[letters.len() + digits.len()..].to_owned();
    (letters.to_lowercase(), digits.parse().unwrap_or(0), rest)
}

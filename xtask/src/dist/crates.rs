//! The crates that vipd consists of, with their licenses, hashes and dependencies.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::provenance::{self, PROVENANCE};
use crate::support::process::output;
use crate::support::workspace;

/// Name and version.
pub(super) type Id = (String, String);

/// A crate of the program.
#[derive(Debug)]
pub(super) struct Crate {
    /// SPDX license expression.
    pub(super) license: String,
    pub(super) repository: Option<String>,
    /// SHA-256 of the file in the registry; `None` for crates of this workspace.
    pub(super) checksum: Option<String>,
    /// Directory with the sources.
    pub(super) directory: PathBuf,
    /// Whether it runs only in the compiler: procedural macros and their dependencies, except the
    /// macros that the embedded BPF object uses.
    pub(super) build_only: bool,
    /// Whether it is compiled into the embedded BPF object, or is a procedural macro that the
    /// object uses.
    pub(super) in_object: bool,
    /// Direct dependencies. Empty for crates that are only in the object, because the tree of the
    /// object is not read.
    pub(super) dependencies: BTreeSet<Id>,
}

/// Returns the crates of vipd for a target, including those of the embedded BPF object.
pub(super) fn all(target: &str) -> Result<BTreeMap<Id, Crate>> {
    let mut cargo = workspace::cargo();
    cargo.args(["tree", "--locked", "--package", "vipd", "--edges", "normal", "--prefix", "depth"]);
    let tree = output(cargo.args(["--format", "{p}", "--target", target]))?;
    let nodes = parse_tree(&tree);
    let path = workspace::root().join(PROVENANCE);
    let object = fs::read_to_string(&path).with_context(|| format!("cannot read {PROVENANCE}"))?;
    let object: BTreeSet<Id> = provenance::packages(&object)
        .iter()
        .filter_map(|package| package.split_once(' '))
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .collect();

    let metadata = output(workspace::cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
    let metadata: Value = serde_json::from_str(&metadata).context("unexpected output from cargo metadata")?;
    let packages: BTreeMap<Id, &Value> = metadata["packages"]
        .as_array()
        .context("cargo metadata printed no packages")?
        .iter()
        .map(|package| ((text(package, "name"), text(package, "version")), package))
        .collect();
    let lock = fs::read_to_string(workspace::root().join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let checksums = checksums(&lock);

    let root = nodes.keys().find(|(name, _)| name == "vipd").context("cargo tree does not list vipd")?;
    let linked = linked(&nodes, root);
    let mut all = BTreeMap::new();
    for id in nodes.keys().chain(&object) {
        let package =
            packages.get(id).with_context(|| format!("cargo metadata has no package {} {}", id.0, id.1))?;
        let node = nodes.get(id);
        let manifest = PathBuf::from(text(package, "manifest_path"));
        let found = Crate {
            license: text(package, "license").replace('/', " OR "),
            repository: package["repository"].as_str().map(str::to_owned),
            checksum: checksums.get(id).cloned(),
            directory: manifest.parent().unwrap_or(Path::new("/")).to_owned(),
            build_only: !linked.contains(id) && !object.contains(id),
            in_object: object.contains(id),
            dependencies: node.map(|node| node.dependencies.clone()).unwrap_or_default(),
        };
        all.insert(id.clone(), found);
    }
    Ok(all)
}

/// A crate in cargo's tree of dependencies.
#[derive(Debug, Default, PartialEq, Eq)]
struct Node {
    is_macro: bool,
    dependencies: BTreeSet<Id>,
}

/// Parses the output of `cargo tree --prefix depth`. The dependencies of a crate are listed only
/// where it first occurs.
fn parse_tree(tree: &str) -> BTreeMap<Id, Node> {
    let mut nodes = BTreeMap::<Id, Node>::new();
    // The crates from the root to the current line.
    let mut parents: Vec<Id> = Vec::new();
    for line in tree.lines() {
        let digits = line.find(|c: char| !c.is_ascii_digit()).unwrap_or(line.len());
        let (depth, rest) = line.split_at(digits);
        let mut words = rest.split(' ');
        let (Some(name), Some(version), Ok(depth)) = (words.next(), words.next(), depth.parse::<usize>())
        else {
            continue;
        };
        let id = (name.to_owned(), version.trim_start_matches('v').to_owned());
        parents.truncate(depth);
        if let Some(parent) = parents.last().and_then(|parent| nodes.get_mut(parent)) {
            parent.dependencies.insert(id.clone());
        }
        let node = nodes.entry(id.clone()).or_default();
        node.is_macro |= words.any(|word| word == "(proc-macro)");
        parents.push(id);
    }
    nodes
}

/// Returns the crates that are linked into the program: all that can be reached from `root` without
/// a procedural macro.
fn linked(nodes: &BTreeMap<Id, Node>, root: &Id) -> BTreeSet<Id> {
    let mut found = BTreeSet::from([root.clone()]);
    let mut next = vec![root];
    while let Some(node) = next.pop().and_then(|id| nodes.get(id)) {
        for id in &node.dependencies {
            let is_macro = nodes.get(id).is_some_and(|node| node.is_macro);
            if !is_macro && found.insert(id.clone()) {
                next.push(id);
            }
        }
    }
    found
}

/// Returns the SHA-256 hashes in Cargo.lock.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let package = |entry: &str| {
        let value = |key: &str| {
            let line = entry.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = "));
            line.map(|value| value.trim_matches('"').to_owned())
        };
        Some(((value("name")?, value("version")?), value("checksum")?))
    };
    lock.split("[[package]]").filter_map(package).collect()
}

fn text(package: &Value, key: &str) -> String {
    package[key].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(name: &str, version: &str) -> Id {
        (name.to_owned(), version.to_owned())
    }

    #[test]
    fn macros_and_their_dependencies_are_not_linked() {
        let tree = "0vipd v0.1.0 (/home/me/vipd/vipd)\n1serde v1.0.1\n2serde_derive v1.0.1 (proc-macro)\n\
                    3syn v2.0.1\n3shared v3.0.0\n4below v4.0.0\n2shared v3.0.0 (*)\n1derive v1.0.0 (proc-macro)\n2syn v2.0.1 (*)\n";
        let nodes = parse_tree(tree);
        let dependencies = |name, version| nodes[&id(name, version)].dependencies.clone();
        assert_eq!(dependencies("vipd", "0.1.0"), [id("serde", "1.0.1"), id("derive", "1.0.0")].into());
        assert_eq!(
            dependencies("serde", "1.0.1"),
            [id("serde_derive", "1.0.1"), id("shared", "3.0.0")].into()
        );
        let linked = linked(&nodes, &id("vipd", "0.1.0"));
        let linked: Vec<&str> = linked.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(linked, ["below", "serde", "shared", "vipd"]);
    }

    #[test]
    fn crates_of_the_workspace_have_no_checksum() {
        let lock = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nchecksum = \"00ff\"\n\n\
                    [[package]]\nname = \"vipd\"\nversion = \"0.1.0\"\n";
        assert_eq!(checksums(lock), [(id("a", "1.0.0"), "00ff".to_owned())].into());
    }
}

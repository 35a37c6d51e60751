//! Rules that neither crate boundaries nor compiler lints can express: imports of vipd's modules,
//! and untested examples.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// vipd's sources, relative to the workspace root.
const AGENT: &str = "vipd/src";
/// Modules that must not import each other. Other modules, such as `engine` and `service`, combine
/// them.
const ADAPTERS: [&str; 6] = ["config", "control", "netlink", "packet", "realtime", "xdp"];
/// The only module that may import aya.
const XDP: &str = "xdp";
/// Number of lines above which a file gets a note.
const MAX_LINES: usize = 400;

/// Violations, and notes that do not fail the check. Each violation and each note is one line.
#[derive(Default)]
pub(super) struct Report {
    pub(super) violations: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Checks the imports of vipd's modules, and the examples and the length of all source files.
pub(super) fn check(root: &Path) -> Result<Report> {
    let mut report = Report::default();
    for folder in ["vipd", "vipd-common", "vipd-ebpf", "tests", "xtask"] {
        for path in sources(&root.join(folder))? {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let file = path.strip_prefix(root).unwrap_or(&path).display();
            let lines = text.lines().count();
            if lines > MAX_LINES {
                report
                    .notes
                    .push(format!("{file}: {lines} lines; split files that are longer than {MAX_LINES}"));
            }
            if has_example(&text) && !tests_examples(&path)? {
                report.violations.push(format!(
                    "{file}: has an example, which is not tested; remove `doctest = false` from the \
                     package's Cargo.toml, and the package from `WITHOUT_EXAMPLES` in xtask/src/test.rs"
                ));
            }
            if let Ok(module) = path.strip_prefix(root.join(AGENT)) {
                let found = examine(module, &text).into_iter();
                report.violations.extend(found.map(|violation| format!("{file}: {violation}")));
            }
        }
    }
    Ok(report)
}

/// Returns whether the documentation has a code block in Rust.
fn has_example(text: &str) -> bool {
    let fences = text.lines().filter_map(|line| {
        let line = line.trim_start();
        line.strip_prefix("///").or_else(|| line.strip_prefix("//!"))?.trim_start().strip_prefix("```")
    });
    // Every second fence ends a block.
    fences.step_by(2).any(|attributes| {
        let mut attributes = attributes.trim().split(',');
        attributes.all(|one| ["", "rust", "no_run", "should_panic", "compile_fail"].contains(&one))
    })
}

/// Returns whether the documentation tests include a file's package.
fn tests_examples(file: &Path) -> Result<bool> {
    let manifests = file.ancestors().skip(1).map(|folder| folder.join("Cargo.toml"));
    let manifest = manifests.into_iter().find(|path| path.is_file()).context("no Cargo.toml")?;
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    Ok(!text.lines().any(|line| line == "doctest = false"))
}

fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Returns the violations in one file of vipd; `module` is its path relative to [`AGENT`].
fn examine(module: &Path, text: &str) -> Vec<String> {
    let own = module.iter().next().and_then(|name| name.to_str()).unwrap_or_default();
    let mut found = Vec::new();
    for path in imports(text) {
        let mut segments = path.split("::");
        match (segments.next(), segments.next()) {
            (Some(name), _) if name.starts_with("aya") && own != XDP => {
                found.push(format!("imports `{path}`; only {AGENT}/{XDP} may import aya"));
            }
            (Some("crate"), Some(other))
                if other != own && ADAPTERS.contains(&own) && ADAPTERS.contains(&other) =>
            {
                found.push(format!("imports `{path}`; adapters must not import each other"));
            }
            _ => {}
        }
    }
    found
}

/// Returns the paths of all `use` declarations. The outermost group is expanded:
/// `use crate::{a::b, c};` gives two paths.
fn imports(text: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for part in text.split_inclusive(';') {
        let Some((before, path)) = part.trim_end_matches(';').rsplit_once("use ") else { continue };
        let line = before.rsplit('\n').next().unwrap_or_default().trim_start();
        if !(line.is_empty() || line.starts_with("pub")) {
            continue;
        }
        let path: String = path.split_whitespace().collect();
        match path.split_once("::{") {
            None => paths.push(path),
            Some((prefix, group)) => {
                let mut depth = 0;
                let split = group.split(|c: char| {
                    depth += i32::from(c == '{') - i32::from(c == '}');
                    c == ',' && depth == 0
                });
                paths.extend(split.map(|branch| format!("{prefix}::{branch}")));
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(module: &str, text: &str) -> usize {
        examine(Path::new(module), text).len()
    }

    #[test]
    fn only_code_blocks_in_rust_are_examples() {
        for (text, expected) in [
            ("/// ```\n/// let a = 1;\n/// ```\n", true),
            ("//! ```text\n//! ```\n    //! ```no_run\n", true),
            ("/// ```text\n/// let a = 1;\n/// ```\n", false),
            ("// ```\n", false),
        ] {
            assert_eq!(has_example(text), expected, "{text}");
        }
    }

    #[test]
    fn this_workspace_has_no_violations() {
        let report = check(crate::support::workspace::root()).unwrap();
        assert_eq!(report.violations, [""; 0]);
    }

    #[test]
    fn adapters_do_not_import_each_other() {
        let text =
            "use crate::netlink::Monitor;\nuse crate::vrrp::Event;\npub(crate) use crate::packet::batch;\n";
        assert_eq!((found("packet/mod.rs", text), found("engine/mod.rs", text)), (1, 0));
        assert_eq!(found("packet/mod.rs", "use crate::{\n    packet::{a, b},\n    xdp::Row,\n};\n"), 1);
    }

    #[test]
    fn only_xdp_imports_aya() {
        let text = "fn f() {}\nuse aya::{Ebpf, maps::MapData};\n";
        assert_eq!((found("xdp/mod.rs", text), found("engine/mod.rs", text)), (0, 2));
    }
}

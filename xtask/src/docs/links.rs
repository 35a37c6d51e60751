//! Links in the documents of the repository.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use vipd_tests::markdown::{Document, Link};

/// Checks that the links within the repository have a target, and returns the problems.
pub(super) fn check(root: &Path, documents: &[Document]) -> Vec<String> {
    let by_path: HashMap<&Path, &Document> =
        documents.iter().map(|document| (document.path.as_path(), document)).collect();
    let mut problems = Vec::new();
    for document in documents {
        for link in &document.links {
            if let Err(problem) = check_link(root, &by_path, document, link) {
                let (path, line) = (document.path.display(), link.line);
                problems.push(format!("{path}:{line}: link to `{}`: {problem}", link.destination));
            }
        }
    }
    problems
}

fn check_link(
    root: &Path,
    documents: &HashMap<&Path, &Document>,
    document: &Document,
    link: &Link,
) -> Result<(), String> {
    let Some(target) = Target::of(&document.path, &link.destination) else { return Ok(()) };
    if link.range.is_none() {
        return Err("a link by reference cannot be rewritten for the book; write the destination here".into());
    }
    if !root.join(&target.path).exists() {
        return Err(format!("{} does not exist", target.path.display()));
    }
    let (Some(anchor), Some(target)) = (&target.anchor, documents.get(target.path.as_path())) else {
        return Ok(());
    };
    if target.anchors.contains(anchor) {
        return Ok(());
    }
    Err(format!(
        "{} has no heading with this anchor; it has {}",
        target.path.display(),
        target.anchors.join(", ")
    ))
}

/// The target of a link within the repository.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// Path relative to the root of the repository.
    pub(super) path: PathBuf,
    /// The anchor after `#`.
    pub(super) anchor: Option<String>,
}

impl Target {
    /// Returns the target of a destination in the document `from`, or `None` if the destination is
    /// a web address.
    pub(super) fn of(from: &Path, destination: &str) -> Option<Self> {
        if destination.contains("://") || destination.starts_with("mailto:") {
            return None;
        }
        let (path, anchor) = match destination.split_once('#') {
            Some((path, anchor)) => (path, Some(anchor.to_owned())),
            None => (destination, None),
        };
        let path = if path.is_empty() {
            from.to_owned()
        } else {
            normalize(&from.parent().unwrap_or(Path::new("")).join(path))
        };
        Some(Self { path, anchor })
    }
}

/// Removes `.` and `..` from a relative path.
fn normalize(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            // A `..` that leads out of the repository stays, so that the target does not exist.
            Component::ParentDir if normal.file_name().is_some() => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vipd_tests::markdown::{Document, documents};

    use super::{Target, check};
    use crate::support::workspace;

    fn target(destination: &str) -> Option<(String, Option<String>)> {
        let target = Target::of(Path::new("docs/design/a.md"), destination)?;
        Some((target.path.display().to_string(), target.anchor))
    }

    #[test]
    fn destinations_are_relative_to_their_document() {
        assert_eq!(target("b.md"), Some(("docs/design/b.md".into(), None)));
        assert_eq!(target("../c.md#d"), Some(("docs/c.md".into(), Some("d".into()))));
        assert_eq!(target("#e"), Some(("docs/design/a.md".into(), Some("e".into()))));
        assert_eq!(target("../../../f"), Some(("../f".into(), None)));
        assert_eq!(target("https://www.rfc-editor.org/rfc/rfc9568"), None);
    }

    #[test]
    fn targets_that_do_not_exist_are_reported() {
        let text = "# A\n\n[a](#a) [b](#b) [c](c.md) [d](../README.md) [e][e]\n\n[e]: top.md\n";
        let document = Document::parse("docs/top.md".into(), text.into());
        let problems = check(workspace::root(), &[document]).join("\n");
        for expected in [
            "docs/top.md:3: link to `#b`: docs/top.md has no heading",
            "`c.md`: docs/c.md does not exist",
            "by reference",
        ] {
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
        assert_eq!(problems.lines().count(), 3, "{problems}");
    }

    #[test]
    fn links_in_the_documentation_have_targets() {
        let problems = check(workspace::root(), &documents(workspace::root()).expect("documentation"));
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }
}

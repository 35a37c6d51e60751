//! The pages of the book: the documents in the book and their paths.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result};
use vipd_tests::markdown::Document;

use super::links::Target;

/// The table of contents.
pub(super) const SUMMARY: &str = "docs/SUMMARY.md";
/// The page whose chapters, one per scenario, are added to the table of contents.
pub(super) const SCENARIOS: &str = "tests/conformance/README.md";

/// The documents in the book.
pub(super) struct Pages<'a> {
    root: &'a Path,
    /// Paths in the book's source, by path in the repository.
    paths: HashMap<PathBuf, PathBuf>,
}

impl<'a> Pages<'a> {
    /// Reads the table of contents.
    pub(super) fn new(root: &'a Path, documents: &[Document]) -> Result<Self> {
        let summary = documents.iter().find(|document| document.path == Path::new(SUMMARY));
        let summary = summary.with_context(|| format!("there is no {SUMMARY}"))?;
        let chapters = summary.links.iter().filter_map(|link| Target::of(&summary.path, &link.destination));
        let mut paths: HashMap<_, _> =
            chapters.map(|target| (target.path.clone(), path_in_book(&target.path))).collect();
        if paths.contains_key(Path::new(SCENARIOS)) {
            paths.extend(
                scenarios(documents).map(|scenario| (scenario.path.clone(), path_in_book(&scenario.path))),
            );
        }
        paths.insert(SUMMARY.into(), path_in_book(Path::new(SUMMARY)));
        Ok(Self { root, paths })
    }

    /// Returns a document's path in the book's source, or `None` if the document is not in the
    /// book.
    pub(super) fn get(&self, document: &Path) -> Option<&Path> {
        self.paths.get(document).map(PathBuf::as_path)
    }

    /// Returns a problem for each document in `docs` that is not in the book.
    pub(super) fn missing(&self, documents: &[Document]) -> Vec<String> {
        let missing = documents
            .iter()
            .filter(|document| document.path.starts_with("docs") && self.get(&document.path).is_none());
        missing
            .map(|document| format!("{}: not in {SUMMARY}; add it there", document.path.display()))
            .collect()
    }

    /// Returns the destination that a document's link must have in the book: a page, a file copied
    /// from `docs`, or a file or directory of the repository on the web. Returns `None` if the link
    /// leads to a web address, or if the document is not in the book.
    pub(super) fn destination(&self, document: &Path, destination: &str) -> Option<String> {
        let target = Target::of(document, destination)?;
        let anchor = target.anchor.map(|anchor| format!("#{anchor}")).unwrap_or_default();
        let from = self.get(document)?.parent()?;
        let path = if target.path == Path::new(SUMMARY) {
            // The table of contents is beside every page.
            relative(from, &path_in_book(Path::new("README.md")))
        } else if let Some(page) = self.get(&target.path) {
            relative(from, page)
        } else if is_asset(&target.path) {
            relative(from, &path_in_book(&target.path))
        } else {
            let kind = if self.root.join(&target.path).is_dir() { "tree" } else { "blob" };
            format!("{}/{kind}/main/{}", env!("CARGO_PKG_REPOSITORY"), target.path.display())
        };
        Some(path + &anchor)
    }
}

/// Returns whether the file is copied into the book when a page refers to it.
pub(super) fn is_asset(path: &Path) -> bool {
    path.starts_with("docs")
        && path.extension().is_some_and(|extension| extension == "svg" || extension == "png")
}

/// Returns the documents of the conformance scenarios.
pub(super) fn scenarios(documents: &[Document]) -> impl Iterator<Item = &Document> {
    let directory = Path::new(SCENARIOS).parent();
    documents
        .iter()
        .filter(move |document| document.path.parent() == directory && document.path != Path::new(SCENARIOS))
}

/// Returns the path in the book's source for a file of the repository. Files in `docs` and in the
/// root of the repository are at the top, and scenarios are in `conformance`.
pub(super) fn path_in_book(path: &Path) -> PathBuf {
    let path = path.strip_prefix("docs").or_else(|_| path.strip_prefix("tests")).unwrap_or(path);
    if path == Path::new("SUMMARY.md") {
        return path.to_owned();
    }
    match path.file_name().and_then(|name| name.to_str()) {
        // mdBook renames such chapters, but does not change links to them.
        Some("README.md") => path.with_file_name("index.md"),
        Some(name) => path.with_file_name(name.to_lowercase()),
        None => path.to_owned(),
    }
}

/// Returns the path of `to` relative to the directory `from`; both are relative to the same
/// directory.
fn relative(from: &Path, to: &Path) -> String {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b).count();
    let up = from.components().skip(common).map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(to.components().skip(common)).collect();
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vipd_tests::markdown::{Document, documents};

    use super::{Pages, relative};
    use crate::support::workspace;

    #[test]
    fn every_document_is_in_the_book() {
        let documents = documents(workspace::root()).expect("documentation");
        let pages = Pages::new(workspace::root(), &documents).expect("table of contents");
        let missing = pages.missing(&documents);
        assert!(missing.is_empty(), "{}", missing.join("\n"));
    }

    #[test]
    fn links_lead_to_pages_copies_or_the_repository() {
        let summary =
            "[Readme](../README.md)\n[Fence](design/fence.md)\n[Architecture](../ARCHITECTURE.md)\n";
        let documents = [Document::parse("docs/SUMMARY.md".into(), summary.into())];
        let pages = Pages::new(workspace::root(), &documents).expect("table of contents");
        let fence = |destination| pages.destination(Path::new("docs/design/fence.md"), destination);
        for (destination, expected) in [
            ("../../README.md#try-it", "../index.md#try-it"),
            ("../../ARCHITECTURE.md", "../architecture.md"),
            ("../SUMMARY.md", "../index.md"),
            ("#levels", "fence.md#levels"),
            ("../bench/cpu.svg", "../bench/cpu.svg"),
            ("../../Cargo.toml", "https://github.com/vipd/vipd/blob/main/Cargo.toml"),
            ("../../examples", "https://github.com/vipd/vipd/tree/main/examples"),
        ] {
            assert_eq!(fence(destination).as_deref(), Some(expected), "{destination}");
        }
        assert_eq!(fence("https://www.rfc-editor.org"), None);
    }

    #[test]
    fn paths_are_relative_to_the_directory_of_the_page() {
        assert_eq!(relative(Path::new(""), Path::new("a.md")), "a.md");
        assert_eq!(relative(Path::new("design"), Path::new("design/a.md")), "a.md");
        assert_eq!(relative(Path::new("design"), Path::new("bench/a.svg")), "../bench/a.svg");
    }
}

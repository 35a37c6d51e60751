//! Checks the links in the built book, which mdBook does not check.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A page that mdBook adds, whose links are relative to the root of the web server.
const NOT_FOUND: &str = "404.html";

/// The destinations of a page's links, and the page's own anchors.
struct Page {
    references: Vec<String>,
    anchors: HashSet<String>,
}

/// Checks that the targets of all links within the book exist: pages, anchors, pictures and
/// scripts. Returns the problems.
pub(super) fn check(book: &Path) -> Result<Vec<String>> {
    let book = book.canonicalize().with_context(|| format!("cannot find {}", book.display()))?;
    let mut pages = HashMap::new();
    let mut directories = vec![book.clone()];
    while let Some(directory) = directories.pop() {
        let cannot = || format!("cannot read the directory {}", directory.display());
        for entry in fs::read_dir(&directory).with_context(cannot)? {
            let path = entry.with_context(cannot)?.path();
            if path.is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "html")
                && !path.ends_with(NOT_FOUND)
            {
                let text =
                    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
                pages.insert(path, parse(&text));
            }
        }
    }
    let mut problems = Vec::new();
    for (path, page) in &pages {
        for reference in &page.references {
            if let Some(problem) = check_reference(path, reference, &pages) {
                problems.push(format!("{}: {problem}", path.strip_prefix(&book).unwrap_or(path).display()));
            }
        }
    }
    problems.sort();
    Ok(problems)
}

fn check_reference(from: &Path, reference: &str, pages: &HashMap<PathBuf, Page>) -> Option<String> {
    let is_web = ["https:", "http:", "mailto:", "data:"].iter().any(|scheme| reference.starts_with(scheme));
    if is_web {
        return None;
    }
    let (path, anchor) = reference.split_once('#').unwrap_or((reference, ""));
    let target = if path.is_empty() { from.to_owned() } else { from.parent()?.join(path) };
    let Ok(target) = target.canonicalize() else {
        return Some(format!("`{reference}` does not exist"));
    };
    let exists = anchor.is_empty() || pages.get(&target).is_some_and(|page| page.anchors.contains(anchor));
    (!exists).then(|| format!("`{reference}` has no such anchor"))
}

fn parse(html: &str) -> Page {
    let references = ["href", "src"].iter().flat_map(|name| attributes(html, name)).map(unescape).collect();
    Page { references, anchors: attributes(html, "id").map(unescape).collect() }
}

/// Returns the values of an attribute in the tags of the page. Text outside tags does not match,
/// because its quotation marks are escaped.
fn attributes<'a>(html: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    let start = format!(" {name}=\"");
    let values: Vec<_> =
        html.split(&start).skip(1).filter_map(|rest| rest.split_once('"').map(|(value, _)| value)).collect();
    values.into_iter()
}

fn unescape(value: &str) -> String {
    value.replace("&amp;", "&").replace("&quot;", "\"")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::check;

    #[test]
    fn missing_pages_anchors_and_pictures_are_reported() {
        let book = tempfile::tempdir().expect("temporary directory");
        let write = |name: &str, text: &str| fs::write(book.path().join(name), text).expect(name);
        fs::create_dir(book.path().join("design")).expect("directory");
        write("index.html", r##"<h1 id="top"><a href="#top">T</a></h1><a href="design/a.html#b">b</a>"##);
        write(
            "design/a.html",
            r#"<h1 id="b"></h1><a href="../index.html#no">n</a><img alt="" src="x.svg"><a href="https://e.org">e</a>"#,
        );
        write("404.html", r#"<a href="/absent.html">a</a>"#);
        let problems = check(book.path()).expect("pages").join("\n");
        for expected in ["a.html: `../index.html#no` has no such anchor", "a.html: `x.svg` does not exist"] {
            assert!(problems.contains(expected), "{expected}: {problems}");
        }
        assert_eq!(problems.lines().count(), 2, "{problems}");
    }
}

//! The Markdown documents of the repository: their headings, links and code.

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use pulldown_cmark::{CodeBlockKind, Event, LinkType, Options, Parser, Tag, TagEnd};

/// Directories whose documents are read, including all subdirectories. The documents in the
/// repository's root are also read.
const DIRECTORIES: [&str; 2] = ["docs", "tests/conformance"];

/// A parsed document.
#[derive(Debug)]
pub struct Document {
    /// Path relative to the root of the repository.
    pub path: PathBuf,
    /// The text of the file.
    pub text: String,
    /// The text of the first heading, empty if there is none.
    pub title: String,
    /// The anchors of the headings, as code hosts and mdBook generate them.
    pub anchors: Vec<String>,
    /// Links and images.
    pub links: Vec<Link>,
    /// Code blocks and inline code.
    pub code: Vec<Code>,
}

/// A link or an image.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// Line number, from 1.
    pub line: usize,
    /// The destination as written.
    pub destination: String,
    /// Position of the destination in the text; `None` for an autolink or a reference link, or if
    /// the destination is written with escapes.
    pub range: Option<Range<usize>>,
}

/// A code block or inline code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// Line number, from 1.
    pub line: usize,
    /// The language of a code block, possibly empty; `None` for inline code.
    pub language: Option<String>,
    /// The code.
    pub text: String,
}

impl Document {
    /// Parses the text of the file `path`.
    pub fn parse(path: PathBuf, text: String) -> Self {
        let mut document = Self {
            path,
            text: String::new(),
            title: String::new(),
            anchors: Vec::new(),
            links: Vec::new(),
            code: Vec::new(),
        };
        let mut anchors = Anchors::default();
        let mut heading: Option<String> = None;
        let mut block: Option<Code> = None;
        let lines: Vec<usize> = text.match_indices('\n').map(|(at, _)| at).collect();
        let mut open: Vec<OpenLink> = Vec::new();
        for (event, range) in Parser::new_ext(&text, Options::ENABLE_TABLES).into_offset_iter() {
            let line = 1 + lines.partition_point(|end| *end < range.start);
            match event {
                Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
                Event::End(TagEnd::Heading(_)) => {
                    let heading = heading.take().unwrap_or_default();
                    document.anchors.push(anchors.next(&heading));
                    if document.title.is_empty() {
                        document.title = heading;
                    }
                }
                Event::Start(
                    ref tag @ (Tag::Link { link_type, ref dest_url, .. }
                    | Tag::Image { link_type, ref dest_url, .. }),
                ) => {
                    let mark = if matches!(tag, Tag::Image { .. }) { "![" } else { "[" };
                    open.push(OpenLink {
                        index: document.links.len(),
                        inline: link_type == LinkType::Inline,
                        text_end: range.start + mark.len(),
                    });
                    let destination = dest_url.to_string();
                    document.links.push(Link { line, destination, range: None });
                    continue;
                }
                Event::End(TagEnd::Link | TagEnd::Image) => {
                    if let Some(link) = open.pop().filter(|link| link.inline) {
                        let Link { destination, range: found, .. } = &mut document.links[link.index];
                        *found = destination_range(&text[..range.end], link.text_end, destination);
                    }
                }
                Event::Start(Tag::CodeBlock(kind)) => {
                    let info = match &kind {
                        CodeBlockKind::Fenced(info) => info.split_whitespace().next().unwrap_or_default(),
                        CodeBlockKind::Indented => "",
                    };
                    block = Some(Code { line, language: Some(info.to_owned()), text: String::new() });
                }
                Event::End(TagEnd::CodeBlock) => document.code.extend(block.take()),
                Event::Text(part) => {
                    if let Some(block) = &mut block {
                        block.text += &part;
                    } else if let Some(heading) = &mut heading {
                        *heading += &part;
                    }
                }
                Event::Code(code) => {
                    if let Some(heading) = &mut heading {
                        *heading += &code;
                    }
                    document.code.push(Code { line, language: None, text: code.into_string() });
                }
                _ => {}
            }
            if let Some(link) = open.last_mut() {
                link.text_end = link.text_end.max(range.end);
            }
        }
        document.text = text;
        document
    }
}

/// Reads the documents of the repository, sorted by path.
///
/// # Errors
/// Returns an error if a directory or a document cannot be read.
pub fn documents(root: &Path) -> Result<Vec<Document>> {
    let mut paths = markdown_files(root)?.0;
    let mut directories: Vec<_> = DIRECTORIES.iter().map(|directory| root.join(directory)).collect();
    while let Some(directory) = directories.pop() {
        let (files, nested) = markdown_files(&directory)?;
        paths.extend(files);
        directories.extend(nested);
    }
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let relative = path.strip_prefix(root).unwrap_or(&path).to_owned();
        Ok(Document::parse(relative, text))
    };
    paths.into_iter().map(read).collect()
}

/// Returns the Markdown files and the directories in `directory`.
fn markdown_files(directory: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    let cannot = || format!("cannot read the directory {}", directory.display());
    let (mut files, mut directories) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.is_dir() {
            directories.push(path);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            files.push(path);
        }
    }
    Ok((files, directories))
}

/// A link whose end has not been read yet.
struct OpenLink {
    /// Index in [`Document::links`].
    index: usize,
    /// Whether the destination is in parentheses after the text.
    inline: bool,
    /// End of the text read so far.
    text_end: usize,
}

/// Returns the position of an inline link's destination. `text_end` is the end of the link's text.
fn destination_range(text: &str, text_end: usize, destination: &str) -> Option<Range<usize>> {
    let rest = text[text_end..].trim_start().strip_prefix("](")?.trim_start();
    let rest = rest.strip_prefix('<').unwrap_or(rest);
    let start = text.len() - rest.len();
    rest.starts_with(destination).then(|| start..start + destination.len())
}

/// Generates the anchors of a document's headings.
#[derive(Default)]
struct Anchors {
    used: HashMap<String, usize>,
}

impl Anchors {
    /// Returns the anchor of the next heading: lower case, spaces as hyphens, without punctuation.
    /// A repeated anchor has a number appended.
    fn next(&mut self, heading: &str) -> String {
        let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
        let name: String = heading.trim().to_lowercase().chars().filter(kept).collect();
        let name = name.replace(' ', "-");
        let count = self.used.entry(name.clone()).or_default();
        *count += 1;
        if *count == 1 { name } else { format!("{name}-{}", *count - 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::Document;

    fn parse(text: &str) -> Document {
        Document::parse("a.md".into(), text.to_owned())
    }

    #[test]
    fn anchors_follow_the_headings() {
        let document =
            parse("# Top of the file\n\n## `[[instance]]`\n\n## A & B, `c_d`\n\n## Top of the file\n");
        assert_eq!(document.title, "Top of the file");
        assert_eq!(document.anchors, ["top-of-the-file", "instance", "a--b-c_d", "top-of-the-file-1"]);
    }

    #[test]
    fn links_have_the_range_of_their_destination() {
        let text = "\nSee [`a.md`](a.md), ![b](b.svg)\nand [c][c].\n\n[c]: c.md\n";
        let links = parse(text).links;
        let found: Vec<_> = links.iter().map(|link| (link.line, link.destination.as_str())).collect();
        assert_eq!(found, [(2, "a.md"), (2, "b.svg"), (3, "c.md")]);
        assert_eq!(links[0].range, Some(14..18), "the destination, not the text");
        assert_eq!(links[2].range, None, "a link by reference");
    }

    #[test]
    fn destination_is_not_taken_from_the_text_or_the_title() {
        for (text, starts) in [
            ("[a](a \"see a\")", vec![4]),
            ("[a][a]\n\n[a]: a", vec![]),
            ("[`a](`](<a> 'a')", vec![9]),
            ("[](a)", vec![3]),
            ("![](a)", vec![4]),
            ("[![a](a)](a)", vec![10, 6]),
            ("[*a*\n](a)", vec![7]),
        ] {
            let links = parse(text).links;
            let found: Vec<_> = links.into_iter().filter_map(|link| link.range).collect();
            assert_eq!(found, starts.iter().map(|at| *at..at + 1).collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn code_has_its_language_and_line() {
        let document = parse("Run `vipd check`:\n\n```sh extra\nvipd run\n```\n\n    indented\n");
        let found: Vec<_> = document
            .code
            .iter()
            .map(|code| (code.line, code.language.as_deref(), code.text.as_str()))
            .collect();
        assert_eq!(
            found,
            [(1, None, "vipd check"), (3, Some("sh"), "vipd run\n"), (7, Some(""), "indented\n")]
        );
    }
}

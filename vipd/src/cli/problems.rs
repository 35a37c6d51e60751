//! Renders problems in a configuration: one line each, `file:line:column: message`, which editors
//! recognize. On a terminal, the line of the file follows, with a caret under the position, unless
//! it may contain a password or a key, is empty or cannot be read.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anstyle::Style;

use super::snippet;
use super::table::{BAD, HEAD, WAITING};
use crate::config::{Excerpt, Problem};

/// Maximum size in bytes of a file from which an excerpt is read. A configuration file has the same
/// limit.
const MAX_BYTES: u64 = 1 << 20;

/// Whether a problem makes the configuration invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    Error,
    Warning,
}

impl Severity {
    fn style(self) -> Style {
        match self {
            Self::Error => BAD,
            Self::Warning => WAITING,
        }
    }
}

/// Renders problems for a terminal of the given width, or for a pipe if the width is `None`.
#[derive(Debug)]
pub(super) struct Renderer {
    width: Option<usize>,
    /// Contents of files named by an agent; `None` for files that cannot be read.
    files: BTreeMap<String, Option<String>>,
}

impl Renderer {
    pub(super) fn new(width: Option<usize>) -> Self {
        Self { width, files: BTreeMap::new() }
    }

    /// Renders a problem. `main` is the name of the main file.
    pub(super) fn problem(&self, problem: &Problem, main: &str, severity: Severity) -> String {
        let Problem { file, line, column, message, excerpt } = problem;
        let file = file.as_deref().unwrap_or(main);
        let prefix = match severity {
            Severity::Error => String::new(),
            Severity::Warning => format!("{WAITING}warning{WAITING:#}: "),
        };
        self.render(file, (*line, *column), &format!("{prefix}{message}"), excerpt.as_ref(), severity)
    }

    /// Renders a line received from an agent. If the line describes a problem, the excerpt is read
    /// from the file.
    pub(super) fn line(&mut self, text: &str, severity: Severity) -> String {
        match split(text) {
            Some((file, line, column, message)) if self.width.is_some() => {
                let excerpt = self.excerpt(file, line, column);
                self.render(file, (line, column), message, excerpt.as_ref(), severity)
            }
            _ => format!("{text}\n"),
        }
    }

    fn render(
        &self,
        file: &str,
        (line, column): (usize, usize),
        message: &str,
        excerpt: Option<&Excerpt>,
        severity: Severity,
    ) -> String {
        let mut out = String::new();
        // Writing to a String does not fail.
        let _ = writeln!(out, "{HEAD}{file}:{line}:{column}:{HEAD:#} {message}");
        if let (Some(width), Some(excerpt)) = (self.width, excerpt)
            && !(excerpt.before.is_empty() && excerpt.after.is_empty())
        {
            out += &snippet::render(line, excerpt, width, severity.style());
        }
        out
    }

    /// Returns an excerpt of a file. Reads only regular files. The path must be absolute, because
    /// the agent may have another working directory.
    fn excerpt(&mut self, file: &str, line: usize, column: usize) -> Option<Excerpt> {
        let text = self.files.entry(file.to_owned()).or_insert_with(|| {
            let path = Path::new(file);
            let is_suitable = |found: &fs::Metadata| found.is_file() && found.len() <= MAX_BYTES;
            fs::metadata(path).ok().filter(|found| path.is_absolute() && is_suitable(found))?;
            fs::read_to_string(path).ok()
        });
        let mut lines = text.as_deref()?.split('\n');
        let previous = match line.checked_sub(2) {
            Some(index) => lines.nth(index)?,
            None => "",
        };
        // Line 0 does not exist.
        Excerpt::new(previous, lines.next().filter(|_| line > 0)?, column)
    }
}

/// Splits `file:line:column: message`.
fn split(text: &str) -> Option<(&str, usize, usize, &str)> {
    text.match_indices(':').find_map(|(at, _)| {
        let (line, rest) = text[at + 1..].split_once(':')?;
        let (column, message) = rest.split_once(": ")?;
        Some((&text[..at], line.parse().ok()?, column.parse().ok()?, message))
    })
}

#[cfg(test)]
mod tests {
    use anstream::adapter::strip_str;

    use super::*;
    use crate::config::Config;

    #[test]
    fn positions_are_recognized() {
        for (text, expected) in [
            ("a.toml:3:8: vrid is 510: x", Some(("a.toml", 3, 8, "vrid is 510: x"))),
            ("/a:b/c.toml:3:8: x", Some(("/a:b/c.toml", 3, 8, "x"))),
            ("a.toml: 2 problems", None),
            ("cannot store the list: No space", None),
            ("a.toml:3: x", None),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn problems_have_an_excerpt_on_a_terminal_only() {
        let source =
            "[[instance]]\nname = \"a\"\ninterface = \"eth1\"\n\tvrid = 510\nvirtual_addresses = []\n";
        let problems = Config::parse(source, "a.toml").expect_err("the VRID is invalid");
        let render = |width, severity| {
            let rendered = Renderer::new(width).problem(&problems.list()[0], "a.toml", severity);
            strip_str(&rendered).to_string()
        };
        let message = "vrid is 510; it must be an integer from 1 to 255; choose another number";
        assert_eq!(render(None, Severity::Error), format!("a.toml:4:9: {message}\n"));
        assert_eq!(
            render(Some(80), Severity::Error),
            format!("a.toml:4:9: {message}\n    4 |     vrid = 510\n      |            ^\n")
        );
        assert_eq!(
            render(Some(80), Severity::Warning),
            format!("a.toml:4:9: warning: {message}\n    4 |     vrid = 510\n      |            ^\n")
        );
    }

    #[test]
    fn password_is_not_shown() {
        let source = "[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nversion = 2\n\
                      auth_pass = \"too long a password\"\nvirtual_addresses = [\"192.0.2.1\"]\n";
        let problems = Config::parse(source, "a.toml").expect_err("the password is too long");
        let rendered = Renderer::new(Some(80)).problem(&problems.list()[0], "a.toml", Severity::Error);
        assert!(rendered.lines().count() == 1 && !rendered.contains("too long a"), "{rendered}");
    }

    #[test]
    fn password_on_its_own_line_is_not_shown() {
        let source = "[[instance]]\nauth_pass =\n\"a secret\"\n";
        let problems = Config::parse(source, "a.toml").expect_err("the value is on another line");
        for problem in problems.list() {
            let rendered = Renderer::new(Some(80)).problem(problem, "a.toml", Severity::Error);
            assert!(!rendered.contains("a secret"), "{rendered}");
        }
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.toml");
        fs::write(&path, source).expect("written");
        let text = format!("{}:3:1: x", path.display());
        assert_eq!(
            strip_str(&Renderer::new(Some(80)).line(&text, Severity::Error)).to_string(),
            format!("{text}\n")
        );
    }

    #[test]
    fn excerpts_of_lines_from_an_agent_are_read_from_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.toml");
        fs::write(&path, "# a\nvrid = 510\n").expect("written");
        let path = path.display();
        let render =
            |width, text: &str| strip_str(&Renderer::new(width).line(text, Severity::Error)).to_string();
        let problem = format!("{path}:2:8: vrid is 510");
        assert_eq!(render(None, &problem), format!("{problem}\n"));
        let excerpt = "    2 | vrid = 510\n      |        ^\n";
        assert_eq!(render(Some(80), &problem), format!("{problem}\n{excerpt}"));
        // The file has changed in the meantime or does not exist, or the path is relative.
        for text in [&format!("{path}:7:1: x"), &format!("{path}-:2:8: x"), "Cargo.toml:1:1: x", "nothing"] {
            assert_eq!(render(Some(80), text), format!("{text}\n"));
        }
    }
}

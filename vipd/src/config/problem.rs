//! Problems in a configuration, with their positions in the file.

use std::fmt;
use std::fs;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::excerpt::Excerpt;
use super::schema::Key;
use super::text::ConfigText;
use crate::process::defect;

/// A problem and its position in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The included file with the problem; `None` for the main file, and for a file that is not
    /// UTF-8 (see [`Problems::file`]).
    pub file: Option<String>,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The value found, the allowed values, and the remedy.
    pub message: String,
    /// The text around the position; `None` if it must not be shown.
    pub excerpt: Option<Excerpt>,
}

/// Formats the problem as `line:column: message`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, message, .. } = self;
        write!(f, "{line}:{column}: {message}")
    }
}

impl Problem {
    /// Formats the problem, preceded by the name of its file: the included file, or else `main`.
    pub fn in_file(&self, main: &str) -> String {
        format!("{}:{self}", self.file.as_deref().unwrap_or(main))
    }

    /// Creates a problem at byte offset `at` of `source`. Its line is the line in `source`, and its
    /// `file` is `None`.
    pub(super) fn at(source: &str, at: usize, message: String) -> Self {
        let (line, column) = position(source, at);
        let (previous, text) = lines_at(source, at);
        Self { file: None, line, column, message, excerpt: Excerpt::new(previous, text, column) }
    }

    /// If the problem is in an included file, sets `file`, and changes `line` from the line in the
    /// combined text to the line in that file. `included` lists the first line and the name of each
    /// included file.
    fn in_included(mut self, included: &[(usize, String)]) -> Self {
        if let Some((first, file)) = file_of(self.line, included) {
            self.line = self.line + 1 - first;
            self.file = Some(file.clone());
        }
        self
    }
}

/// All problems in a configuration, in the order of its text; never empty.
///
/// Displayed with one problem per line: `file:line:column: message`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    /// Returns the name of the main file or, if an included file is not UTF-8, of that file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Returns the problems in file order, at least one.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// Returns the file name and the number of problems: `vipd.toml: 2 problems`.
    pub fn summary(&self) -> String {
        let count = self.list.len();
        let plural = if count == 1 { "" } else { "s" };
        format!("{}: {count} problem{plural}", self.file)
    }

    /// Creates the problems of a main file and its included files; `None` if `list` is empty.
    pub(super) fn in_file(file: &str, list: Vec<Problem>) -> Option<Self> {
        (!list.is_empty()).then(|| Self { file: file.to_owned(), list })
    }

    /// Creates the problem for a file whose bytes are valid UTF-8 only up to `valid_up_to`.
    pub(super) fn not_utf8(bytes: &[u8], valid_up_to: usize, file: &str) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let found = bytes.get(valid_up_to).copied().unwrap_or_default();
        let message =
            format!("byte 0x{found:02x} is not valid UTF-8, which TOML requires; save the file as UTF-8");
        Self { file: file.to_owned(), list: vec![Problem::at(&text, valid_up_to, message)] }
    }

    /// Creates the problem for a configuration that was rejected without a message, which is a bug.
    pub(super) fn unexplained(file: &str) -> Self {
        let message =
            "the configuration was rejected without a reason; please report this bug and attach the file"
                .to_owned();
        Self { file: file.to_owned(), list: vec![Problem::at("", 0, message)] }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}", problem.in_file(&self.file))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// An executable that the configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Executable {
    /// Key of the command, as shown in messages.
    key: String,
    path: PathBuf,
    /// Byte offset of the command in the text of all files.
    at: usize,
}

impl Executable {
    /// Returns a message if `defect` returns a reason not to run the executable.
    fn check(&self, defect: fn(&Path) -> Option<String>) -> Option<String> {
        let reason = defect(&self.path)?;
        Some(format!("{}: {} {reason}", self.key, self.path.display()))
    }
}

/// The executables of all commands in a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executables {
    list: Vec<Executable>,
    text: ConfigText,
    /// For each included file: the number of its first line in `text`, and its name.
    included: Vec<(usize, String)>,
}

impl Executables {
    /// Returns a problem for each command whose executable is missing or not safe to run on this
    /// machine. Blocks if a file system does not respond.
    pub fn check(&self) -> Vec<Problem> {
        let check = |executable: &Executable| {
            let message = executable.check(defect)?;
            Some(Problem::at(self.text.as_str(), executable.at, message).in_included(&self.included))
        };
        self.list.iter().filter_map(check).collect()
    }
}

/// The findings in a valid file.
#[derive(Debug)]
pub(super) struct Findings {
    /// Warnings in file order.
    pub(super) warnings: Vec<Problem>,
    pub(super) executables: Executables,
    /// The text without keys.
    pub(super) text: ConfigText,
}

/// Collects problems while a file is read.
///
/// Does not report problems that follow from a syntax error: other problems on the same line, keys
/// that seem to be missing because of the error and, if the error is in a table header, unknown
/// keys below that header.
#[derive(Debug)]
pub(super) struct Collector<'s> {
    source: &'s str,
    /// Name of the main file.
    main_file: &'s str,
    /// For each included file: the number of its first line in the source, and its name.
    included: &'s [(usize, String)],
    broken_lines: Vec<usize>,
    found: Vec<Problem>,
    warnings: Vec<Problem>,
    executables: Vec<Executable>,
    /// The position of each key in `hex`.
    inline_keys: Vec<Range<usize>>,
    /// A function that returns the reason why an executable must not be run on this machine. `None`
    /// if executables are not checked.
    defect: Option<fn(&Path) -> Option<String>>,
}

impl<'s> Collector<'s> {
    pub(super) fn new(source: &'s str, main_file: &'s str, included: &'s [(usize, String)]) -> Self {
        Self {
            source,
            main_file,
            included,
            broken_lines: Vec::new(),
            found: Vec::new(),
            warnings: Vec::new(),
            executables: Vec::new(),
            inline_keys: Vec::new(),
            defect: None,
        }
    }

    /// Makes [`executable`](Self::executable) check executables with `defect`, which returns the
    /// reason why an executable must not be run.
    pub(super) fn check_executables(&mut self, defect: fn(&Path) -> Option<String>) {
        self.defect = Some(defect);
    }

    /// Adds the executable named by `key` at byte offset `at`. If executables are checked, also
    /// reports an executable that must not be run on this machine.
    pub(super) fn executable(&mut self, at: usize, key: &Key, program: &str) {
        let executable = Executable { key: key.to_string(), path: program.into(), at };
        if let Some(message) = self.defect.and_then(|defect| executable.check(defect)) {
            self.add(at, message);
        }
        self.executables.push(executable);
    }

    /// Adds the position of a key in `hex`, which the kept text must not contain.
    pub(super) fn inline_key(&mut self, position: Range<usize>) {
        self.inline_keys.push(position);
    }

    /// Adds a syntax error from the TOML parser.
    pub(super) fn syntax(&mut self, error: &toml::de::Error) {
        let span = error.span().unwrap_or(0..0);
        let (line, _) = position(self.source, span.start);
        let rest = self.source.get(span.start..).unwrap_or_default();
        let value_missing = span.is_empty() && rest.lines().next().is_none_or(|rest| rest.trim().is_empty());
        let message = if value_missing && self.text_of(line).trim_end().ends_with('=') {
            "TOML syntax: no value after `=`; add one, or remove the key".to_owned()
        } else {
            format!("TOML syntax: {}; correct this line", error.message())
        };
        // The parser continues after an error and may report the same line several times.
        if !self.broken_lines.contains(&line) {
            self.broken_lines.push(line);
            self.found.push(Problem::at(self.source, span.start, message));
        }
    }

    /// Adds a problem at byte offset `at`, unless its line has a syntax error.
    pub(super) fn add(&mut self, at: usize, message: impl Into<String>) {
        let problem = Problem::at(self.source, at, message.into());
        if !self.broken_lines.contains(&problem.line) {
            self.found.push(problem);
        }
    }

    /// Adds a warning at byte offset `at`, unless the same warning has been added.
    pub(super) fn warn_once(&mut self, at: usize, message: String) {
        if self.warnings.iter().all(|warning| warning.message != message) {
            self.warn(at, message);
        }
    }

    /// Adds a problem for an unknown key at byte offset `at`, unless the header of its table has a
    /// syntax error.
    pub(super) fn unknown(&mut self, at: usize, message: impl Into<String>) {
        if self.broken_lines.is_empty() {
            return self.add(at, message);
        }
        // Without its header, a table's keys appear to be in the preceding table.
        let before = self.source.get(..at).unwrap_or_default();
        let starts_line =
            |at: &usize| before[..*at].rsplit('\n').next().is_some_and(|indent| indent.trim().is_empty());
        let header = before.rmatch_indices('[').map(|(at, _)| at).find(starts_line);
        if !header.is_some_and(|header| self.broken_lines.contains(&position(self.source, header).0)) {
            self.add(at, message);
        }
    }

    /// Adds a warning about a valid but suspicious setting at byte offset `at`.
    pub(super) fn warn(&mut self, at: usize, message: impl Into<String>) {
        self.warnings.push(Problem::at(self.source, at, message.into()));
    }

    /// Adds a problem for a key that is missing from the table at byte offset `at`, unless a line
    /// with a syntax error contains the key.
    pub(super) fn absent(&mut self, key: &str, at: usize, message: impl Into<String>) {
        if !self.broken_lines.iter().any(|line| self.text_of(*line).contains(key)) {
            self.add(at, message);
        }
    }

    /// Formats byte offset `at` as line and column, for messages that refer to another position.
    pub(super) fn place(&self, at: usize) -> String {
        let (line, column) = position(self.source, at);
        match file_of(line, self.included) {
            Some((first, file)) => format!("line {} of {file}, column {column}", line + 1 - first),
            None if self.included.is_empty() => format!("line {line}, column {column}"),
            None => format!("line {line} of the main file, column {column}"),
        }
    }

    /// Returns the name of the file that contains byte offset `at`, if all users can read the file.
    pub(super) fn world_readable_file(&self, at: usize) -> Option<&'s str> {
        let (line, _) = position(self.source, at);
        let name = file_of(line, self.included).map_or(self.main_file, |(_, file)| file);
        let metadata = fs::metadata(name).ok()?;
        (metadata.mode() & 0o004 != 0).then_some(name)
    }

    /// Returns the findings if the file is valid, or else its problems in file order.
    pub(super) fn finish(self, file: &str, document: &DeTable<'_>) -> Result<Findings, Problems> {
        let in_order = |mut list: Vec<Problem>| -> Vec<Problem> {
            list.sort_by_key(|problem| (problem.line, problem.column));
            list.into_iter().map(|problem| problem.in_included(self.included)).collect()
        };
        if let Some(problems) = Problems::in_file(file, in_order(self.found)) {
            return Err(problems);
        }
        let included = self.included.to_vec();
        let text = ConfigText::new(self.source, document, &self.inline_keys);
        let executables = Executables { list: self.executables, text: text.clone(), included };
        Ok(Findings { warnings: in_order(self.warnings), executables, text })
    }

    /// Returns whether the file has a syntax error.
    pub(super) fn has_syntax_error(&self) -> bool {
        !self.broken_lines.is_empty()
    }

    fn text_of(&self, line: usize) -> &'s str {
        self.source.lines().nth(line - 1).unwrap_or_default()
    }
}

/// Returns the first line and the name of the included file that contains a line; `None` if the
/// line is in the main file.
fn file_of(line: usize, included: &[(usize, String)]) -> Option<&(usize, String)> {
    included.iter().rev().find(|(first, _)| *first <= line)
}

/// Returns the previous line and the line that contains byte offset `at`.
fn lines_at(source: &str, at: usize) -> (&str, &str) {
    let (before, after) = source.split_at_checked(at).unwrap_or((source, ""));
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let end = after.find('\n').map_or(source.len(), |length| before.len() + length);
    let previous = source[..start].lines().next_back().unwrap_or_default();
    (previous, &source[start..end])
}

/// Returns the line and column of byte offset `at`, both counted from 1. A byte-order mark is not
/// counted.
fn position(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.matches('\n').count() + 1;
    let column = before[line_start..].chars().filter(|c| *c != '\u{feff}').count() + 1;
    (line, column)
}

//! Reads the files and resolves everything that keepalived resolves line by line: comments,
//! `include`, conditional lines, parameters and sequences.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::definitions::{self, Definition, Definitions, Substituted};
use super::glob;
use super::line::{self, Cleaned};
use super::report::{Position, Report};
use super::sequence::{self, Sequence};
use super::{Files, ImportError, Options};

/// Maximum size of a file, in bytes.
pub(super) const MAX_FILE: usize = 1 << 20;
/// Maximum nesting of included files, including the main file.
const MAX_DEPTH: usize = 16;
/// Maximum number of files.
const MAX_FILES: usize = 1000;
/// Maximum number of lines of the result.
const MAX_LINES: usize = 500_000;
/// Maximum size of the result, in bytes.
const MAX_BYTES: usize = 16 << 20;
/// Maximum nesting of sequences and multi-line definitions.
const MAX_NESTING: usize = 16;
/// Maximum number of lines that are processed, including lines that produce no result.
const MAX_WORK: usize = 2_000_000;
/// Maximum number of times that a line is processed again after a substitution.
const MAX_PASSES: usize = 100;
/// The keywords that include files.
const INCLUDE: [&str; 6] = ["include", "includea", "includeb", "includem", "includer", "includew"];

/// A line of the resolved configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) at: Position,
}

/// A multi-line definition whose last line has not been read yet.
struct Open {
    name: String,
    lines: Vec<String>,
}

struct Preprocessor<'a> {
    options: &'a Options,
    files: &'a dyn Files,
    report: &'a mut Report,
    definitions: Definitions,
    lines: Vec<Line>,
    bytes: usize,
    /// The main file and the nested includes that are being read, each included by the one before.
    including: Vec<PathBuf>,
    files_read: usize,
    /// Number of lines processed so far.
    work: usize,
}

/// The place of a line: its position and the directory of its file.
#[derive(Clone, Copy)]
struct Place<'p> {
    at: &'p Position,
    directory: &'p Path,
}

/// Reads a configuration.
///
/// # Errors
/// Returns an error if the main file cannot be read or a limit is exceeded.
pub(super) fn run(
    main: &Path,
    options: &Options,
    files: &dyn Files,
    report: &mut Report,
) -> Result<Vec<Line>, ImportError> {
    let mut preprocessor = Preprocessor {
        options,
        files,
        report,
        definitions: Definitions::default(),
        lines: Vec::new(),
        bytes: 0,
        including: Vec::new(),
        files_read: 0,
        work: 0,
    };
    let bytes = files.read(main).map_err(|cause| ImportError::Read { path: main.to_owned(), cause })?;
    preprocessor.file(main, &bytes)?;
    Ok(preprocessor.lines)
}

impl Preprocessor<'_> {
    fn file(&mut self, path: &Path, bytes: &[u8]) -> Result<(), ImportError> {
        let file: Arc<str> = path.display().to_string().into();
        let start = Position { file: Arc::clone(&file), line: 1 };
        self.files_read += 1;
        if bytes.len() > MAX_FILE {
            return Err(limit(&start, "the file is larger than 1 MiB"));
        }
        if self.files_read > MAX_FILES {
            return Err(limit(&start, "more than 1000 files, including the main file"));
        }
        let text = String::from_utf8_lossy(bytes);
        if let Err(error) = std::str::from_utf8(bytes) {
            let line = bytes[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
            let at = Position { file: Arc::clone(&file), line };
            self.report.attention(&at, "has a byte that is not valid UTF-8, replaced by U+FFFD; correct it");
        }
        self.including.push(path.to_owned());
        let directory = path.parent().unwrap_or(Path::new(""));
        let mut open: Option<Open> = None;
        let mut last = start;
        for (index, physical) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            last = Position { file: Arc::clone(&file), line: index + 1 };
            let Cleaned { text, continues, unterminated } = line::clean(physical);
            if unterminated {
                self.report.attention(&last, "has a quote that is not closed on this line; close it");
            }
            let Some(Open { name, lines }) = &mut open else {
                let place = Place { at: &last, directory };
                open = self.line(text, continues, place, 0)?;
                continue;
            };
            if !text.is_empty() {
                lines.push(text);
            }
            if !continues {
                self.definitions.define(name, Definition::Lines(std::mem::take(lines)));
                open = None;
            }
        }
        if let Some(Open { name, lines }) = open {
            self.report.attention(
                &last,
                format!(
                    "the definition of ${name} continues after the end of the file; remove the backslash at its end"
                ),
            );
            self.definitions.define(&name, Definition::Lines(lines));
        }
        self.including.pop();
        Ok(())
    }

    /// Resolves a line. Returns a definition that begins on this line and continues on the next
    /// line.
    fn line(
        &mut self,
        mut text: String,
        continues: bool,
        place: Place<'_>,
        nesting: usize,
    ) -> Result<Option<Open>, ImportError> {
        self.work += 1;
        if self.work > MAX_WORK {
            return Err(limit(place.at, "more than 2 million lines, including the repetitions by sequences"));
        }
        if nesting > MAX_NESTING {
            return Err(limit(place.at, "sequences or definitions are nested more than 16 levels deep"));
        }
        for _ in 0..MAX_PASSES {
            text = match self.condition(text, place.at) {
                Some(text) if !text.is_empty() => text,
                _ => return Ok(None),
            };
            if let Some((name, value)) = definitions::definition(&text) {
                if continues {
                    let first = Some(value.to_owned()).filter(|value| !value.is_empty());
                    return Ok(Some(Open { name: name.to_owned(), lines: first.into_iter().collect() }));
                }
                self.definitions.define(name, Definition::Line(value.to_owned()));
                return Ok(None);
            }
            if continues {
                self.report.attention(
                    place.at,
                    "ends with a backslash, which continues only definitions ($NAME=); keepalived takes the next line as a \
                     separate one, and so does the import; write both on one line",
                );
            }
            if text.starts_with('~') {
                self.sequence(&text, place, nesting)?;
                return Ok(None);
            }
            match self.substitute(&text, place) {
                Substituted::Unchanged => {
                    self.finish(text, place)?;
                    return Ok(None);
                }
                Substituted::Line(changed) => changed.trim().clone_into(&mut text),
                Substituted::Lines(lines) => {
                    for line in lines {
                        self.line(line, false, place, nesting + 1)?;
                    }
                    return Ok(None);
                }
                Substituted::Endless => break,
            }
        }
        self.report.attention(
            place.at,
            "the parameters refer to each other endlessly, or the line is longer than 64 KiB; the line is left out; correct the definitions",
        );
        Ok(None)
    }

    /// Returns an unconditional line unchanged, and a conditional line without its condition;
    /// `None` if the condition is false or no text follows it.
    fn condition(&mut self, text: String, at: &Position) -> Option<String> {
        let Some(condition) = text.strip_prefix('@') else { return Some(text) };
        let (is_negated, condition) = match condition.strip_prefix('^') {
            Some(condition) => (true, condition),
            None => (false, condition),
        };
        let (id, rest) = condition.split_once([' ', '\t'])?;
        if self.options.id.is_none() {
            self.report.attention(
                at,
                format!(
                    "the line depends on the configuration ID, which is {:?} here, the name of this host; \
                     specify the ID of the node with --config-id",
                    self.options.host_name
                ),
            );
        }
        ((id == self.options.id()) != is_negated).then(|| rest.trim_start().to_owned())
    }

    fn substitute(&mut self, text: &str, place: Place<'_>) -> Substituted {
        let directory = self.options.directory.join(place.directory);
        let id = self.options.id();
        let result = self.definitions.substitute(text, |name| match name {
            "_PWD" => Some(directory.display().to_string()),
            "_INSTANCE" => Some(id.to_owned()),
            "_HASH" => Some("#".to_owned()),
            "_BANG" => Some("!".to_owned()),
            _ => None,
        });
        if result == Substituted::Unchanged {
            for name in definitions::predefined_names(text) {
                self.report.attention(
                    place.at,
                    format!(
                        "keepalived computes the value of ${{{name}}} when it starts; replace the parameter with a \
                         value"
                    ),
                );
            }
        }
        result
    }

    fn sequence(&mut self, text: &str, place: Place<'_>, nesting: usize) -> Result<(), ImportError> {
        let Some((kind, inside, rest)) = sequence::parts(text) else {
            self.report
                .attention(place.at, format!("{text:?} is not a valid sequence; use e.g. ~SEQ(NAME, 1, 10)"));
            return Ok(());
        };
        let inside = match self.substitute(inside, place) {
            Substituted::Line(inside) => inside,
            _ => inside.to_owned(),
        };
        match sequence::parse(kind, &inside, rest) {
            Ok(Sequence { steps, line }) => {
                for step in steps {
                    for (name, value) in step {
                        self.definitions.define(&name, Definition::Line(value));
                    }
                    self.line(line.to_owned(), false, place, nesting + 1)?;
                }
            }
            Err(message) => self.report.attention(place.at, format!("{kind}({inside}) {message}")),
        }
        Ok(())
    }

    /// Adds a resolved line, or reads the files that it includes.
    fn finish(&mut self, text: String, place: Place<'_>) -> Result<(), ImportError> {
        let words = if text.starts_with(INCLUDE[0]) { line::words(&text) } else { Vec::new() };
        match &words[..] {
            [keyword, pattern] if INCLUDE.contains(&keyword.as_str()) => return self.include(pattern, place),
            [keyword, ..] if INCLUDE.contains(&keyword.as_str()) => {
                self.report.attention(
                    place.at,
                    format!("`{keyword}` must have one file or pattern; nothing is included; correct it"),
                );
                return Ok(());
            }
            _ => {}
        }
        self.bytes += text.len();
        if self.bytes > MAX_BYTES || self.lines.len() >= MAX_LINES {
            return Err(limit(place.at, "the configuration has more than 16 MiB or 500000 lines"));
        }
        self.lines.push(Line { text, at: place.at.clone() });
        Ok(())
    }

    fn include(&mut self, pattern: &str, place: Place<'_>) -> Result<(), ImportError> {
        if self.including.len() >= MAX_DEPTH {
            return Err(limit(place.at, "included files are nested more than 16 levels deep"));
        }
        let Some(alternatives) = glob::alternatives(pattern) else {
            return Err(limit(place.at, "the braces stand for more than 1,000 patterns"));
        };
        for alternative in alternatives {
            let path = place.directory.join(&alternative);
            let paths = match glob::expand(&path, self.files) {
                Ok(paths) => paths,
                Err(error) => {
                    self.not_included(&path, &error, place.at);
                    continue;
                }
            };
            if paths.is_empty() {
                self.report.note(place.at, format!("no file matches {alternative:?}"));
            }
            for path in paths {
                if self.including.contains(&path) {
                    self.report.attention(
                        place.at,
                        format!(
                            "{} is included in itself, and skipped here; remove the include",
                            path.display()
                        ),
                    );
                    continue;
                }
                match self.files.read(&path) {
                    Ok(bytes) => self.file(&path, &bytes)?,
                    // Like keepalived, skips directories that a pattern matches.
                    Err(error)
                        if error.kind() == io::ErrorKind::IsADirectory
                            && glob::has_wildcards(&alternative) => {}
                    Err(error) => self.not_included(&path, &error, place.at),
                }
            }
        }
        Ok(())
    }

    fn not_included(&mut self, path: &Path, error: &io::Error, at: &Position) {
        self.report.attention(
            at,
            format!(
                "{} cannot be included: {error}; correct the path, or remove the include",
                path.display()
            ),
        );
    }
}

fn limit(at: &Position, what: &'static str) -> ImportError {
    ImportError::Limit { at: at.clone(), what }
}

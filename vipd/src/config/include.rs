//! `include`: further files, whose tables are read as if they were at the end of the main file.
//!
//! ```text
//!  vipd.toml:  include = ["conf.d/*.toml"]        combined text:  vipd.toml
//!              …                                                  conf.d/a.toml
//!                                                                 conf.d/b.toml
//! ```
//!
//! The position of a problem is an offset in the combined text, from which its file and line are
//! computed.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

use super::problem::{Problem, Problems};
use super::schema;
use super::{ConfigError, read, remedy};

/// Maximum size of all files together, in bytes.
const MAX_TOTAL: usize = 16 << 20;

/// The text of all files.
pub(super) struct Sources {
    /// Cleared when it is dropped, because it may contain keys.
    pub(super) text: Zeroizing<String>,
    /// For each included file: the number of its first line in `text`, counted from 1, and its
    /// name.
    pub(super) included: Vec<(usize, String)>,
}

impl Sources {
    /// Appends the files that the main file includes, in the order of its patterns; the files that
    /// match a pattern are sorted by name. `folder` is the directory of the main file, and `name`
    /// is the path of the main file in messages.
    ///
    /// # Errors
    /// Returns an error if a file or pattern cannot be read, if a file is not UTF-8, if a file or
    /// all files together are too large, or if an included file contains keys that are not allowed
    /// there.
    pub(super) fn gather(main: &[u8], folder: &Path, name: &str) -> Result<Self, ConfigError> {
        let main = text(main, name)?;
        let mut problems = Vec::new();
        let mut files = files(main, folder, &mut problems);
        // A pattern may also match the main file, which must not be included in itself.
        let main_file = identity(Path::new(name));
        files.retain(|path| main_file.is_none() || identity(path) != main_file);
        let mut contents = Vec::with_capacity(files.len());
        // Each file may need a line feed.
        let mut length = main.len() + files.len();
        for path in files {
            let file = path.display().to_string();
            let fail = |cause: io::Error| {
                let remedy = match cause.kind() {
                    io::ErrorKind::PermissionDenied => remedy(&cause),
                    _ => "correct the file, or remove it from `include`",
                };
                ConfigError::Read { path: file.clone(), remedy, cause }
            };
            let bytes = read(&path).map_err(fail)?;
            length += bytes.len();
            if length > MAX_TOTAL {
                let cause =
                    io::Error::new(io::ErrorKind::FileTooLarge, "all files together are larger than 16 MiB");
                return Err(ConfigError::Read {
                    path: name.to_owned(),
                    remedy: "include fewer files",
                    cause,
                });
            }
            contents.push((file, bytes));
        }
        // With this capacity, the text is not reallocated, which would leave a copy in memory.
        let mut sources = Self { text: Zeroizing::new(String::with_capacity(length)), included: Vec::new() };
        sources.text.push_str(main);
        for (file, bytes) in contents {
            let text = text(&bytes, &file)?;
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            check(text, &file, &mut problems);
            if !sources.text.ends_with('\n') && !sources.text.is_empty() {
                sources.text.push('\n');
            }
            sources.included.push((sources.text.matches('\n').count() + 1, file));
            sources.text.push_str(text);
        }
        match Problems::in_file(name, problems) {
            Some(problems) => Err(problems.into()),
            None => Ok(sources),
        }
    }
}

/// Returns the text of a file.
fn text<'b>(bytes: &'b [u8], file: &str) -> Result<&'b str, Problems> {
    str::from_utf8(bytes).map_err(|error| Problems::not_utf8(bytes, error.valid_up_to(), file))
}

/// Returns the device and inode, which identify a file; `None` if the file's metadata cannot be
/// read.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Returns the files that match the patterns of `include`, and reports patterns that cannot be
/// read. Values of a wrong type are reported when the whole text is read.
fn files(main: &str, folder: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let (document, _) = DeTable::parse_recoverable(main);
    let include = document.get_ref().get(schema::INCLUDE.name);
    let patterns = include.and_then(|include| include.get_ref().as_array()).into_iter().flatten();
    let mut all: Vec<PathBuf> = Vec::new();
    for pattern in patterns {
        let Some(text) = pattern.get_ref().as_str() else { continue };
        let at = pattern.span().start;
        match expand(&folder.join(text)) {
            Ok(mut found) => {
                found.retain(|path| !all.contains(path));
                all.append(&mut found);
            }
            Err(error) => {
                problems.push(Problem::at(
                    main,
                    at,
                    format!("include {text:?} cannot be read: {error}; correct the path or pattern"),
                ));
            }
        }
    }
    all
}

/// Returns the regular files that match a pattern, sorted by name. `*` in the last component stands
/// for any characters. A pattern without `*` must name a regular file.
fn expand(pattern: &Path) -> io::Result<Vec<PathBuf>> {
    let name = pattern.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let folder = pattern.parent().unwrap_or(Path::new(""));
    if !name.contains('*') {
        if !fs::metadata(pattern)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        return Ok(vec![pattern.to_owned()]);
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // A directory that does not exist contains no files.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        // Unlike a shell, ignores all hidden files, such as temporary files of editors, even if the
        // pattern begins with a dot.
        let is_match =
            entry.file_name().to_str().is_some_and(|one| !one.starts_with('.') && matches(name, one));
        let named =
            |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", entry.path().display()));
        if is_match && fs::metadata(entry.path()).map_err(named)?.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Returns whether a name matches a pattern with `*`.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|tail| {
            (0..=tail.len()).filter(|at| tail.is_char_boundary(*at)).any(|at| matches(rest, &tail[at..]))
        }),
    }
}

/// Reports keys that an included file must not contain. Only the arrays of tables in
/// [`INCLUDABLE`](schema::INCLUDABLE) are allowed. In the combined text, any key before the file's
/// first header would belong to the last table of the previous file. A table `[instance.notify]`
/// without an `[[instance]]` before it would belong to that file's last instance.
fn check(text: &str, file: &str, problems: &mut Vec<Problem>) {
    let (document, _) = DeTable::parse_recoverable(text);
    let allowed = schema::INCLUDABLE;
    let mut found = Vec::new();
    for (key, value) in document.get_ref() {
        let is_tables = value
            .get_ref()
            .as_array()
            .is_some_and(|array| array.iter().all(|element| matches!(element.get_ref(), DeValue::Table(_))));
        if !allowed.contains(&key.get_ref().as_ref()) || !is_tables {
            let message = format!(
                "`{}` is not allowed in an included file, which must contain only {}; move it to the main file",
                key.get_ref().escape_debug(),
                allowed.map(|name| format!("`[[{name}]]`")).join(", ")
            );
            found.push(Problem {
                file: Some(file.to_owned()),
                ..Problem::at(text, key.span().start, message)
            });
        }
    }
    found.sort_by_key(|problem: &Problem| (problem.line, problem.column));
    problems.append(&mut found);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    const INSTANCE: &str = "[[instance]]\nname = \"NAME\"\ninterface = \"eth1\"\nvrid = VRID\nvirtual_addresses = [\"10.0.0.VRID\"]\n";

    fn instance(name: &str, vrid: u8) -> String {
        INSTANCE.replace("NAME", name).replace("VRID", &vrid.to_string())
    }

    fn load(files: &[(&str, String)]) -> Result<Config, String> {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("conf.d")).expect("created");
        for (name, text) in files {
            fs::write(directory.path().join(name), text).expect("written");
        }
        let prefix = format!("{}/", directory.path().display());
        Config::load(directory.path().join("vipd.toml"))
            .map_err(|error| error.to_string().replace(&prefix, ""))
    }

    fn names(config: &Config) -> Vec<&str> {
        config.instances.iter().map(|one| one.name.as_str()).collect()
    }

    #[test]
    fn star_matches_any_characters() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml~", false),
            ("a*b*c", "abc", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("*", "é", true),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn files_that_match_a_pattern_are_read_in_order_of_their_names() {
        let main = "include = [\"conf.d/*.toml\", \"last.conf\"]\n".to_owned() + &instance("main", 1);
        let config = load(&[
            ("vipd.toml", main.clone()),
            ("conf.d/b.toml", instance("b", 3)),
            ("conf.d/a.toml", instance("a", 2)),
            ("conf.d/.hidden.toml", "nonsense".to_owned()),
            ("conf.d/c.disabled", "nonsense".to_owned()),
            ("last.conf", instance("last", 4)),
        ]);
        assert_eq!(names(&config.expect("valid")), ["main", "a", "b", "last"]);
        let alone = load(&[("vipd.toml", main.clone()), ("last.conf", String::new())]).expect("valid");
        assert_eq!(names(&alone), ["main"], "no file matches");
        let missing = load(&[("vipd.toml", main)]).expect_err("no such file");
        assert_eq!(
            missing,
            "vipd.toml:1:29: include \"last.conf\" cannot be read: No such file or directory (os error 2); correct the path or pattern"
        );
    }

    #[test]
    fn main_file_and_byte_order_marks_are_skipped() {
        let main = "include = [\"*.toml\"]\n".to_owned() + &instance("main", 1);
        let marked = "\u{feff}".to_owned() + &instance("a", 2);
        let config = load(&[("vipd.toml", main), ("a.toml", marked)]);
        assert_eq!(names(&config.expect("valid")), ["main", "a"]);
    }

    #[test]
    fn errors_name_the_files_that_cannot_be_read() {
        let main = "include = [\"conf.d/*.toml\", \"conf.d\"]\n".to_owned() + &instance("main", 1);
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir(directory.path().join("conf.d")).expect("created");
        let link = directory.path().join("conf.d/a.toml");
        std::os::unix::fs::symlink("missing", &link).expect("linked");
        let path = directory.path().join("vipd.toml");
        fs::write(&path, main).expect("written");
        let error = Config::load(&path).expect_err("a broken link").to_string();
        let (first, second) = error.split_once('\n').expect("two problems");
        assert!(first.contains(&format!("{}: No such file", link.display())), "{first}");
        assert!(
            second.ends_with("cannot be read: it is not a regular file; correct the path or pattern"),
            "{second}"
        );
    }

    #[test]
    fn problems_are_reported_under_the_name_of_their_file() {
        let main = "include = [\"conf.d/*.toml\"]\n".to_owned() + &instance("main", 1);
        let wrong = instance("main", 0);
        let error = load(&[("vipd.toml", main.clone()), ("conf.d/a.toml", wrong)]).expect_err("wrong");
        assert_eq!(
            error,
            "conf.d/a.toml:2:8: name \"main\" is already used at line 3 of the main file, column 8; names must be unique; rename one of \
             them\n\
             conf.d/a.toml:4:8: vrid is 0; it must be an integer from 1 to 255; choose another number"
        );
        let error = load(&[
            ("vipd.toml", main),
            (
                "conf.d/a.toml",
                "realtime = \"off\"\n include = [\"b.toml\"]\n[instance.notify]\nany = [\"/bin/x\"]\n"
                    .to_owned(),
            ),
        ])
        .expect_err("keys that are not arrays of tables");
        let allowed = "`[[instance]]`, `[[group]]`, `[[script]]`, `[[process]]`, `[[file]]`, `[[interface]]`";
        assert_eq!(
            error,
            format!(
                "conf.d/a.toml:1:1: `realtime` is not allowed in an included file, which must contain only {allowed}; move it \
                 to the main file\n\
                 conf.d/a.toml:2:2: `include` is not allowed in an included file, which must contain only {allowed}; move it \
                 to the main file\n\
                 conf.d/a.toml:3:2: `instance` is not allowed in an included file, which must contain only {allowed}; move it \
                 to the main file"
            )
        );
    }
}

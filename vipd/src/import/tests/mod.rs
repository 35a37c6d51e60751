//! Tests of the translation: files from the field, single keywords, and arbitrary input.

mod files;
mod keywords;
mod mutation;
mod rows;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Files, ImportError, Options, Severity, Translation, import};
use crate::config::Config;

/// Files in memory. `pgrep` and `killall` are installed.
#[derive(Debug, Default)]
struct Memory {
    files: BTreeMap<PathBuf, Vec<u8>>,
}

impl Memory {
    fn new<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let files = files.into_iter().map(|(path, text)| (path.into(), text.as_bytes().to_vec()));
        Self { files: files.collect() }
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let entry = |path: &Path| {
            let name = path.strip_prefix(directory).ok()?.components().next()?;
            name.as_os_str().to_str().map(str::to_owned)
        };
        let mut names: Vec<String> = self.files.keys().filter_map(|path| entry(path)).collect();
        names.dedup();
        if names.is_empty() { Err(io::ErrorKind::NotFound.into()) } else { Ok(names) }
    }

    fn program(&self, name: &str) -> Option<PathBuf> {
        ["pgrep", "killall"].contains(&name).then(|| Path::new("/usr/bin").join(name))
    }
}

fn options(id: Option<&str>) -> Options {
    Options { id: id.map(str::to_owned), host_name: "host".to_owned(), directory: "/etc/keepalived".into() }
}

/// Translates `k.conf`.
fn translate(files: &Memory) -> Result<Translation, ImportError> {
    import(Path::new("k.conf"), &options(None), files)
}

/// Translates a text.
#[track_caller]
fn translated(text: &str) -> Translation {
    translate(&Memory::new([("k.conf", text)])).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// Returns the messages, one per line: `line: severity: text`.
fn messages(translation: &Translation) -> Vec<String> {
    let severity = |severity| match severity {
        Severity::Note => "note",
        Severity::Attention => "attention",
    };
    let line = |message: &super::Message| {
        let place = message.at.to_string();
        let place = place.strip_prefix("k.conf:").unwrap_or(&place).to_owned();
        format!("{place}: {}: {}", severity(message.severity), message.text)
    };
    translation.messages.iter().map(line).collect()
}

/// Returns the lines of the result without comments and empty lines.
fn settings(translation: &Translation) -> Vec<&str> {
    translation.toml.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Checks that a result without attention is a valid configuration.
#[track_caller]
fn assert_valid(translation: &Translation) {
    if let Err(problems) = Config::parse(&translation.toml, "vipd.toml") {
        panic!("{problems}\n{}", translation.toml);
    }
}

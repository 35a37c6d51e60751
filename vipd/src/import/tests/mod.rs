//! Tests of the translation: files from the field, single keywords, and arbitrary input.

mod files;
mod hmac;
mod instances;
mod keywords;
mod lines;
mod mutation;
mod objects;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::{Files, ImportError, Options, Severity, Translation, import};
use crate::config::Config;

/// Simulates the files of a machine on which `pgrep` and `killall` are installed.
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

/// Returns the messages in the form `line: severity: text`.
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

/// Returns the lines of the result, except comments and empty lines.
fn settings(translation: &Translation) -> Vec<&str> {
    translation.toml.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Checks that the result is a valid configuration.
#[track_caller]
fn assert_valid(translation: &Translation) {
    if let Err(problems) = Config::parse(&translation.toml, "vipd.toml") {
        panic!("{problems}\n{}", translation.toml);
    }
}

/// Settings of every instance in these tests. Expected results list only the differences from these
/// settings.
const BASE: [&str; 7] = [
    "[[instance]]",
    "name = \"V\"",
    "interface = \"eth0\"",
    "vrid = 1",
    "version = 2",
    "priority = 100",
    "virtual_addresses = [\"192.0.2.1/24\"]",
];

fn instance(setting: &str) -> String {
    format!(
        "vrrp_instance V {{\ninterface eth0\nvirtual_router_id 1\nvirtual_ipaddress {{ 192.0.2.1/24 }}\n{setting}\n}}\n"
    )
}

/// Compares the result with `expected`: the lines that are not in [`BASE`], followed by the lines
/// of `BASE` that the result lacks, each prefixed with `-`. Then compares the messages, without
/// their positions.
#[track_caller]
fn assert_row(text: &str, expected: &[&str], expected_messages: &[&str]) {
    let translation = translated(text);
    let found = settings(&translation);
    let additional: Vec<&str> = found.iter().copied().filter(|line| !BASE.contains(line)).collect();
    let missing = BASE.iter().filter(|line| !found.contains(line)).map(|line| format!("-{line}"));
    let mut all: Vec<String> = additional.iter().map(|line| (*line).to_owned()).collect();
    all.extend(missing);
    assert_eq!(all, expected, "\n{text}\n{}", translation.toml);
    let messages: Vec<String> = messages(&translation)
        .iter()
        .map(|line| line.split_once(": ").map_or("", |(_, message)| message).to_owned())
        .collect();
    assert_eq!(messages.len(), expected_messages.len(), "{text}\n{messages:#?}");
    for (message, expected) in messages.iter().zip(expected_messages) {
        assert!(message.contains(expected), "{text}\n{message}\ndoes not contain {expected:?}");
    }
    if translation.attention().count() == 0 {
        assert_valid(&translation);
    }
}

#[track_caller]
fn assert_rows(rows: &[(&str, &[&str], &[&str])]) {
    for (setting, expected, messages) in rows {
        assert_row(&instance(setting), expected, messages);
    }
}

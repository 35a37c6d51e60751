//! Translates keepalived's configuration to vipd's.
//!
//! ```text
//!  files ──preprocess──► lines ──tree──► statements ──translate──► tables ──toml──► text
//!            includes, conditions,         blocks      keyword by
//!            parameters, sequences                     keyword
//! ```
//!
//! Nothing is dropped silently: each keyword is translated, requests vipd's default, or causes a
//! [`Message`] that gives either the reason why the keyword is not needed or the remedy. The table
//! of keywords is in `keywords`.
//!
//! The module does no I/O. It reads files through [`Files`].

mod definitions;
mod glob;
mod keywords;
mod line;
mod preprocess;
mod report;
mod sequence;
#[cfg(test)]
mod tests;
mod toml;
mod translate;
mod tree;

use std::io;
use std::path::{Path, PathBuf};

pub use report::{Message, Position, Severity};

use report::Report;

/// Access to the files and programs of the machine on which the import runs.
pub trait Files {
    /// Returns the contents of a regular file of at most 1 MiB.
    ///
    /// # Errors
    /// Returns an error if the file cannot be read, is not a regular file or is too large.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;

    /// Returns the names of the entries of a directory. An empty path is the working directory.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be read.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Returns the absolute path of a program in the `PATH` of the agent's commands; `None` if it
    /// is not installed there.
    fn program(&self, name: &str) -> Option<PathBuf>;
}

/// Settings of a translation.
#[derive(Clone, Debug)]
pub struct Options {
    /// ID for conditional lines, as specified with `keepalived --config-id`.
    pub id: Option<String>,
    /// Host name up to its first dot, used as the ID if none is specified.
    pub host_name: String,
    /// Absolute path of the working directory, for `${_PWD}`.
    pub directory: PathBuf,
}

impl Options {
    fn id(&self) -> &str {
        self.id.as_deref().unwrap_or(&self.host_name)
    }
}

/// The result of a translation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Translation {
    /// A configuration file for vipd.
    pub toml: String,
    /// Messages in the order of files and lines.
    pub messages: Vec<Message>,
}

impl Translation {
    /// Returns the messages that require an action.
    pub fn attention(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| message.severity == Severity::Attention)
    }
}

/// Failure of a translation.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The main file cannot be read.
    #[error("cannot read {path}: {cause}; specify keepalived's configuration file")]
    Read {
        /// The file, as given.
        path: PathBuf,
        /// The underlying error.
        cause: io::Error,
    },
    /// The configuration exceeds a limit.
    #[error("{at}: {what}; simplify or split the configuration")]
    Limit {
        /// Position at which the limit is exceeded.
        at: Position,
        /// Description of the exceeded limit, for the message.
        what: &'static str,
    },
    /// No virtual router is configured.
    #[error("{path} has no vrrp_instance; vipd requires at least one")]
    NoInstance {
        /// The main file, as given.
        path: PathBuf,
        /// Messages about the settings in the file.
        messages: Vec<Message>,
    },
}

/// Translates a keepalived configuration file and the files that it includes.
///
/// # Errors
/// Returns an error if the file cannot be read, exceeds a limit, or has no `vrrp_instance`.
pub fn import(path: &Path, options: &Options, files: &dyn Files) -> Result<Translation, ImportError> {
    let mut report = Report::default();
    let lines = preprocess::run(path, options, files, &mut report)?;
    let statements = tree::build(&lines, &mut report);
    let name = path.display().to_string();
    match translate::run(&statements, &name, files, &mut report) {
        Some(toml) => Ok(Translation { toml, messages: report.finish() }),
        None => Err(ImportError::NoInstance { path: path.to_owned(), messages: report.finish() }),
    }
}

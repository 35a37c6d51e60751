//! The drained instances, stored in the runtime directory so that a restart does not put them back
//! into service.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const FILE: &str = "drained.json";

/// The names of the drained instances, and the file in which they are stored.
#[derive(Debug)]
pub(super) struct Drained {
    path: PathBuf,
    names: BTreeSet<String>,
}

impl Drained {
    /// Reads the names that a previous run stored; none if the file does not exist. If the file
    /// cannot be read or parsed, logs the failure and treats the list as empty.
    pub(super) fn load(directory: &Path) -> Self {
        let path = directory.join(FILE);
        let names = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(
                    path = %path.display(), %error,
                    "cannot parse the list of drained instances; treating it as empty"
                );
                BTreeSet::new()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(
                        path = %path.display(), %error,
                        "cannot read the list of drained instances; treating it as empty"
                    );
                }
                BTreeSet::new()
            }
        };
        Self { path, names }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    pub(super) fn contains(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Adds or removes names, and stores the result.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written. The change then lasts only until the agent
    /// restarts.
    pub(super) fn set(&mut self, names: &[String], is_drained: bool) -> io::Result<()> {
        for name in names {
            if is_drained {
                self.names.insert(name.clone());
            } else {
                self.names.remove(name);
            }
        }
        self.store()
    }

    /// Removes the names for which `keep` returns false.
    ///
    /// # Errors
    /// Same as for [`set`](Self::set).
    pub(super) fn retain(&mut self, keep: impl Fn(&str) -> bool) -> io::Result<()> {
        let before = self.names.len();
        self.names.retain(|name| keep(name));
        if self.names.len() == before { Ok(()) } else { self.store() }
    }

    /// Replaces the file atomically, so that a crash leaves either the old or the new content.
    fn store(&self) -> io::Result<()> {
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&self.names)?)?;
        fs::rename(&new, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_a_restart() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut drained = Drained::load(directory.path());
        drained.set(&["a".to_owned(), "b".to_owned()], true).expect("stored");
        drained.set(&["a".to_owned()], false).expect("stored");
        let mut again = Drained::load(directory.path());
        assert_eq!(again.names().collect::<Vec<_>>(), ["b"]);
        again.retain(|_| false).expect("stored");
        assert_eq!(Drained::load(directory.path()).names().count(), 0);
    }

    #[test]
    fn no_instance_is_drained_if_the_file_is_damaged() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join(FILE), "[\"a\"").expect("written");
        assert_eq!(Drained::load(directory.path()).names().count(), 0);
    }
}

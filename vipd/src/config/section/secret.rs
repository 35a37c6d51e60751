//! Files that contain a password or a key.

use std::env;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::machine::Machine;
use crate::config::problem::Collector;
use crate::config::schema::Key;

/// Maximum number of bytes read from a file.
const MAX_LINE: usize = 4096;

/// The directories of files that contain passwords and keys.
#[derive(Debug)]
pub(in crate::config) struct Folders<'a> {
    /// The directory of the configuration file, to which paths are relative.
    pub(super) configuration: &'a Path,
    /// The group of the configuration file; `None` if there is no such file.
    pub(super) group: Option<u32>,
    /// The directory of systemd's credentials; `None` if there are none.
    pub(super) credentials: Option<PathBuf>,
    /// Whether files with passwords are read and, unless `lacks_keys` is set, also files and
    /// credentials with keys.
    pub(super) has_secrets: bool,
    /// Whether keys of signed adverts are not read.
    pub(super) lacks_keys: bool,
}

impl<'a> Folders<'a> {
    /// Determines the directories for a configuration file in `configuration`.
    pub(in crate::config) fn new(configuration: &'a Path, file: &str, machine: &Machine) -> Self {
        let of_service = || env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self {
            configuration,
            group: fs::metadata(file).ok().map(|metadata| metadata.gid()),
            credentials: machine.credentials.clone().or_else(of_service),
            has_secrets: !machine.lacks_secrets,
            lacks_keys: machine.lacks_keys,
        }
    }
}

/// The first line of a file. Has no `Debug`, which would show the secret.
pub(super) struct FirstLine {
    /// The line without its line ending. Overwritten with zeros when it is dropped.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Permissions of the file, as in `chmod`.
    mode: u32,
    /// The file's group.
    group: u32,
}

impl FirstLine {
    /// Reads the first line of a file. Ignores bytes after the first 4096.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        // With this capacity, the buffer is not reallocated, which would leave a copy in memory.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_LINE + 1));
        file.take(MAX_LINE as u64).read_to_end(&mut bytes)?;
        if let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            bytes.truncate(end);
            if bytes.last() == Some(&b'\r') {
                bytes.truncate(end - 1);
            }
        }
        Ok(Self { bytes, mode: metadata.mode(), group: metadata.gid() })
    }

    /// Returns whether users other than the owner and the members of the group can read the file.
    pub(super) fn is_world_readable(&self) -> bool {
        self.mode & 0o004 != 0
    }

    /// Returns whether the members of the file's group can read the file, and the group is not that
    /// of the configuration file. The agent is expected to belong to the latter group.
    pub(super) fn is_readable_by_other_group(&self, of_configuration: Option<u32>) -> bool {
        self.mode & 0o040 != 0 && of_configuration != Some(self.group)
    }
}

/// Returns the remedy for a file that cannot be read.
pub(super) fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "create it, or specify another file",
        io::ErrorKind::PermissionDenied => "give the agent's user or group read permission",
        _ => "specify a readable file",
    }
}

/// Warns about a secret that is in a world-readable configuration file. `at` is the position of the
/// secret, `key` is the configuration key that contains it, and `other` is the configuration key
/// that names a separate file instead.
pub(super) fn warn_if_configuration_is_readable(
    at: usize,
    key: &Key,
    other: &Key,
    problems: &mut Collector<'_>,
) {
    if let Some(file) = problems.world_readable_file(at) {
        problems.warn(
            at,
            format!("{key} is in {file}, which is world-readable; run `chmod o-r {file}`, or use `{other}`"),
        );
    }
}

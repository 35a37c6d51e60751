//! The runtime directory: one agent's lock and control socket.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};

const LOCK: &str = "vipd.lock";
const SOCKET: &str = "control.sock";

/// Path of the control socket in a runtime directory.
pub fn socket_path(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

/// Why a runtime directory cannot be used; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// Another agent holds it.
    #[error(
        "another vipd{} already runs with the runtime directory {}; stop it first, or give this one a directory \
         of its own with --runtime-dir DIR",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(),
        .directory.display()
    )]
    Taken {
        /// The directory.
        directory: PathBuf,
        /// The process that holds it, as it wrote into the lock file.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error(
        "cannot {action} {}: {cause}; run as a user who may, or choose another directory with --runtime-dir DIR",
        .path.display()
    )]
    System {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// A runtime directory that this process holds until it is dropped.
///
/// The lock is the file's `flock`: it ends with the process, however that ends. The file itself stays.
#[derive(Debug)]
pub struct RuntimeDir {
    directory: PathBuf,
    // Held for its lock alone. Opened with O_CLOEXEC, so that no child keeps the directory taken.
    _lock: File,
}

impl RuntimeDir {
    /// Takes the directory, creating it with mode 0755 if there is none, and removes the socket of an agent
    /// that did not live to remove it.
    ///
    /// # Errors
    /// When another agent holds it (which is left untouched), or the system refuses.
    pub fn claim(directory: impl AsRef<Path>) -> Result<Self, RuntimeError> {
        let directory = directory.as_ref().to_owned();
        create(&directory)?;
        let path = directory.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            // Whoever can open the file can lock it, and keep the agent from starting.
            .mode(0o600)
            .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
            .open(&path)
            .map_err(|cause| RuntimeError::System { action: "open", path: path.clone(), cause })?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(RuntimeError::Taken { pid: read_pid(&mut lock), directory });
            }
            Err(errno) => {
                return Err(RuntimeError::System { action: "lock", path, cause: errno.into() });
            }
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(|cause| RuntimeError::System { action: "write", path, cause })?;
        let claimed = Self { directory, _lock: lock };
        claimed.remove_socket()?;
        Ok(claimed)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.directory
    }

    /// Binds the control socket: non-blocking, open to its owner and group.
    ///
    /// # Errors
    /// When the system refuses, e.g. because the path is longer than a socket address can hold (107 bytes).
    pub fn listen(&self) -> Result<UnixListener, RuntimeError> {
        let path = socket_path(&self.directory);
        let bind = || {
            let listener = UnixListener::bind(&path)?;
            fs::set_permissions(&path, Permissions::from_mode(0o660))?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        bind().map_err(|cause| RuntimeError::System { action: "listen on", path: path.clone(), cause })
    }

    fn remove_socket(&self) -> Result<(), RuntimeError> {
        let path = socket_path(&self.directory);
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                Err(RuntimeError::System { action: "remove", path, cause })
            }
            _ => Ok(()),
        }
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next claim.
        let _ = self.remove_socket();
    }
}

fn create(directory: &Path) -> Result<(), RuntimeError> {
    if directory.is_dir() {
        return Ok(());
    }
    let failed = |cause| RuntimeError::System { action: "create", path: directory.to_owned(), cause };
    DirBuilder::new().recursive(true).mode(0o755).create(directory).map_err(failed)?;
    // The umask of a service manager must not lock `vipd status` out.
    fs::set_permissions(directory, Permissions::from_mode(0o755)).map_err(failed)
}

fn read_pid(lock: &mut File) -> Option<u32> {
    let mut text = String::new();
    lock.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

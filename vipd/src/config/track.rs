//! Objects whose state changes an instance's effective priority or puts the instance into Fault.

use std::path::PathBuf;
use std::sync::Arc;

/// The user to run commands as, resolved when the file is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Name in the file, for messages.
    pub name: String,
    /// User ID.
    pub uid: u32,
    /// Primary group ID.
    pub gid: u32,
}

/// A check by a command (`[[script]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// Name, unique among the scripts.
    pub name: String,
    /// Absolute path of the executable, and its arguments. Run without a shell.
    pub command: Vec<String>,
    /// Time between the starts of two runs, in nanoseconds. Longer if a run takes longer.
    pub interval: u64,
    /// Time in nanoseconds after which a run is killed and counts as failed.
    pub timeout: u64,
    /// Number of successful runs in a row after which the script is up, at least 1.
    pub rise: u8,
    /// Number of failed runs in a row after which the script is down, at least 1.
    pub fall: u8,
    /// User that the command runs as; `None` for the agent's own.
    pub user: Option<User>,
    /// Whether the script is up until `rise` or `fall` results in a row change its state.
    pub initially_up: bool,
}

/// A check that processes of a program exist (`[[process]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Name, unique among the processes.
    pub name: String,
    /// Selects the processes of the program.
    pub matches: ProcessMatch,
    /// Minimum number of processes for the object to be up, at least 1.
    pub quorum: u8,
    /// Time in nanoseconds for which the number of processes must be below the quorum before the
    /// object changes from up to down (`terminate_delay`).
    pub terminate_delay: u64,
}

/// Selects the processes of the program of a [`Process`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessMatch {
    /// Absolute path of the executable (`/proc/PID/exe`).
    Executable(PathBuf),
    /// Command name of up to 15 bytes (`/proc/PID/comm`).
    Comm(String),
}

/// A file that contains a number (`[[file]]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedFile {
    /// Name, unique among the files.
    pub name: String,
    /// Absolute path of the file.
    pub path: PathBuf,
}

/// An element of `track`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    /// The tracked object.
    pub object: Tracked,
    /// `None`: the instance is in Fault while the object is down. Otherwise -253 to 253: a negative
    /// weight is added to the priority while the object is down, a positive weight while it is up.
    /// For a file, the file's number times the weight is added.
    pub weight: Option<i16>,
}

/// A tracked object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// Name of an interface. The object is up while the interface exists, is administratively up
    /// and has a carrier.
    Interface(String),
    /// A script. The object is up after `rise` successful runs in a row, and down after `fall`
    /// failed runs in a row.
    Script(Arc<Script>),
    /// The processes of a program.
    Process(Arc<Process>),
    /// A file that contains a number.
    File(Arc<TrackedFile>),
    /// A route in the main table. The object is up while the table contains the route with a usable
    /// next hop.
    Route(TrackedRoute),
}

/// Destination of a tracked route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackedRoute {
    /// The default route of the instance's family (`route = "default"`).
    Default,
    /// A prefix: network address and prefix length.
    Prefix(std::net::IpAddr, u8),
}

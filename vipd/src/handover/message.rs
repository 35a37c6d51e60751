//! The messages between predecessor and successor.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};

use crate::xdp::{AttachmentInfo, FenceInfo, Sizes};

/// Version of the state and of the messages after [`Message::Hello`] that this version writes. Must
/// be increased with every change that other versions of vipd cannot read.
pub(crate) const FORMAT: u32 = 3;
/// The versions that this version of vipd can read. In version 2, the configuration contains the
/// HMAC keys that are configured with `hex`.
pub(crate) const READABLE: [u32; 2] = [2, FORMAT];

/// A message. The memory, map, link, file, socket or token that a variant describes is passed as a
/// descriptor.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "message", rename_all = "kebab-case")]
pub(crate) enum Message {
    /// The first message. Its encoding never changes.
    Hello {
        /// From the successor: the versions of the state that it can resume. In a restart, from the
        /// predecessor: the version of its state.
        formats: Vec<u32>,
        /// Version of the sender's executable.
        version: String,
    },
    /// Describes a predecessor that ends before its successor starts; follows
    /// [`Hello`](Self::Hello). Sent only in a restart.
    Origin(Origin),
    /// The data for the successor's preparation: memory with an [`Offer`].
    Offer,
    /// A map of the BPF program, with its descriptor.
    Map {
        /// Name of the map in the BPF object.
        name: String,
    },
    /// A BPF link, through which the program is attached to an interface, with its descriptor.
    Link(AttachmentInfo),
    /// An attachment of the fence: a BPF link with its descriptor, or a filter without a
    /// descriptor.
    Fence(FenceInfo),
    /// The abstract socket that claims an interface.
    Claim {
        /// Index of the interface.
        ifindex: u32,
    },
    /// The abstract socket that is the agent's lock.
    Lock,
    /// The lock file of the runtime directory.
    LockFile,
    /// The control socket.
    ControlSocket,
    /// A socket that is a member of a multicast group, to be kept open until the successor has
    /// joined the group. Sent only in a restart.
    Membership,
    /// The [`Token`](super::Token), the last of the descriptors that follow the offer.
    Token,
    /// The successor has completed its preparation.
    Ready,
    /// The successor gives up: memory with the reason, as text.
    Failed,
    /// The state of the engine: memory with JSON.
    State,
    /// The successor has taken the token.
    Taken,
    /// The state of the service: memory with JSON.
    Service,
}

/// The properties that a process must share with its predecessor to continue with its resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// Device and inode number of the network namespace's file.
    network: (u64, u64),
    /// User ID, because the pins of BPF objects belong to it.
    user: u32,
}

impl Origin {
    /// Returns the properties of this process.
    ///
    /// # Errors
    /// Returns an error if /proc cannot be read.
    pub(crate) fn present() -> io::Result<Self> {
        let file = fs::metadata("/proc/self/ns/net")?;
        Ok(Self { network: (file.dev(), file.ino()), user: geteuid().as_raw() })
    }
}

/// The data for the successor's preparation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Offer {
    /// The configuration file, for reloads.
    pub(crate) path: PathBuf,
    /// The running configuration: the text of the file and of all included files, without the HMAC
    /// keys that are configured with `hex`.
    pub(crate) configuration: String,
    /// Whether VIPs are fenced. May differ from `configuration`, because a reload has no effect on
    /// the fence.
    pub(crate) has_fence: bool,
    /// Whether real-time scheduling is requested. May differ from `configuration`, because a reload
    /// has no effect on the scheduling. Missing in version 2.
    #[serde(default)]
    pub(crate) is_realtime: Option<bool>,
    /// The runtime directory.
    pub(crate) runtime_dir: PathBuf,
    /// Sizes of the BPF program's maps.
    pub(crate) sizes: Sizes,
    /// Row of each instance in the BPF program's arrays, by name.
    pub(crate) rows: BTreeMap<String, u32>,
    /// Priorities set by an administrator, by instance.
    pub(crate) priorities: BTreeMap<String, u8>,
    /// States of the tracked objects that have been read.
    pub(crate) readings: Vec<Reading>,
}

/// The state of a tracked object.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reading {
    /// The object, as named in log lines.
    pub(crate) object: String,
    /// `up`, `down` or the number in a file.
    pub(crate) state: String,
    /// Number of changes so far.
    pub(crate) changes: u64,
}

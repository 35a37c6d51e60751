//! Pinned BPF links, which let attachments outlive the process, and the pinned map of VIPs.
//!
//! ```text
//!  /sys/fs/bpf/vipd/NETNS-NAME/     NETNS: inode of the network namespace, NAME: name of the agent
//!      IFINDEX-native|tc|generic    the program that receives adverts
//!      IFINDEX-ingress              FenceIngress
//!      IFINDEX-egress               FenceEgress
//!      addresses                    the map ADDRESSES
//! ```
//!
//! The next agent either replaces the program of a stale link of a dead agent, or detaches the
//! link. Before that, it removes the VIPs listed in the dead agent's map. Without the map,
//! these VIPs could not be distinguished from the VIPs of other agents, because an address on an
//! interface does not show which agent added it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use rustix::process::geteuid;
use vipd_common::records::AddressKey;

use super::addresses::Addresses;
use super::syscall;

/// The directory on which systemd mounts the BPF file system.
const ROOT: &str = "/sys/fs/bpf";
/// `BPF_FS_MAGIC` (`include/uapi/linux/magic.h`).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// The name of the pinned map of VIPs.
const ADDRESSES: &str = "addresses";

/// The name of a pinned link: the interface and the hook.
pub(super) type PinName = (u32, &'static str);

/// The directory with an agent's pins. Dropping this value does not change the pins.
#[derive(Debug)]
pub struct Pins {
    /// `None` without pins.
    directory: Option<PathBuf>,
    /// Links that were pinned when the directory was opened, by the name of their pin.
    inherited: BTreeMap<String, OwnedFd>,
    /// The VIPs of the agent that created the pins, if its map is pinned and can be read.
    vips: Option<BTreeSet<AddressKey>>,
    /// The reason why each unpinned link could not be pinned, by the name of the pin.
    failures: BTreeMap<String, String>,
}

/// A reason why links cannot be pinned.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// No BPF file system is mounted.
    #[error("no BPF file system is mounted at {ROOT}; mount one (`mount -t bpf bpf {ROOT}`)")]
    NotMounted,
    /// The directory belongs to a user other than root and this process's user, who could replace
    /// the pins. Not returned if this process runs as root.
    #[error(
        "{} belongs to user {found}, not to root or the user of this process ({expected}); remove it, or change its owner",
        .path.display()
    )]
    OtherUser {
        /// The directory.
        path: PathBuf,
        /// User ID of its owner.
        found: u32,
        /// User ID of this process.
        expected: u32,
    },
    /// A system call failed.
    #[error("cannot {action} {}: {cause}; {ROOT}/vipd must be a directory owned by the user of this process", .path.display())]
    System {
        /// The failed action, as a verb.
        action: &'static str,
        /// The path on which the action failed.
        path: PathBuf,
        /// The underlying error.
        cause: io::Error,
    },
}

impl Pins {
    /// Returns the reason why links cannot be pinned on this machine, or `None`. Makes only checks
    /// that need no privileges.
    pub fn obstacle() -> Option<PinError> {
        (!is_mounted()).then_some(PinError::NotMounted)
    }

    /// Returns a value without pins: all attachments end with the process.
    pub fn none() -> Self {
        Self { directory: None, inherited: BTreeMap::new(), vips: None, failures: BTreeMap::new() }
    }

    /// Opens the directory of the agent with this name in this network namespace, and the pins in
    /// it, which a dead agent, a predecessor or another running agent has created. Creates the
    /// directory if necessary.
    ///
    /// # Errors
    /// Returns an error if no BPF file system is mounted or the directory cannot be used.
    pub fn open(agent: &str) -> Result<Self, PinError> {
        if !is_mounted() {
            return Err(PinError::NotMounted);
        }
        let directory = path_of(agent)?;
        let common = Path::new(ROOT).join("vipd");
        // All agents list the common directory, to find the directories of other agents. Only root
        // and the agent's user may access an agent's own directory.
        for (path, mode) in [(&common, 0o755), (&directory, 0o700)] {
            match DirBuilder::new().mode(mode).create(path) {
                Err(cause) if cause.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(system("create", path)(cause));
                }
                _ => {}
            }
            check_owner(path)?;
        }
        Self::read(directory)
    }

    /// Opens the directory of an agent like [`open`](Self::open), but does not create it. Returns a
    /// value without pins if the directory does not exist or no BPF file system is mounted.
    ///
    /// # Errors
    /// Returns an error if the directory cannot be used.
    pub fn find(agent: &str) -> Result<Self, PinError> {
        let directory = path_of(agent)?;
        if !is_mounted() || !directory.exists() {
            return Ok(Self::none());
        }
        check_owner(&directory)?;
        Self::read(directory)
    }

    fn read(directory: PathBuf) -> Result<Self, PinError> {
        let entries = fs::read_dir(&directory).map_err(system("read", &directory))?;
        let (mut inherited, mut vips) = (BTreeMap::new(), None);
        for entry in entries.filter_map(Result::ok) {
            let path = entry.path();
            let Ok(name) = entry.file_name().into_string() else { continue };
            // Fails if the object has been unpinned since the directory was read.
            let Ok(object) = syscall::open_pinned(&path) else { continue };
            if name == ADDRESSES {
                vips = Addresses::read(object).ok();
            } else {
                inherited.insert(name, object);
            }
        }
        Ok(Self { directory: Some(directory), inherited, vips, failures: BTreeMap::new() })
    }

    /// Returns the names of the agents other than `agent` that have pins in this network namespace.
    ///
    /// # Errors
    /// Returns an error if the directories of the agents cannot be listed.
    pub fn owners_other_than(agent: &str) -> io::Result<Vec<String>> {
        let (own, prefix) = (directory_name(agent)?, directory_name("")?);
        let entries = match fs::read_dir(Path::new(ROOT).join("vipd")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let others = names.filter(|name| *name != own);
        Ok(others.filter_map(|name| agent_name(name.strip_prefix(&prefix)?)).collect())
    }

    /// Returns the IDs of all links that agents have pinned in this network namespace. Skips pins
    /// that cannot be read.
    pub(super) fn all_links() -> BTreeSet<u32> {
        let owners = Self::owners_other_than("").unwrap_or_default();
        let pins = owners.iter().filter_map(|owner| Self::find(owner).ok());
        let links = pins.flat_map(|pins| pins.inherited.into_values());
        links.filter_map(|link| Some(syscall::link_info(link.as_fd()).ok()?.id)).collect()
    }

    /// Returns the interface index and the hook of each inherited link.
    pub fn inherited(&self) -> impl Iterator<Item = (&str, &str)> {
        self.inherited.keys().filter_map(|name| name.split_once('-'))
    }

    /// Returns the indices of the interfaces to which inherited links are attached.
    pub fn attached_interfaces(&self) -> BTreeSet<u32> {
        let attached = self.inherited.values().filter_map(|link| syscall::link_info(link.as_fd()).ok());
        attached.map(|info| info.ifindex).filter(|ifindex| *ifindex != 0).collect()
    }

    /// Returns the interface indices in the names of the inherited links, whether or not the links
    /// are still attached.
    pub fn interfaces(&self) -> BTreeSet<u32> {
        self.inherited().filter_map(|(ifindex, _)| ifindex.parse().ok()).collect()
    }

    /// Returns the VIPs of the agent that created the pins, which may include VIPs of backups.
    /// Returns `None` if the agent's map is not pinned or has another layout.
    pub fn vips(&self) -> Option<&BTreeSet<AddressKey>> {
        self.vips.as_ref()
    }

    /// Detaches the inherited links, unpins the map of VIPs, and removes the directory if it is
    /// then empty.
    pub fn clear(mut self) {
        self.detach_inherited(|_, _| true);
        self.unlink(ADDRESSES);
        if let Some(directory) = &self.directory {
            // Removing the directory fails if pins remain in it, and removing its parent fails if
            // another agent has a directory there.
            let _ = fs::remove_dir(directory);
            let _ = directory.parent().map(fs::remove_dir);
        }
    }

    /// Leaves all pins to a successor.
    pub(super) fn abandon(&mut self) {
        self.directory = None;
        self.inherited.clear();
    }

    /// Returns the reason why a link of an interface could not be pinned, or `None` if pinning has
    /// not failed.
    pub(super) fn failure(&self, ifindex: u32) -> Option<&str> {
        let prefix = format!("{ifindex}-");
        let mut failures = self.failures.iter();
        failures.find_map(|(name, reason)| name.starts_with(&prefix).then_some(reason.as_str()))
    }

    /// Returns the inherited link with this name, if it is still attached to the interface.
    pub(super) fn take(&mut self, name: PinName) -> Option<OwnedFd> {
        let link = self.inherited.remove(&file_name(name))?;
        syscall::link_info(link.as_fd()).is_ok_and(|info| info.ifindex == name.0).then_some(link)
    }

    /// Detaches the inherited links with an invalid name and those for which `is_unwanted` returns
    /// true, given the interface index and the hook.
    pub(super) fn detach_inherited(&mut self, is_unwanted: impl Fn(u32, &str) -> bool) {
        let is_kept = |name: &str| {
            let (ifindex, hook) = name.split_once('-').unwrap_or_default();
            ifindex.parse().is_ok_and(|ifindex| !is_unwanted(ifindex, hook))
        };
        for (name, link) in std::mem::take(&mut self.inherited) {
            if is_kept(&name) {
                self.inherited.insert(name, link);
            } else {
                // Succeeds even if the link is already detached.
                let _ = syscall::detach_link(link.as_fd());
                self.unlink(&name);
            }
        }
    }

    /// Pins a link, replacing any existing pin with this name. Returns whether the link is pinned.
    pub(super) fn pin(&mut self, name: PinName, link: BorrowedFd<'_>) -> bool {
        let name = file_name(name);
        match self.pin_object(&name, link) {
            Ok(is_pinned) => {
                self.failures.remove(&name);
                is_pinned
            }
            Err(reason) => {
                self.failures.insert(name, reason);
                false
            }
        }
    }

    /// Pins the map of VIPs in place of the map of a dead agent or a predecessor, if one is pinned.
    pub(super) fn pin_addresses(&self, map: BorrowedFd<'_>) {
        if let Err(reason) = self.pin_object(ADDRESSES, map) {
            tracing::warn!("cannot pin the map that identifies stale VIPs after a crash: {reason}");
        }
    }

    /// Pins an object, replacing any existing pin with this name. Returns `false` if this value was
    /// created with [`none`](Self::none) or the pins have been left to a successor.
    fn pin_object(&self, name: &str, object: BorrowedFd<'_>) -> Result<bool, String> {
        let Some(directory) = &self.directory else { return Ok(false) };
        let path = directory.join(name);
        let pinned = match syscall::pin(object, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path).and_then(|()| syscall::pin(object, &path))
            }
            result => result,
        };
        pinned.map(|()| true).map_err(|error| format!("cannot pin {}: {error}", path.display()))
    }

    /// Removes the pin of a link, which remains attached while a descriptor of the link is open.
    pub(super) fn unpin(&self, name: PinName) {
        self.unlink(&file_name(name));
    }

    fn unlink(&self, name: &str) {
        if let Some(directory) = &self.directory {
            // Fails only if the pin does not exist.
            let _ = fs::remove_file(directory.join(name));
        }
    }
}

/// Returns whether a BPF file system is mounted at [`ROOT`].
fn is_mounted() -> bool {
    statfs(ROOT).is_ok_and(|stat| u64::try_from(stat.f_type) == Ok(BPF_FS_MAGIC))
}

const NETNS: &str = "/proc/self/ns/net";

/// Returns the path of an agent's directory.
fn path_of(agent: &str) -> Result<PathBuf, PinError> {
    let name = directory_name(agent).map_err(system("read", Path::new(NETNS)))?;
    Ok(Path::new(ROOT).join("vipd").join(name))
}

fn check_owner(path: &Path) -> Result<(), PinError> {
    let found = fs::symlink_metadata(path).map_err(system("read", path))?.uid();
    let expected = geteuid().as_raw();
    if found != 0 && expected != 0 && found != expected {
        return Err(PinError::OtherUser { path: path.to_owned(), found, expected });
    }
    Ok(())
}

fn system(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PinError {
    let path = path.to_owned();
    move |cause| PinError::System { action, path, cause }
}

/// Returns the name of an agent's directory. The name contains the network namespace, because
/// agents in different network namespaces may share a BPF file system. Periods are escaped, because
/// the BPF file system reserves names that contain them.
fn directory_name(agent: &str) -> io::Result<String> {
    let namespace = fs::metadata(NETNS)?.ino();
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' => char::from(byte).to_string(),
        byte => format!("%{byte:02x}"),
    };
    let agent: String = agent.bytes().map(escaped).collect();
    Ok(format!("{namespace}-{agent}"))
}

/// Returns the agent's name from the part of a directory name after the network namespace; `None`
/// if that part is invalid.
fn agent_name(escaped: &str) -> Option<String> {
    let mut name = Vec::new();
    let mut rest = escaped.as_bytes();
    while let Some((first, following)) = rest.split_first() {
        rest = following;
        let byte = if *first == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            rest = rest.get(2..)?;
            u8::from_str_radix(digits, 16).ok()?
        } else {
            *first
        };
        name.push(byte);
    }
    String::from_utf8(name).ok()
}

fn file_name((ifindex, hook): PinName) -> String {
    format!("{ifindex}-{hook}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_characters_in_names_are_escaped() {
        let name = directory_name("/run/vipd.d/ü").expect("the namespace");
        let (namespace, agent) = name.split_once('-').expect("two parts");
        assert!(namespace.parse::<u64>().is_ok());
        assert_eq!(agent, "%2frun%2fvipd%2ed%2f%c3%bc");
        assert_eq!(agent_name(agent).as_deref(), Some("/run/vipd.d/ü"));
        assert_eq!((agent_name("%2"), agent_name("%zz")), (None, None));
        assert_eq!(file_name((7, "egress")), "7-egress");
    }
}

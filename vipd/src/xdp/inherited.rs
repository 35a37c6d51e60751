//! The maps and links that a process passes to its successor.
//!
//! The successor loads its own programs on the same maps, so that the counters, the fast path and
//! the ring buffer carry over. It first creates its own maps, and then makes their descriptors
//! refer to the predecessor's maps. A program that is not loaded yet refers to a map by descriptor
//! number, so programs loaded afterwards use the predecessor's maps.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData};
use serde::{Deserialize, Serialize};
use vipd_common::names::MAP_HMAC_KEYS;
use vipd_common::records::HmacKey;

use super::error::LoadError;
use super::fence::FenceInfo;
use super::mode::{Mode, Preference};
use super::program::Entry;
use super::{Row, syscall};
use crate::vrrp::hmac::Key;

/// Descriptors of the maps, by name.
pub type MapDescriptors = BTreeMap<String, OwnedFd>;

/// An attachment of the program to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachmentInfo {
    /// Interface index.
    pub ifindex: u32,
    /// Mode of the attachment.
    pub mode: Mode,
    /// The attached program.
    pub entry: Entry,
    /// The preference for which the link was last created or kept.
    pub preference: Preference,
    /// Whether the attachment outlives the process.
    pub is_pinned: bool,
}

/// The links of an agent.
#[derive(Debug, Default)]
pub struct KernelLinks {
    /// The links of the programs that receive adverts.
    pub adverts: Vec<(AttachmentInfo, OwnedFd)>,
    /// The fence's attachments, each with its link; `None` for a TC filter, which has no link.
    pub fences: Vec<(FenceInfo, Option<OwnedFd>)>,
}

/// Resources of a predecessor, for [`Kernel::succeed`](super::Kernel::succeed).
#[derive(Debug, Default)]
pub struct Inherited {
    /// The maps, by name.
    pub maps: MapDescriptors,
    /// The BPF links of the programs that receive adverts, and of the fence.
    pub links: KernelLinks,
}

/// Returns the name and the data of each map that a successor shares: all except the maps for
/// constants and for log lines (aya-log), of which each process has its own.
fn shared(ebpf: &Ebpf) -> impl Iterator<Item = (&str, &MapData)> {
    let is_shared = |name: &str| !name.starts_with('.') && !name.starts_with("AYA_");
    ebpf.maps().filter(move |(name, _)| is_shared(name)).filter_map(|(name, map)| Some((name, data(map)?)))
}

/// Returns the data of a map; `None` for a map type that vipd's object does not contain.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data)
        | Map::ProgramArray(data)
        | Map::RingBuf(data) => Some(data),
        _ => None,
    }
}

/// Returns duplicates of the descriptors of all shared maps.
pub(super) fn descriptors(ebpf: &Ebpf) -> Result<MapDescriptors, LoadError> {
    let duplicate = |(name, data): (&str, &MapData)| {
        let descriptor = data.fd().as_fd().try_clone_to_owned();
        Ok((name.to_owned(), descriptor.map_err(LoadError::Descriptor)?))
    };
    shared(ebpf).map(duplicate).collect()
}

/// Returns a key with which the program verifies the signed adverts of a row; `None` if `maps` does
/// not contain the key. `maps` are [those of a loaded program](super::Loaded::maps).
///
/// # Errors
/// Returns an error if `bpf(2)` fails.
pub fn stored_key(maps: &MapDescriptors, row: Row, id: u8) -> io::Result<Option<Key>> {
    let Some(map) = maps.get(MAP_HMAC_KEYS) else { return Ok(None) };
    let place = HmacKey { row: row.number(), key_id: id.into() };
    let mut result = Ok(false);
    let key = Key::with_states(id, |states| result = syscall::hmac_key(map.as_fd(), &place, states));
    result.map(|is_present| is_present.then_some(key))
}

/// Makes the descriptors of all shared maps refer to a predecessor's maps. Must be called before
/// any program is loaded.
pub(super) fn replace_maps(ebpf: &Ebpf, mut former: MapDescriptors) -> Result<(), LoadError> {
    let mut replaced = Vec::new();
    for (name, own) in shared(ebpf) {
        let former = former.remove(name).ok_or_else(|| LoadError::OtherMaps { name: name.to_owned() })?;
        let former = MapData::from_fd(former).map_err(|error| LoadError::map(INHERITED, error))?;
        if definition(own)? != definition(&former)? {
            return Err(LoadError::OtherMaps { name: name.to_owned() });
        }
        replaced.push((own, former));
    }
    if let Some(name) = former.into_keys().next() {
        return Err(LoadError::OtherMaps { name });
    }
    for (own, former) in replaced {
        let (from, to) = (former.fd().as_fd().as_raw_fd(), own.fd().as_fd().as_raw_fd());
        // SAFETY: both descriptors are open. `own` still owns its descriptor, which then refers to
        // another map with the same definition.
        if unsafe { libc::dup3(from, to, libc::O_CLOEXEC) } < 0 {
            return Err(LoadError::Descriptor(io::Error::last_os_error()));
        }
    }
    Ok(())
}

/// Stands for the name of an inherited map in errors.
const INHERITED: &str = "(inherited)";

/// Returns the type, key size, value size, number of entries and flags of a map.
fn definition(map: &MapData) -> Result<[u32; 5], LoadError> {
    let info = map.info().map_err(|error| LoadError::map(INHERITED, error))?;
    let kind = info.map_type().map_err(|error| LoadError::map(INHERITED, error))?;
    Ok([kind as u32, info.key_size(), info.value_size(), info.max_entries(), info.map_flags()])
}

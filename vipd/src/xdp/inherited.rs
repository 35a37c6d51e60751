//! The maps and links that a process passes to its successor.
//!
//! The successor loads its own programs on the same maps, so that the counters, the fast path and
//! the ring buffer carry over. It first creates its own maps, and then makes their descriptors
//! refer to the predecessor's maps. A program that is not loaded yet refers to a map by descriptor
//! number, so programs loaded afterwards use the predecessor's maps.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData, MapType};
use serde::{Deserialize, Serialize};
use vipd_common::hmac::KeyState;
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

/// The map `HMAC_KEYS`, for reading.
#[derive(Debug)]
pub struct StoredKeys<'m>(BorrowedFd<'m>);

impl<'m> StoredKeys<'m> {
    /// Finds the map among [the maps of a program](super::Loaded::maps).
    ///
    /// # Errors
    /// Returns an error if the map is missing or has another definition.
    pub fn new(maps: &'m MapDescriptors) -> Result<Self, LoadError> {
        let name = MAP_HMAC_KEYS;
        let map = maps.get(name).ok_or(LoadError::Missing { kind: "map", name })?;
        let data = MapData::from_fd(map.try_clone().map_err(LoadError::Descriptor)?);
        let [kind, key, value, ..] = definition(&data.map_err(|error| LoadError::map(name, error))?)?;
        let sizes = [size_of::<HmacKey>(), size_of::<KeyState>()];
        if kind != MapType::Hash as u32 || [key, value].map(|size| size as usize) != sizes {
            return Err(LoadError::OtherMaps { name: name.to_owned() });
        }
        Ok(Self(map.as_fd()))
    }

    /// Returns a key with which the program verifies the signed adverts of a row; `None` if the map
    /// does not contain the key.
    ///
    /// # Errors
    /// Returns an error if `bpf(2)` fails.
    pub fn get(&self, row: Row, id: u8) -> io::Result<Option<Key>> {
        let place = HmacKey { row: row.number(), key_id: id.into() };
        let mut result = Ok(false);
        let key = Key::with_states(id, |states| {
            // SAFETY: the map's keys and values have the sizes of these types, as checked in `new`.
            result = unsafe { syscall::hmac_key(self.0, &place, states) };
        });
        result.map(|is_present| is_present.then_some(key))
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdp::{Kernel, OBJECT, Rows, Sizes, Verbosity};

    #[test]
    #[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
    fn stored_keys_are_those_that_were_set() {
        let sizes = Sizes { routers: 2, peers: 0, addresses: 8, senders: 16, burst: 1024 };
        let mut loaded = Kernel::load(OBJECT, sizes, Verbosity::Quiet).expect("loaded");
        let mut rows = Rows::new(2);
        let [row, other] = [(); 2].map(|()| rows.allocate().expect("a row"));
        let keys = [Key::new(1, &[0x11; 32]), Key::new(255, &[0x22; 64])];
        loaded.kernel.set_keys(row, &keys).expect("there is room");
        let stored = StoredKeys::new(&loaded.maps).expect("the map");
        for key in &keys {
            assert_eq!(stored.get(row, key.id()).expect("read").as_ref(), Some(key));
            assert_eq!(stored.get(other, key.id()).expect("read"), None);
        }
        assert_eq!(stored.get(row, 2).expect("read"), None);

        let wrong = loaded.maps.get("ROUTERS").expect("a hash map").try_clone().expect("duplicated");
        let maps = MapDescriptors::from([(MAP_HMAC_KEYS.to_owned(), wrong)]);
        assert!(matches!(StoredKeys::new(&maps), Err(LoadError::OtherMaps { .. })));
    }
}

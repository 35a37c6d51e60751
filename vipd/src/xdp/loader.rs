//! Loads the BPF program and owns its maps and attachments.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::ProgramError;
use aya::{Ebpf, EbpfLoader};
use vipd_common::hmac::MAX_KEYS;
use vipd_common::names;
use vipd_common::records::{PeerKey, RING_BYTES, RouterKey, RouterSlot};

use super::attach::{Attached, Attachments};
use super::error::{AttachError, LoadError};
use super::fence::{FenceLevel, FenceLinks, Hook};
use super::inherited::{self, Inherited, KernelLinks, MapDescriptors};
use super::label::Label;
use super::mode::{Framing, Preference};
use super::pin::Pins;
use super::program::{self, Action, Consumers, Entry, Programs};
use super::routers::{Keys, Routers};
use super::sizes::Sizes;
use super::{Addresses, Counters, Feed, KernelLog, Leases, Row, Signers, Steady};
use crate::vrrp::hmac::Key;

/// Whether the program logs each invalid advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// No log lines. The verifier removes the log statements.
    Quiet,
    /// A line for each invalid advert, but none for replays and rate-limited adverts.
    Discards,
}

/// The loaded program and its attachments. Dropping it detaches everything, except attachments that
/// have been [handed over](Self::hand_over) to a successor, or that still belong to a predecessor
/// because [`take_over`](Self::take_over) has not been called.
pub struct Kernel {
    ebpf: Ebpf,
    routers: Routers,
    attachments: Attachments,
    fence: FenceLinks,
    /// Kept open, because the instructions of a program that is not loaded yet refer to maps by
    /// descriptor.
    arrays: [MapData; 8],
    /// Descriptor of the map of VIPs, used for pinning the map.
    addresses: OwnedFd,
    consumers: Consumers,
    /// The label of the programs, once the agent's name is known.
    label: Option<Label>,
}

/// Result of [`Kernel::load`].
pub struct Loaded {
    /// The program and its attachments.
    pub kernel: Kernel,
    /// Reading end of the program's ring buffer.
    pub feed: Feed,
    /// Counters of the program.
    pub counters: Counters,
    /// The map of VIPs.
    pub addresses: Addresses,
    /// Leases and filters of the rows.
    pub leases: Leases,
    /// The fast path for unchanged adverts.
    pub steady: Steady,
    /// The senders of verified adverts.
    pub signers: Signers,
    /// Log lines of the program; `None` if the program has no log statements.
    pub log: Option<KernelLog>,
    /// The maps, for a successor process.
    pub maps: MapDescriptors,
}

impl Kernel {
    /// Loads the program in `object`.
    ///
    /// # Errors
    /// Returns an error that names the failed operation and, except for [`LoadError::Map`], the
    /// remedy.
    pub fn load(object: &[u8], sizes: Sizes, verbosity: Verbosity) -> Result<Loaded, LoadError> {
        Self::load_on(object, sizes, verbosity, None)
    }

    /// Loads the program like [`load`](Self::load), but on the maps of a predecessor. The
    /// predecessor's attachments keep its program until [`take_over`](Self::take_over).
    ///
    /// # Errors
    /// Same as for [`load`](Self::load), and [`LoadError::OtherMaps`] if the maps do not match this
    /// object.
    pub fn succeed(
        object: &[u8],
        sizes: Sizes,
        verbosity: Verbosity,
        inherited: Inherited,
    ) -> Result<Loaded, LoadError> {
        let Inherited { maps, links } = inherited;
        let mut loaded = Self::load_on(object, sizes, verbosity, Some(maps))?;
        let Self { ebpf, attachments, fence, .. } = &mut loaded.kernel;
        for (info, link) in links.adverts {
            attachments
                .borrow(&mut Programs::unlabelled(ebpf), info, link)
                .map_err(|error| LoadError::program(info.entry.name(), &error))?;
        }
        for (info, link) in links.fences {
            fence
                .borrow(&mut Programs::unlabelled(ebpf), info, link)
                .map_err(|error| LoadError::program(names::FENCE_EGRESS, &error))?;
        }
        Ok(loaded)
    }

    fn load_on(
        object: &[u8],
        sizes: Sizes,
        verbosity: Verbosity,
        former: Option<MapDescriptors>,
    ) -> Result<Loaded, LoadError> {
        // Levels of aya-log: 0 off, 1 error, … 4 debug.
        let level: u8 = match verbosity {
            Verbosity::Quiet => 0,
            Verbosity::Discards => 4,
        };
        // `HMAC_KEYS` takes 16 bytes for each possible key, and further memory only for keys that
        // are present.
        let keys = sizes.routers.max(1).saturating_mul(MAX_KEYS.into());
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(names::MAP_ROUTERS, sizes.routers.max(1))
            .map_max_entries(names::MAP_PEERS, sizes.peers.max(1))
            .map_max_entries(names::MAP_ADDRESSES, sizes.addresses.max(1))
            .map_max_entries(names::MAP_LEASES, sizes.routers + 1)
            .map_max_entries(names::MAP_COUNTERS, sizes.routers + 1)
            .map_max_entries(names::MAP_STEADY, sizes.routers + 1)
            .map_max_entries(names::MAP_LOST, sizes.routers + 1)
            .map_max_entries(names::MAP_SIGNERS, sizes.routers + 1)
            .map_max_entries(names::MAP_HMAC_KEYS, keys)
            .map_max_entries(names::MAP_SENDERS, sizes.senders.max(1))
            .map_max_entries(names::MAP_ADVERTS, RING_BYTES)
            .override_global(aya_log::LEVEL, &level, false)
            .override_global(names::GLOBAL_BURST, &sizes.burst, true)
            .load(object)
            .map_err(LoadError::object)?;
        let is_successor = former.is_some();
        if let Some(former) = former {
            inherited::replace_maps(&ebpf, former)?;
        }
        let maps = inherited::descriptors(&ebpf)?;
        let log = match verbosity {
            Verbosity::Quiet => None,
            Verbosity::Discards => KernelLog::new(&mut ebpf),
        };
        let consumers = load_first(&mut ebpf, is_successor)?;
        let rows = sizes.routers as usize + 1;
        let pinned = maps
            .get(names::MAP_ADDRESSES)
            .ok_or(LoadError::Missing { kind: "map", name: names::MAP_ADDRESSES })?
            .try_clone()
            .map_err(LoadError::Descriptor)?;
        let addresses = Addresses::new(take(&mut ebpf, names::MAP_ADDRESSES, HashMap::try_from)?);
        let filter = take_array(&mut ebpf, names::MAP_FILTER)?;
        let leases_map = take_array(&mut ebpf, names::MAP_LEASES)?;
        let leases = Leases::new(&leases_map, &filter, rows)
            .map_err(|error| LoadError::mapping(names::MAP_LEASES, error))?;
        let slots = take_array(&mut ebpf, names::MAP_STEADY)?;
        let lost = take_array(&mut ebpf, names::MAP_LOST)?;
        let map_steady =
            || Steady::new(&slots, &lost, rows).map_err(|error| LoadError::mapping(names::MAP_STEADY, error));
        let senders = take_array(&mut ebpf, names::MAP_SIGNERS)?;
        let clock = take_array(&mut ebpf, names::MAP_CLOCK)?;
        let map_signers = || {
            Signers::new(&senders, &clock, rows)
                .map_err(|error| LoadError::mapping(names::MAP_SIGNERS, error))
        };
        let counters: Map = ebpf
            .take_map(names::MAP_COUNTERS)
            .ok_or(LoadError::Missing { kind: "map", name: names::MAP_COUNTERS })?;
        let map_error = |error| LoadError::map(names::MAP_COUNTERS, error);
        let routers = Routers {
            entries: take(&mut ebpf, names::MAP_ROUTERS, HashMap::try_from)?,
            peers: take(&mut ebpf, names::MAP_PEERS, HashMap::try_from)?,
            senders: take(&mut ebpf, names::MAP_SENDERS, HashMap::try_from)?,
            sender_room: sizes.senders.max(1) as usize,
            counters: PerCpuArray::try_from(duplicate(&counters).map_err(map_error)?).map_err(map_error)?,
            keys: Keys::new(take(&mut ebpf, names::MAP_HMAC_KEYS, HashMap::try_from)?)
                .map_err(|error| LoadError::map(names::MAP_HMAC_KEYS, error))?,
            steady: map_steady()?,
            signers: map_signers()?,
        };
        let discarded = take_array(&mut ebpf, names::MAP_DISCARDED)?;
        let counters = Counters::new(PerCpuArray::try_from(counters).map_err(map_error)?, &discarded)
            .map_err(|error| LoadError::mapping(names::MAP_DISCARDED, error))?;
        let (steady, signers) = (map_steady()?, map_signers()?);
        let asleep = take_array(&mut ebpf, names::MAP_ASLEEP)?;
        let feed = Feed::new(take(&mut ebpf, names::MAP_ADVERTS, RingBuf::try_from)?, &asleep)
            .map_err(|error| LoadError::mapping(names::MAP_ASLEEP, error))?;
        Ok(Loaded {
            kernel: Self {
                ebpf,
                routers,
                attachments: Attachments::new(Pins::none()),
                fence: FenceLinks::default(),
                arrays: [leases_map, filter, slots, lost, discarded, asleep, senders, clock],
                addresses: pinned,
                consumers,
                label: None,
            },
            feed,
            counters,
            addresses,
            leases,
            steady,
            signers,
            log,
            maps,
        })
    }

    /// Labels the programs with the agent's name, so that another agent can identify them after a
    /// crash even if it does not see their pins.
    ///
    /// # Errors
    /// The error returned by the kernel.
    pub fn set_label(&mut self, agent: &str) -> io::Result<()> {
        let label = Label::new(agent)?;
        let loaded = Entry::ALL.iter().filter_map(|entry| self.ebpf.program(entry.name())?.fd().ok());
        loaded.into_iter().try_for_each(|program| label.bind(program.as_fd()))?;
        self.label = Some(label);
        Ok(())
    }

    /// Returns a descriptor of the array of leases, for [`GuardianLeases`](super::GuardianLeases).
    ///
    /// # Errors
    /// `EMFILE` if no file descriptor is available.
    pub fn leases_descriptor(&self) -> io::Result<OwnedFd> {
        let [leases, ..] = &self.arrays;
        leases.fd().as_fd().try_clone_to_owned()
    }

    /// Returns the attachments, for a successor process.
    ///
    /// # Errors
    /// `EMFILE` if no file descriptor is available.
    pub fn links(&self) -> io::Result<KernelLinks> {
        Ok(KernelLinks { adverts: self.attachments.links()?, fences: self.fence.links()? })
    }

    /// Leaves all attachments to a successor. This process no longer changes them.
    pub fn hand_over(&mut self) {
        self.attachments.hand_over();
        self.fence.hand_over();
    }

    /// Replaces the programs of all of a predecessor's links with this process's programs. The next
    /// [`attach_fence`](Self::attach_fence) replaces the predecessor's TC filters. Later
    /// attachments use `pins`, the predecessor's pins. Returns the interface index of each link
    /// that keeps the predecessor's program, with the reason.
    pub fn take_over(&mut self, pins: Option<Pins>) -> Vec<(u32, String)> {
        if let Err(error) = self.consumers.install(&self.ebpf) {
            // This is harmless, because the predecessor's programs do the same.
            tracing::warn!(
                %error,
                "cannot replace the predecessor's programs that drop processed adverts; they remain in use"
            );
        }
        self.use_pins(pins.unwrap_or_else(Pins::none));
        let programs = &mut Programs { ebpf: &mut self.ebpf, label: self.label.as_ref() };
        let mut failed = self.attachments.take_over(programs);
        failed.extend(self.fence.take_over(programs, &mut self.attachments.pins));
        failed
    }

    /// Starts to receive the adverts of a virtual router. Makes one `bpf(2)` call.
    ///
    /// # Errors
    /// Returns an error if the map is full.
    pub fn insert_router(&mut self, key: RouterKey, slot: RouterSlot) -> Result<(), MapError> {
        self.routers.insert(key, slot)
    }

    /// Stops receiving a virtual router's adverts; they then pass to the network stack. Does
    /// nothing if the router has no entry.
    ///
    /// # Errors
    /// Returns an error if `bpf(2)` fails for a reason other than a missing entry.
    pub fn remove_router(&mut self, key: RouterKey) -> Result<(), MapError> {
        self.routers.remove(key)
    }

    /// Accepts a unicast peer's adverts if their TTL or Hop Limit is at least `min_ttl`.
    ///
    /// # Errors
    /// Returns an error if the map is full.
    pub fn insert_peer(&mut self, peer: PeerKey, min_ttl: u8) -> Result<(), MapError> {
        self.routers.insert_peer(peer, min_ttl)
    }

    /// Stops accepting a unicast peer's adverts; they are then dropped. Does nothing if the peer
    /// has no entry.
    ///
    /// # Errors
    /// Returns an error if `bpf(2)` fails for a reason other than a missing entry.
    pub fn remove_peer(&mut self, peer: PeerKey) -> Result<(), MapError> {
        self.routers.remove_peer(peer)
    }

    /// Replaces the keys with which the program verifies a virtual router's signed adverts before
    /// they fence its VIPs. An advert that is signed with any other key does not fence the VIPs.
    /// Makes one `bpf(2)` call for each of `keys`, and one for each key that it removes.
    ///
    /// # Errors
    /// Returns an error if the map, which has room for eight keys per virtual router, is full.
    pub fn set_keys(&mut self, row: Row, keys: &[Key]) -> Result<(), MapError> {
        self.routers.set_keys(row, keys)
    }

    /// Resets the counters, fast path, senders, keys and token buckets of rows, so that other
    /// virtual routers can use the rows. The rows' former routers and peers must already have been
    /// removed. Waits for running programs, and makes a `bpf(2)` call for each sender in the map,
    /// so it must not be called on the engine's thread.
    ///
    /// # Errors
    /// Returns an error if a row does not exist or `bpf(2)` fails.
    pub fn clear_rows(&mut self, rows: &[Row]) -> Result<(), MapError> {
        self.routers.clear_rows(rows)
    }

    /// Attaches the program for this framing in the preferred mode, unless it is already attached.
    /// If the program is not loaded yet, loading takes 0.1 s.
    ///
    /// An attachment in the wanted mode is not interrupted. If the mode changes, or if another
    /// program runs before this one, the program is detached and reattached.
    ///
    /// # Errors
    /// Returns an error if a capability is missing, if the interface does not exist, or if no mode
    /// works, for example because another XDP program is attached.
    pub fn attach(
        &mut self,
        ifindex: u32,
        interface: &str,
        preference: Preference,
        framing: Framing,
    ) -> Result<Attached, AttachError> {
        let programs = &mut Programs { ebpf: &mut self.ebpf, label: self.label.as_ref() };
        self.attachments.ensure(programs, ifindex, interface, preference, framing)
    }

    /// Pins the map of VIPs in place of the map of a dead agent or a predecessor, if one is pinned.
    /// Links attached later use `pins`: each reuses or replaces a stale link of a dead agent, if
    /// there is one.
    pub fn use_pins(&mut self, pins: Pins) {
        pins.pin_addresses(self.addresses.as_fd());
        self.attachments.pins = pins;
    }

    /// Detaches the stale links of a dead agent on these interfaces.
    pub fn detach_inherited(&mut self, unused: &BTreeSet<u32>) {
        self.attachments.pins.detach_inherited(|ifindex, _| unused.contains(&ifindex));
    }

    /// Attaches the programs that drop packets to and from fenced VIPs, unless they are already
    /// attached. On an interface with virtual routers, the program that receives adverts must be
    /// attached, and `advert_is_pinned` states whether that attachment outlives the process. On
    /// other interfaces, `advert_is_pinned` is `None`.
    ///
    /// Returns the level of the fence on the interface. If the level is not [`FenceLevel::Full`],
    /// or another program may let packets pass, also returns the reason, if known.
    pub fn attach_fence(
        &mut self,
        ifindex: u32,
        interface: &str,
        advert_is_pinned: Option<bool>,
    ) -> (FenceLevel, Option<String>) {
        let programs = &mut Programs { ebpf: &mut self.ebpf, label: self.label.as_ref() };
        let pins = &mut self.attachments.pins;
        let egress = self.fence.ensure(programs, pins, ifindex, interface, Hook::Egress);
        let ingress = if let Some(is_pinned) = advert_is_pinned {
            self.fence.detach(pins, ifindex, Hook::Ingress);
            Ok(is_pinned)
        } else {
            self.fence.ensure(programs, pins, ifindex, interface, Hook::Ingress)
        };
        match (ingress, egress) {
            (Ok(true), Ok(true)) => {
                let is_behind = self.fence.is_behind_at_egress(ifindex);
                (FenceLevel::Full, is_behind.then(|| "another program runs first at TC egress".to_owned()))
            }
            (Ok(_), Ok(_)) => (FenceLevel::Process, pins.failure(ifindex).map(str::to_owned)),
            (Ok(true), Err(reason)) => (FenceLevel::Ingress, Some(reason)),
            (Ok(false), Err(reason)) => {
                let reasons = pins.failure(ifindex).map(|failure| format!("{failure}; {reason}"));
                (FenceLevel::Process, Some(reasons.unwrap_or(reason)))
            }
            (Err(reason), _) => (FenceLevel::Off, Some(reason)),
        }
    }

    /// Detaches the program that receives an interface's adverts. Does nothing if no such program
    /// is attached.
    pub fn detach(&mut self, ifindex: u32) {
        self.attachments.detach(ifindex);
    }

    /// Detaches the fence programs that [`attach_fence`](Self::attach_fence) attached to an
    /// interface.
    pub fn detach_fence(&mut self, ifindex: u32) {
        for hook in [Hook::Ingress, Hook::Egress] {
            self.fence.detach(&self.attachments.pins, ifindex, hook);
        }
    }

    /// Loads a program for [`test_run`](Self::test_run), unless it is already loaded.
    ///
    /// # Errors
    /// Returns an error if the verifier rejects the program.
    pub fn prepare(&mut self, entry: Entry) -> Result<(), ProgramError> {
        Programs { ebpf: &mut self.ebpf, label: self.label.as_ref() }.load(entry).map(drop)
    }

    /// Runs a program `repeat` times on `frame` as if received on `ifindex` (`BPF_PROG_TEST_RUN`).
    /// Returns its action and the mean duration of a run in nanoseconds.
    ///
    /// # Errors
    /// Returns an error if the program is not loaded, the frame is shorter than 14 bytes, or the
    /// interface does not exist.
    pub fn test_run(
        &self,
        entry: Entry,
        frame: &[u8],
        ifindex: u32,
        repeat: u32,
    ) -> Result<(Action, u64), ProgramError> {
        program::test_run(&self.ebpf, entry, frame, ifindex, repeat)
    }
}

impl Drop for Kernel {
    fn drop(&mut self) {
        self.fence.detach_all(&self.attachments.pins);
    }
}

/// Loads the programs that are needed from the start. A successor installs those that drop adverts
/// later.
fn load_first(ebpf: &mut Ebpf, is_successor: bool) -> Result<Consumers, LoadError> {
    for name in Entry::ALL.map(Entry::name) {
        ebpf.program(name).ok_or(LoadError::Missing { kind: "program", name })?;
    }
    let mut consumers = Consumers::new(ebpf)?;
    if !is_successor {
        consumers.install(ebpf)?;
    }
    // Loading one program shows whether the verifier accepts the parser, which all programs that
    // receive adverts share.
    Programs::unlabelled(ebpf).load(Entry::Tc).map_err(|error| LoadError::program(names::TC, &error))?;
    Ok(consumers)
}

fn take<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    convert: impl Fn(Map) -> Result<T, MapError>,
) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing { kind: "map", name })?;
    convert(map).map_err(|error| LoadError::map(name, error))
}

/// Opens a second descriptor of a per-CPU array.
fn duplicate(map: &Map) -> Result<Map, MapError> {
    let Map::PerCpuArray(data) = map else { return Err(MapError::InvalidMapType { map_type: 0 }) };
    let fd = data.fd().as_fd().try_clone_to_owned().map_err(MapError::IoError)?;
    MapData::from_fd(fd).map(Map::PerCpuArray)
}

/// Takes an array map out of the object, so that it can be mapped into memory.
fn take_array(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, LoadError> {
    match ebpf.take_map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(LoadError::Missing { kind: "array", name }),
    }
}

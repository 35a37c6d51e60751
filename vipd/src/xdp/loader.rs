//! Loading the program, attaching it to interfaces, telling it which virtual routers are ours.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd as _;

use aya::maps::{HashMap, Map, MapData, MapError, PerCpuArray, RingBuf};
use aya::programs::{ProgramError, Xdp};
use aya::sys::SyscallError;
use aya::{Ebpf, EbpfLoader};
use vipd_common::names;
use vipd_common::records::{PeerKey, RING_BYTES, RouterKey, RouterSlot};

use super::error::{AttachError, LoadError};
use super::link::{LinkProbe, XdpLink};
use super::{Closed, Counters, Feed, KernelLog, Steady};

/// Where in the kernel the program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel allocates a packet buffer.
    Native,
    /// In the kernel's generic hook, after it did.
    Generic,
}

impl Mode {
    /// `XDP_FLAGS_DRV_MODE` or `XDP_FLAGS_SKB_MODE` (`include/uapi/linux/if_link.h`).
    fn flags(self) -> u32 {
        match self {
            Self::Native => 1 << 2,
            Self::Generic => 1 << 1,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// Whether the program says something about each discarded advert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing; the statements are removed when the program is loaded.
    Quiet,
    /// A line for each discarded advert.
    Discards,
}

/// Room in the program's maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Virtual routers.
    pub routers: u32,
    /// Unicast peers of all of them.
    pub peers: u32,
    /// Virtual addresses of those that accept nothing. With none, the program does not look at other packets than
    /// adverts.
    pub closed: u32,
    /// Senders of adverts whose rate is remembered, of all virtual routers.
    pub senders: u32,
    /// What each of them may say at once before it is held to its rate: [`BURST`](vipd_common::records::BURST), or 0 for no
    /// rate.
    pub burst: u32,
}

/// The loaded program and its attachments. Dropping it detaches everything.
pub struct Kernel {
    ebpf: Ebpf,
    routers: HashMap<MapData, [u8; 8], [u8; 32]>,
    peers: HashMap<MapData, [u8; 20], u8>,
    links: BTreeMap<u32, (XdpLink, Mode)>,
}

/// What [`Kernel::load`] returns.
pub struct Loaded {
    /// The program.
    pub kernel: Kernel,
    /// Its ring buffer.
    pub feed: Feed,
    /// Its counters.
    pub counters: Counters,
    /// The virtual addresses that accept nothing.
    pub closed: Closed,
    /// The adverts that say nothing new.
    pub steady: Steady,
    /// Its log lines, with [`Verbosity::Discards`].
    pub log: Option<KernelLog>,
}

impl Kernel {
    /// Loads the program of `object`.
    ///
    /// # Errors
    /// [`LoadError`] says what is missing and what to do.
    pub fn load(object: &[u8], sizes: Sizes, verbosity: Verbosity) -> Result<Loaded, LoadError> {
        // Levels of aya-log: 0 off, 1 error, … 4 debug.
        let level: u8 = match verbosity {
            Verbosity::Quiet => 0,
            Verbosity::Discards => 4,
        };
        let filtering = u8::from(sizes.closed > 0);
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(names::MAP_ROUTERS, sizes.routers.max(1))
            .map_max_entries(names::MAP_PEERS, sizes.peers.max(1))
            .map_max_entries(names::MAP_CLOSED, sizes.closed.max(1))
            .map_max_entries(names::MAP_COUNTERS, sizes.routers + 1)
            .map_max_entries(names::MAP_STEADY, sizes.routers + 1)
            .map_max_entries(names::MAP_SENDERS, sizes.senders.max(1))
            .map_max_entries(names::MAP_ADVERTS, RING_BYTES)
            .override_global(aya_log::LEVEL, &level, false)
            .override_global(names::GLOBAL_FILTERING, &filtering, true)
            .override_global(names::GLOBAL_BURST, &sizes.burst, true)
            .load(object)
            .map_err(LoadError::object)?;
        let log = match verbosity {
            Verbosity::Quiet => None,
            Verbosity::Discards => KernelLog::new(&mut ebpf),
        };
        for name in [names::PROGRAM, names::PROGRAM_FRAGS] {
            let program = program(&mut ebpf, name).ok_or(LoadError::Missing { kind: "program", name })?;
            program.load().map_err(|error| LoadError::program(name, &error))?;
        }
        let routers = take(&mut ebpf, names::MAP_ROUTERS, HashMap::try_from)?;
        let peers = take(&mut ebpf, names::MAP_PEERS, HashMap::try_from)?;
        let closed = Closed::new(take(&mut ebpf, names::MAP_CLOSED, HashMap::try_from)?);
        let counters = Counters::new(
            take(&mut ebpf, names::MAP_COUNTERS, PerCpuArray::try_from)?,
            &take_array(&mut ebpf, names::MAP_DISCARDED)?,
        )
        .map_err(|error| LoadError::mapping(names::MAP_DISCARDED, error))?;
        let steady = Steady::new(&take_array(&mut ebpf, names::MAP_STEADY)?, sizes.routers as usize + 1)
            .map_err(|error| LoadError::mapping(names::MAP_STEADY, error))?;
        let feed = Feed::new(
            take(&mut ebpf, names::MAP_ADVERTS, RingBuf::try_from)?,
            &take_array(&mut ebpf, names::MAP_ASLEEP)?,
        )
        .map_err(|error| LoadError::mapping(names::MAP_ASLEEP, error))?;
        Ok(Loaded {
            kernel: Self { ebpf, routers, peers, links: BTreeMap::new() },
            feed,
            counters,
            closed,
            steady,
            log,
        })
    }

    /// Makes the adverts of `key` ours.
    ///
    /// # Errors
    /// When the map is full.
    pub fn watch(&mut self, key: RouterKey, slot: RouterSlot) -> Result<(), MapError> {
        self.routers.insert(bytemuck::cast::<_, [u8; 8]>(key), bytemuck::cast::<_, [u8; 32]>(slot), 0)
    }

    /// Makes the adverts of `key` foreign again. One that was not ours is no error.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn forget(&mut self, key: RouterKey) -> Result<(), MapError> {
        gone(self.routers.remove(&bytemuck::cast::<_, [u8; 8]>(key)))
    }

    /// Makes adverts of a unicast peer acceptable, from this TTL or Hop Limit on.
    ///
    /// # Errors
    /// When the map is full.
    pub fn admit(&mut self, peer: PeerKey, min_ttl: u8) -> Result<(), MapError> {
        self.peers.insert(bytemuck::cast::<_, [u8; 20]>(peer), min_ttl, 0)
    }

    /// Makes a unicast peer a stranger again. One that was none is no error.
    ///
    /// # Errors
    /// When the map refuses.
    pub fn expel(&mut self, peer: PeerKey) -> Result<(), MapError> {
        gone(self.peers.remove(&bytemuck::cast::<_, [u8; 20]>(peer)))
    }

    /// Attaches the program: natively, or generically where the driver cannot.
    ///
    /// Returns the mode and, for [`Mode::Generic`], what the driver said.
    ///
    /// # Errors
    /// [`AttachError`] when the slot is taken, the interface is gone, or no mode works.
    pub fn attach(&mut self, ifindex: u32, interface: &str) -> Result<(Mode, Option<String>), AttachError> {
        self.detach(ifindex);
        // A driver with large frames may want a program that takes multi-buffer frames; one that does not know
        // them may refuse it. The generic hook would flatten each long packet for a program without frags.
        let ladder = [
            (names::PROGRAM, Mode::Native),
            (names::PROGRAM_FRAGS, Mode::Native),
            (names::PROGRAM_FRAGS, Mode::Generic),
        ];
        let mut refusal = None;
        for (name, mode) in ladder {
            let Some(program) = program(&mut self.ebpf, name) else { continue };
            let attached = program.fd().and_then(|program| {
                let created = XdpLink::create(program.as_fd(), ifindex, mode.flags());
                created.map_err(|io_error| SyscallError { call: "bpf_link_create", io_error }.into())
            });
            match attached {
                Ok(link) => {
                    self.links.insert(ifindex, (link, mode));
                    return Ok((mode, refusal.as_ref().map(ToString::to_string)));
                }
                Err(error) => match AttachError::fatal(interface, &error) {
                    Some(fatal) => return Err(fatal),
                    None => refusal = Some(error),
                },
            }
        }
        let source = refusal.unwrap_or(ProgramError::NotLoaded);
        Err(AttachError::Refused { interface: interface.to_owned(), source })
    }

    /// The mode in which the program is attached to an interface, if it still is.
    pub fn mode(&self, ifindex: u32) -> Option<Mode> {
        self.links.get(&ifindex).filter(|(link, _)| link.probe().is_attached()).map(|(_, mode)| *mode)
    }

    /// A probe of the attachment to an interface, for another thread.
    pub fn probe(&self, ifindex: u32) -> Option<LinkProbe> {
        self.links.get(&ifindex).map(|(link, _)| link.probe())
    }

    /// Detaches the program from an interface, if it is attached there. An interface that is gone has already
    /// detached it.
    pub fn detach(&mut self, ifindex: u32) {
        // The kernel detaches it when the last descriptor is closed, that of a probe included.
        self.links.remove(&ifindex);
    }

    /// Runs the program once on `frame` as if it had arrived on `ifindex` (`BPF_PROG_TEST_RUN`) and returns its
    /// action, and the mean nanoseconds over `repeat` runs.
    ///
    /// # Errors
    /// When the kernel refuses the frame (shorter than 14 bytes) or the interface does not exist.
    pub fn test_run(&self, frame: &[u8], ifindex: u32, repeat: u32) -> Result<(u32, u64), ProgramError> {
        use aya::programs::{TestRun as _, TestRunOptions};
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        let context: [u32; 6] = [0, length, 0, ifindex, 0, 0];
        let program: &Xdp = self.ebpf.program(names::PROGRAM).ok_or(ProgramError::NotLoaded)?.try_into()?;
        let result = program.test_run(TestRunOptions {
            data_in: Some(frame),
            ctx_in: Some(bytemuck::bytes_of(&context)),
            repeat,
            ..TestRunOptions::new()
        })?;
        #[expect(clippy::cast_possible_truncation, reason = "a mean of nanoseconds fits")]
        Ok((result.return_value, result.duration.as_nanos() as u64))
    }
}

/// A removal, for which an entry that is not there is no error.
pub(super) fn gone(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        // aya hands the ENOENT of bpf(2) through; it has a variant of its own for reads only.
        Err(MapError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn program<'a>(ebpf: &'a mut Ebpf, name: &str) -> Option<&'a mut Xdp> {
    ebpf.program_mut(name)?.try_into().ok()
}

fn take<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    convert: impl Fn(Map) -> Result<T, MapError>,
) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::Missing { kind: "map", name })?;
    convert(map).map_err(|error| LoadError::map(name, error))
}

/// Takes an array out of the object, to be mapped into memory.
fn take_array(ebpf: &mut Ebpf, name: &'static str) -> Result<MapData, LoadError> {
    match ebpf.take_map(name) {
        Some(Map::Array(data)) => Ok(data),
        _ => Err(LoadError::Missing { kind: "array", name }),
    }
}

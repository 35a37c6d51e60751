//! Loads and attaches the BPF program, and gives access to the program's ring buffer and maps. No
//! other module uses aya.
//!
//! [`Kernel`] owns the program, its attachments and the router entries. [`Feed`] owns the reading
//! end of the ring, [`Steady`] the fast path, [`Signers`] the senders of verified adverts,
//! [`Addresses`] the map of VIPs, [`Leases`] the leases and filters of the rows, and [`Counters`] a
//! view of the counters. These types are separate because different threads use them: the service's
//! worker thread uses [`Kernel`], threads that report counters use [`Counters`], and the engine
//! uses all other types.

mod addresses;
mod attach;
mod counters;
mod device;
mod driver;
mod error;
mod extack;
mod feed;
mod fence;
mod hidden;
mod inherited;
mod label;
mod leases;
mod loader;
mod log;
mod mapping;
mod mode;
mod pin;
mod program;
mod routers;
mod row;
mod signers;
mod sizes;
mod steady;
mod syscall;
mod tap;
mod tap_program;

/// A failed operation on a map.
pub use aya::maps::MapError;

pub use addresses::Addresses;
pub use attach::{Attached, LinkProbe, Position};
pub use counters::Counters;
pub(crate) use device::exists;
pub use device::removes_vlan_tags;
pub use driver::native_cost;
pub use error::{AttachError, LoadError};
pub use feed::{Feed, MAX_PENDING};
pub use fence::{FenceInfo, FenceLevel, Hook, remove_stale_filters};
pub use hidden::HiddenPrograms;
pub use inherited::{AttachmentInfo, Inherited, KernelLinks, MapDescriptors, StoredKeys};
pub use leases::{GuardianLeases, Leases};
pub use loader::{Kernel, Loaded, Verbosity};
pub use log::KernelLog;
pub use mode::{Framing, Mode, Preference};
pub use pin::{PinError, Pins};
pub use program::{Action, Entry};
pub use row::{Row, Rows};
pub use signers::Signers;
pub use sizes::Sizes;
pub use steady::Steady;
pub use tap::{Consumer, Tap, TapError, Tapped};

/// The committed object, built from `vipd-ebpf` by `cargo xtask ebpf`.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/vipd.bpf.o"));

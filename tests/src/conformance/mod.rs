//! The conformance suite: scenarios for the requirements of RFC 9568 and RFC 3768, a few from other
//! standards, and those of the signed adverts of keepalived 2.4. Each document has one scenario,
//! which can be played with any implementation.
//!
//! ```text
//!   tests/conformance/*.md ──► document ──► Scenario ──┬─► core, in virtual time (vipd/tests)
//!   tests/conformance/items/items.md ──► items         ├─► lab, with real programs (here)
//!                                                      └─► device: any router on a segment (here)
//! ```
//!
//! A [`Scenario`] lists received and sent frames and the times between them. Only its counters and
//! additional configuration lines are specific to vipd. Signed adverts are those of keepalived 2.4;
//! the lab configures them for vipd only. [`lab`] plays a scenario with vipd, keepalived and FRR,
//! and observes only the wire, apart from vipd's counters and, after a start, vipd's status.
//! [`device`] plays it with a router outside the lab. [`table`] plays several scenarios in parallel
//! labs, and [`render`] shows which requirements each program meets. The README next to the
//! scenarios describes how to write one.

pub mod device;
pub mod document;
pub mod items;
pub mod lab;
mod native;
pub mod received;
pub mod render;
pub mod scenario;
pub mod segment;
pub mod sent;
pub mod signed;
pub mod stage;
pub mod syntax;
pub mod table;

use std::fmt;
use std::path::{Path, PathBuf};

pub use items::Item;
pub use scenario::{Note, Scenario, Step};

/// A VRRP implementation under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Program {
    /// vipd; in the lab, the executable that is passed to [`lab::play`].
    Vipd,
    /// keepalived; in the lab, the executable that is found on the PATH.
    Keepalived,
    /// FRR's vrrpd.
    Frr,
    /// A device that runs an unknown program.
    Device,
}

impl Program {
    /// The programs that are tested in the lab, in the order of the table's columns.
    pub const ALL: [Self; 3] = [Self::Vipd, Self::Keepalived, Self::Frr];
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vipd => "vipd",
            Self::Keepalived => "keepalived",
            Self::Frr => "FRR",
            Self::Device => "device",
        })
    }
}

/// Returns the directory that contains the scenarios and items.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

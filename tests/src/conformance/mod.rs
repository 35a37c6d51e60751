//! The conformance suite: what RFC 9568 and RFC 3768 demand, one scenario a document, run against any router.
//!
//! ```text
//!   tests/conformance/*.md ──► document ──► Scenario ──┬─► core, in virtual time (vipd/tests/conformance)
//!   tests/conformance/items/*.md ──► items             └─► lab, with real programs (here)
//! ```
//!
//! A [`Scenario`] is frames in and frames out, with the time between them. Nothing in it is vipd's: [`lab`] plays it
//! with vipd, keepalived and FRR alike, and knows of them only what the wire shows. [`table`] plays all of
//! them, [`draw`] says which item each program fulfils. The README beside the scenarios says how to write one.

pub mod document;
pub mod draw;
pub mod heard;
pub mod items;
pub mod lab;
mod native;
pub mod said;
pub mod scenario;
pub mod table;
pub mod words;

use std::fmt;
use std::path::{Path, PathBuf};

pub use items::Item;
pub use scenario::{Note, Scenario, Step};

/// Who is put to the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Program {
    /// vipd.
    Vipd,
    /// keepalived.
    Keepalived,
    /// FRR's vrrpd.
    Frr,
}

impl Program {
    /// All of them, in the order of the table's columns.
    pub const ALL: [Self; 3] = [Self::Vipd, Self::Keepalived, Self::Frr];
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vipd => "vipd",
            Self::Keepalived => "keepalived",
            Self::Frr => "FRR",
        })
    }
}

/// Where the scenarios and the items are.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

//! What the user-space parser says of a frame.

use vipd_common::counters::Counter;
use vipd_common::parse::{Advert, judge, locate};
use vipd_common::wire::ethernet;

use crate::bench::{XDP_DROP, XDP_PASS};

/// Bytes that the program looks at, from the IPv4 header on. An advert has 1104 at the most.
const WINDOW: usize = 2048;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Passed on; counted in row 0, if it is VRRP at all.
    Passed(Option<Counter>),
    /// Dropped, and counted in this row for this reason.
    Discarded(u32, Counter),
    /// Counted in this row, and handed over.
    Accepted(u32, Advert),
}

impl Verdict {
    pub(crate) fn action(&self) -> u32 {
        match self {
            Self::Passed(_) => XDP_PASS,
            Self::Discarded(..) | Self::Accepted(..) => XDP_DROP,
        }
    }
}

/// The verdict on a frame; `watched` knows row and version of a VRID.
pub(crate) fn reference(frame: &[u8], watched: impl Fn(u8) -> Option<(u32, u8)>) -> Verdict {
    let Some(offset) = ethernet::vrrp_offset(&frame) else {
        return Verdict::Passed(None);
    };
    let packet = &frame[offset..frame.len().min(offset + WINDOW)];
    let located = match locate(&packet) {
        Ok(located) => located,
        Err(foreign) => return Verdict::Passed(Some(foreign.counter())),
    };
    let Some((row, version)) = watched(located.vrid) else {
        return Verdict::Passed(Some(Counter::VridErrors));
    };
    match judge(&packet, &located, version) {
        Ok(advert) => Verdict::Accepted(row, advert),
        Err(reason) => Verdict::Discarded(row, reason),
    }
}

//! The parser on slices: each verdict, and that no bytes make it panic.

mod packet;
mod properties;
mod verdicts;

use super::{Advert, Foreign, judge, locate};
use crate::counters::Counter;

/// Why a packet is no advert of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    Foreign(Foreign),
    Discarded(Counter),
}

/// Both steps, as for a virtual router of this version.
fn parse(packet: &[u8], version: u8) -> Result<Advert, Refusal> {
    let located = locate(&packet).map_err(Refusal::Foreign)?;
    judge(&packet, &located, version).map_err(Refusal::Discarded)
}

//! Who else speaks for a virtual router.

use alloc::vec::Vec;
use core::net::IpAddr;

use vipd_common::Timestamp;
use vipd_common::parse::ChecksumForm;

use crate::message::Received;

/// Most routers of one virtual router that are remembered.
const MOST: usize = 16;

/// Another router of the same virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Source of its adverts.
    pub address: IpAddr,
    /// Priority of the last one.
    pub priority: u8,
    /// Form of its checksum.
    pub checksum: ChecksumForm,
    /// When it arrived.
    pub last_heard: Timestamp,
}

/// The routers heard of; of more than [`MOST`], the longest silent one is forgotten.
#[derive(Clone, Debug)]
pub(super) struct Peers(Vec<Peer>);

impl Peers {
    pub(super) fn new() -> Self {
        // Most hear of one or two, and there may be thousands of routers.
        Self(Vec::new())
    }

    pub(super) fn hear(&mut self, advert: &Received) {
        let Received { source: address, priority, checksum, arrival: last_heard, .. } = *advert;
        let peer = Peer { address, priority, checksum, last_heard };
        if let Some(known) = self.0.iter_mut().find(|known| known.address == address) {
            *known = peer;
        } else if self.0.len() < MOST {
            self.0.push(peer);
        } else if let Some(silent) = self.0.iter_mut().min_by_key(|known| known.last_heard) {
            *silent = peer;
        }
    }

    pub(super) fn all(&self) -> &[Peer] {
        &self.0
    }
}

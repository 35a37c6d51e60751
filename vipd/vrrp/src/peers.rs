//! Other routers that send adverts for the same virtual router.

use alloc::vec::Vec;
use core::net::IpAddr;

use vipd_common::Timestamp;
use vipd_common::parse::ChecksumForm;

use crate::input::Received;

/// Maximum number of peers recorded per virtual router.
const CAPACITY: usize = 16;

/// Another router that has sent valid adverts for the same virtual router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Source address of the router's adverts.
    pub address: IpAddr,
    /// Priority of the router's last advert.
    pub priority: u8,
    /// Checksum form of the router's last advert.
    pub checksum: ChecksumForm,
    /// Arrival time of the router's last advert.
    pub last_arrival: Timestamp,
}

/// The known peers. When the list is full, a new peer replaces the peer whose last advert is the
/// oldest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peers(Vec<Peer>);

impl Peers {
    #[inline]
    pub(crate) fn record(&mut self, advert: &Received) {
        let Received { source: address, priority, checksum, arrival: last_arrival, .. } = *advert;
        let peer = Peer { address, priority, checksum, last_arrival };
        if let Some(known) = self.0.iter_mut().find(|known| known.address == address) {
            *known = peer;
        } else if self.0.len() < CAPACITY {
            self.0.push(peer);
        } else if let Some(oldest) = self.0.iter_mut().min_by_key(|known| known.last_arrival) {
            *oldest = peer;
        }
    }

    /// Creates the list from its saved entries.
    pub(crate) fn from_saved(mut peers: Vec<Peer>) -> Self {
        peers.truncate(CAPACITY);
        Self(peers)
    }

    pub(crate) fn all(&self) -> &[Peer] {
        &self.0
    }
}

//! Distinguishes the adverts of the nodes from those of an attacker, who has no node's switch port.

use std::collections::{HashMap, HashSet};

use super::wire::Record;
use crate::station::Station;

/// The adverts that nodes have sent so far.
#[derive(Debug, Default)]
pub(super) struct Genuine {
    /// By VRRP message and trailer: the stations that the advert has reached.
    sent: HashMap<Vec<u8>, HashSet<Station>>,
    /// Number of other adverts that have reached nodes, including replays.
    forged: u64,
}

impl Genuine {
    /// Records an advert. Returns whether a node sends it, or it is the first copy of such an advert
    /// that reaches this station. `vrrp` is the payload of the IP packet, whose HMAC covers the source
    /// address.
    pub(super) fn observe(&mut self, record: &Record, vrrp: &[u8]) -> bool {
        if record.sent {
            let is_node = matches!(record.port, Station::Node(_));
            if is_node {
                self.sent.entry(vrrp.to_vec()).or_default();
            }
            return is_node;
        }
        let is_first = self.sent.get_mut(vrrp).is_some_and(|reached| reached.insert(record.port));
        self.forged += u64::from(!is_first && record.port != Station::Client);
        is_first
    }

    /// Returns the number of forged and replayed adverts that have reached nodes since the last call.
    pub(super) fn take_forged(&mut self) -> u64 {
        std::mem::take(&mut self.forged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WallTime;

    #[test]
    fn only_the_first_copy_of_an_advert_of_a_node_is_genuine() {
        let mut genuine = Genuine::default();
        let mut observe = |port, sent, vrrp: &[u8]| {
            let record = Record { time: WallTime::now(), port, sent, bytes: Vec::new() };
            genuine.observe(&record, vrrp)
        };
        assert!(observe(Station::Node(1), true, b"advert"));
        assert!(observe(Station::Node(2), false, b"advert"));
        assert!(observe(Station::Node(3), false, b"advert"));
        assert!(!observe(Station::Client, true, b"advert"), "a replay");
        assert!(!observe(Station::Node(2), false, b"advert"), "a replay");
        assert!(!observe(Station::Client, true, b"forged"));
        assert!(!observe(Station::Node(2), false, b"forged"));
        assert_eq!(genuine.take_forged(), 2);
    }
}

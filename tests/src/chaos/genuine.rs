//! Distinguishes the adverts of the nodes from those of an attacker, who has no node's switch port.

use std::collections::{HashMap, HashSet};
use std::ops::AddAssign;

use super::wire::Record;
use crate::station::Station;

/// The adverts of an attacker that have reached nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attack {
    /// Number of adverts, counted at each node.
    pub received: u64,
    /// Number of different adverts that no node has sent. A flood repeats one advert.
    pub forged: u64,
    /// Number of copies of adverts that nodes have sent, counted at each node.
    pub replayed: u64,
}

impl AddAssign for Attack {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.forged += other.forged;
        self.replayed += other.replayed;
    }
}

/// The adverts that nodes have sent so far.
#[derive(Debug, Default)]
pub(super) struct Genuine {
    /// By VRRP message and trailer: the stations that the advert has reached.
    sent: HashMap<Vec<u8>, HashSet<Station>>,
    /// The other adverts that have reached nodes.
    attack: Attack,
    forged: HashSet<Vec<u8>>,
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
        let reached = self.sent.get_mut(vrrp);
        let is_replayed = reached.is_some();
        let is_first = reached.is_some_and(|reached| reached.insert(record.port));
        if !is_first && record.port != Station::Client {
            let is_new = !is_replayed && self.forged.insert(vrrp.to_vec());
            self.attack +=
                Attack { received: 1, forged: u64::from(is_new), replayed: u64::from(is_replayed) };
        }
        is_first
    }

    /// Returns the forged and replayed adverts that have reached nodes since the last call.
    pub(super) fn take_attack(&mut self) -> Attack {
        std::mem::take(&mut self.attack)
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
        assert!(!observe(Station::Node(2), false, b"forged"), "a flood");
        assert_eq!(genuine.take_attack(), Attack { received: 3, forged: 1, replayed: 1 });
        assert_eq!(genuine.take_attack(), Attack::default());
    }
}

//! Distinguishes the nodes' adverts from an attacker's. The attacker's adverts enter the switch at
//! the clients' port, not at the port of a node.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::ops::AddAssign;
use std::time::Duration;

use super::attacker::WINDOW;
use super::wire::Record;
use crate::station::Station;
use crate::time::WallTime;

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
    /// By VRRP message and trailer.
    sent: HashMap<Vec<u8>, Sent>,
    /// By station, sender and VRID: the number of the latest advert that has reached the station.
    latest: HashMap<(Station, IpAddr, u8), usize>,
    attack: Attack,
    forged: HashSet<Vec<u8>>,
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    /// Number of adverts that had been sent before.
    number: usize,
    time: WallTime,
}

impl Genuine {
    /// Records an advert with this IP source. Returns whether a node sends it, or it reaches a
    /// station that should accept it.
    ///
    /// A router accepts a copy of an advert, even from an attacker, if the advert is recent, and
    /// neither the advert itself nor a later one of its sender has reached the router. `vrrp` is
    /// the payload of the IP packet.
    pub(super) fn observe(&mut self, record: &Record, source: IpAddr, vrrp: &[u8]) -> bool {
        let is_of_node = matches!(record.port, Station::Node(_));
        if record.sent && !is_of_node {
            return false;
        }
        if record.sent {
            let sent = Sent { number: self.sent.len(), time: record.time };
            self.sent.entry(vrrp.to_vec()).or_insert(sent);
        }
        let sent = self.sent.get(vrrp).copied();
        if !record.sent && is_of_node && is_from_attacker(record) {
            let is_new = sent.is_none() && self.forged.insert(vrrp.to_vec());
            self.attack +=
                Attack { received: 1, forged: u64::from(is_new), replayed: u64::from(sent.is_some()) };
        }
        let (Some(sent), Some(vrid)) = (sent, vrrp.get(1)) else { return false };
        let key = (record.port, source, *vrid);
        let is_later = self.latest.get(&key).is_none_or(|latest| *latest < sent.number);
        let is_recent = record.time.saturating_since(sent.time) < Duration::from_secs(WINDOW.into());
        let is_accepted = is_later && is_recent;
        if is_accepted {
            self.latest.insert(key, sent.number);
        }
        is_accepted || record.sent
    }

    /// Returns the forged and replayed adverts that have reached nodes since the last call.
    pub(super) fn take_attack(&mut self) -> Attack {
        std::mem::take(&mut self.attack)
    }
}

fn is_from_attacker(record: &Record) -> bool {
    record.bytes.get(6..12) == Some(&Station::Client.mac().0[..])
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 122, 11));
    /// Messages with VRID 51.
    const FIRST: &[u8] = b"\x31\x33 first";
    const SECOND: &[u8] = b"\x31\x33 second";
    const FORGED: &[u8] = b"\x31\x33 forged";
    const NODES: [Station; 3] = [Station::Node(1), Station::Node(2), Station::Node(3)];

    /// The adverts of a segment: node 1 sends, and the client attacks.
    struct Wire {
        genuine: Genuine,
        start: WallTime,
    }

    impl Wire {
        fn new() -> Self {
            Self { genuine: Genuine::default(), start: WallTime::now() }
        }

        fn observe(&mut self, from: Station, port: Station, milliseconds: u64, vrrp: &[u8]) -> bool {
            let bytes = [[0xff; 6], from.mac().0].concat();
            let time = self.start + Duration::from_millis(milliseconds);
            let record = Record { time, port, sent: from == port, bytes };
            self.genuine.observe(&record, SOURCE, vrrp)
        }
    }

    #[test]
    fn only_the_first_copy_of_an_advert_of_a_node_is_genuine() {
        let [one, two, three] = NODES;
        let mut wire = Wire::new();
        assert!(wire.observe(one, one, 0, FIRST));
        assert!(wire.observe(one, two, 0, FIRST));
        assert!(wire.observe(one, three, 0, FIRST));
        assert!(!wire.observe(Station::Client, Station::Client, 1, FIRST), "a replay");
        assert!(!wire.observe(Station::Client, one, 1, FIRST), "a replay to its sender");
        assert!(!wire.observe(Station::Client, two, 1, FIRST), "a replay");
        assert!(!wire.observe(Station::Client, Station::Client, 2, FORGED));
        assert!(!wire.observe(Station::Client, two, 2, FORGED));
        assert!(!wire.observe(Station::Client, two, 3, FORGED), "a flood");
        assert_eq!(wire.genuine.take_attack(), Attack { received: 4, forged: 1, replayed: 2 });
        assert_eq!(wire.genuine.take_attack(), Attack::default());
    }

    #[test]
    fn copy_of_a_lost_advert_is_genuine_while_recent_and_until_a_later_one_arrives() {
        let [one, two, three] = NODES;
        let mut wire = Wire::new();
        assert!(wire.observe(one, one, 0, FIRST));
        assert!(wire.observe(Station::Client, two, 1_999, FIRST), "recent");
        assert!(!wire.observe(Station::Client, three, 2_000, FIRST), "outside the window");

        assert!(wire.observe(one, one, 3_000, SECOND));
        assert!(wire.observe(one, one, 3_010, b"\x31\x33 third"));
        assert!(wire.observe(one, two, 3_010, b"\x31\x33 third"));
        assert!(!wire.observe(one, two, 3_020, SECOND), "after a later advert");
        assert!(!wire.observe(Station::Client, two, 3_030, SECOND), "after a later advert");
        assert!(wire.observe(one, three, 3_040, SECOND));
        assert_eq!(wire.genuine.take_attack(), Attack { received: 3, forged: 0, replayed: 3 });
    }
}

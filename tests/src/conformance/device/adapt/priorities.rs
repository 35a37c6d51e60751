//! Priorities of a scenario, converted to the priority of a device.

use std::collections::{BTreeMap, BTreeSet};

use super::super::reset::OWNER;
use crate::conformance::{Scenario, Step};

/// A mapping that keeps the order of all priorities. The router's own priority becomes the
/// device's; 0 and 255 have special meanings and are kept.
#[derive(Debug)]
pub(super) struct Priorities(BTreeMap<u8, u8>);

impl Priorities {
    /// Maps the priorities of a scenario whose router has priority `from` to a device with priority
    /// `to`.
    ///
    /// # Errors
    /// Returns the priority that the scenario needs, if too few priorities are above or below
    /// `to`.
    pub(super) fn new(scenario: &Scenario, from: u8, to: u8) -> Result<Self, String> {
        let received = scenario.lines.iter().filter_map(|line| match &line.step {
            Step::Receive(received) | Step::KeepReceiving(received, _) => Some(received.priority),
            _ => None,
        });
        let others: BTreeSet<u8> = received.filter(|priority| ![0, from, OWNER].contains(priority)).collect();
        let (below, above): (Vec<u8>, Vec<u8>) = others.into_iter().partition(|priority| *priority < from);
        let mut map = BTreeMap::from([(from, to)]);
        if above.iter().all(|priority| *priority > to) {
            map.extend(above.iter().map(|priority| (*priority, *priority)));
        } else {
            let highest = (to + 1..OWNER).rev();
            let pairs: Vec<_> = above.iter().rev().copied().zip(highest).collect();
            if pairs.len() < above.len() {
                let most = usize::from(OWNER) - 1 - above.len();
                return Err(format!("needs a priority of {most} or less"));
            }
            map.extend(pairs);
        }
        if below.iter().all(|priority| *priority < to) {
            map.extend(below.iter().map(|priority| (*priority, *priority)));
        } else {
            let pairs: Vec<_> = below.iter().copied().zip(1..to).collect();
            if pairs.len() < below.len() {
                return Err(format!("needs a priority of {} or more", below.len() + 1));
            }
            map.extend(pairs);
        }
        Ok(Self(map))
    }

    /// Returns the priority to use instead of one in the scenario.
    pub(super) fn of(&self, priority: u8) -> u8 {
        self.0.get(&priority).copied().unwrap_or(priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::document::parse;

    fn map(received: &[u8], from: u8, to: u8) -> Result<Vec<u8>, String> {
        let lines: Vec<_> = received.iter().map(|p| format!("receive advert priority {p}")).collect();
        let lines = lines.join("\n");
        let text = format!("# T\n\n* items: S1\n\n```scenario\nrouter priority {from}\n{lines}\n```\n");
        let priorities = Priorities::new(&parse("x", &text).unwrap(), from, to)?;
        Ok(received.iter().map(|priority| priorities.of(*priority)).collect())
    }

    #[test]
    fn priorities_keep_their_order_and_the_special_ones_stay() {
        assert_eq!(map(&[0, 50, 100, 150, 200, 255], 100, 100).unwrap(), [0, 50, 100, 150, 200, 255]);
        assert_eq!(map(&[0, 50, 100, 150, 200, 255], 100, 180).unwrap(), [0, 50, 180, 253, 254, 255]);
        assert_eq!(map(&[50, 100, 200], 100, 40).unwrap(), [1, 40, 200]);
        assert_eq!(map(&[250, 100, 200], 200, 254).unwrap_err(), "needs a priority of 253 or less");
        assert_eq!(map(&[50], 100, 1).unwrap_err(), "needs a priority of 2 or more");
        assert_eq!(map(&[254], 255, 255).unwrap(), [254]);
    }
}

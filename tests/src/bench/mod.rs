//! What the agents cost and how fast they are, vipd beside keepalived in labs of their own.
//!
//! [`cpu`] reads what a process has used, [`steady`] measures backups and masters at work, [`takeover`] what happens when
//! a master's cable is cut, [`flood`] what becomes of a healthy pair under junk, [`many`] 4,080 virtual routers. A measurement is a few [`Figure`]s;
//! who repeats them and prints them is `cargo xtask bench`.

pub mod cpu;
pub mod flood;
pub mod many;
pub mod steady;
pub mod takeover;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::configuration::Instance;

/// One figure of a measurement.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// In what.
    pub unit: &'static str,
    /// How much.
    pub value: f64,
}

impl Figure {
    fn new(name: &str, unit: &'static str, value: f64) -> Self {
        Self { name: name.to_owned(), unit, value }
    }
}

/// So many virtual routers of one priority, VRID 1 and up, each for one address of its own.
pub fn routers(count: u8, priority: u8, interval: Duration) -> Vec<Instance> {
    (1..=count)
        .map(|vrid| Instance {
            name: format!("VI_{vrid}"),
            vrid,
            priority,
            interval,
            addresses: vec![address(vrid)],
            ..Instance::default()
        })
        .collect()
}

/// The address of a virtual router of [`routers`].
fn address(vrid: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, vrid, 1).into()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

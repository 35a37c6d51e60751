//! What the agents cost and how fast they are, vipd beside keepalived in labs of their own.
//!
//! [`cpu`] reads what a process has used and [`spare`] what all the machine has; [`steady`] measures backups and masters at
//! work, [`takeover`] what happens when a master's cable is cut, [`flood`] what becomes of a healthy pair under junk,
//! [`many`] thousands of virtual routers, [`floors`] what the kernel alone takes for the same. A measurement is a few
//! [`Figure`]s; who repeats them and prints them is `cargo xtask bench`.

pub mod cpu;
mod figure;
pub mod flood;
pub mod floors;
pub mod many;
pub mod spare;
pub mod steady;
pub mod takeover;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use crate::capture::Capture;
use crate::configuration::Instance;
use crate::frame::Frame;
use crate::station::Station;
use crate::time::WallTime;
use crate::wait::wait_until;

pub use figure::{Figure, percentile, thousands};

/// How long a state may take to be reached.
const SOON: Duration = Duration::from_secs(60);
/// After a router has become master, and the one before has yielded: what is announced again after 5 s has been
/// announced, by either agent.
const REST: Duration = Duration::from_secs(7);

/// So many virtual routers of one priority, VRID 1 and up, each for one address of its own.
pub fn routers(count: u8, priority: u8, interval: Duration) -> Vec<Instance> {
    (1..=count)
        .map(|vrid| Instance {
            name: format!("VI_{vrid}"),
            vrid,
            priority,
            interval,
            addresses: vec![address(vrid).into()],
            ..Instance::default()
        })
        .collect()
}

/// The address of a virtual router of [`routers`].
fn address(vrid: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, vrid, 1)
}

/// The adverts among these frames: who sent them and when, by VRID.
fn adverts(frames: &[Frame]) -> BTreeMap<u8, Vec<(Station, WallTime)>> {
    let mut by_vrid = BTreeMap::<u8, Vec<_>>::new();
    for frame in frames {
        if let Some(advert) = frame.advert() {
            by_vrid.entry(advert.vrid).or_default().push((frame.from, frame.time));
        }
    }
    by_vrid
}

/// Waits until this many virtual routers have a master.
fn wait_for_masters(capture: &Capture, since: WallTime, count: usize) -> Result<()> {
    wait_until("all to be masters", SOON, || {
        let mut vrids = capture.search(since, |frame| Some(frame.advert()?.vrid));
        vrids.sort_unstable();
        vrids.dedup();
        vrids.len() == count
    })
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

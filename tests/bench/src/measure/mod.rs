//! The measurements. Each creates its own labs.
//!
//! * [`steady`]: backups and masters without state changes
//! * [`takeover`]: link cuts at the master
//! * [`flood`]: a pair of routers under invalid, low-priority and forged adverts
//! * [`signed`]: signed adverts
//! * [`many`]: thousands of virtual routers
//! * [`reload`]: reloads of a master
//! * [`commands`]: notifications and checks
//! * [`owners`]: the answers for the VIP after a fault of the master's processes
//! * [`upgrade`]: upgrades of a master and a backup
//! * [`foreign`]: the agent's effect on the node's TCP traffic
//! * [`floors`]: the system calls alone
//!
//! [`cpu`] reads the CPU time of a process, and [`spare`] measures the CPU time of the whole
//! machine.

pub(crate) mod commands;
pub(crate) mod cpu;
pub(crate) mod flood;
pub(crate) mod floors;
pub(crate) mod foreign;
pub(crate) mod many;
pub(crate) mod owners;
pub(crate) mod reload;
pub(crate) mod signed;
pub(crate) mod spare;
pub(crate) mod steady;
pub(crate) mod takeover;
pub(crate) mod upgrade;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use vipd_tests::agent::Instance;
use vipd_tests::capture::Capture;
use vipd_tests::frame::Frame;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

/// Maximum time to wait for a state.
const SOON: Duration = Duration::from_secs(60);
/// Pause after a start or takeover. vipd and keepalived repeat their announcements after 5 s.
const REST: Duration = Duration::from_secs(7);

/// Returns virtual routers with VRIDs 1 to `count`, this priority, and one address each.
fn routers(count: u8, priority: u8, interval: Duration) -> Vec<Instance> {
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

/// Returns the address that [`routers`] assigns to a VRID.
fn address(vrid: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, vrid, 1)
}

/// Returns the sender and time of each advert in `frames`, grouped by VRID.
fn adverts(frames: &[Frame]) -> BTreeMap<u8, Vec<(Station, WallTime)>> {
    let mut by_vrid = BTreeMap::<u8, Vec<_>>::new();
    for frame in frames {
        if let Some(advert) = frame.advert() {
            by_vrid.entry(advert.vrid).or_default().push((frame.from, frame.time));
        }
    }
    by_vrid
}

/// Waits until adverts for `count` virtual routers have been captured.
fn wait_for_masters(capture: &Capture, since: WallTime, count: usize) -> Result<()> {
    wait_until("all routers to have a master", SOON, || {
        let mut vrids = capture.filter_map(since, |frame| Some(frame.advert()?.vrid));
        vrids.sort_unstable();
        vrids.dedup();
        vrids.len() == count
    })
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

//! Upgrades of a master and of a backup with many virtual routers: each agent hands over to a new
//! process.
//!
//! The counters are compared with the captured frames while all instances are drained, because
//! drained instances send no adverts.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::capture::Capture;
use vipd_tests::control::{change, stats};
use vipd_tests::frame::Frame;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::time::{WallTime, millis};
use vipd_tests::wait::try_wait_until;

use super::{REST, SOON, adverts, routers, wait_for_masters};
use crate::figure::Figure;
use crate::metric::Metric;
use crate::subject::Subject;

const MASTER: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);

/// Upgrades the master `count` times, then the backup `count` times.
///
/// # Errors
/// Returns an error if the lab or an upgrade fails.
pub(crate) fn pair(subject: &Subject, number: u8, interval: Duration, count: u32) -> Result<Vec<Figure>> {
    let lab = Lab::new(2)?;
    let instances = routers(number, 200, interval);
    let mut master = subject.agent(&lab, MASTER, &instances)?;
    let mut backup = subject.agent(&lab, BACKUP, &routers(number, 100, interval))?;
    master.run_below_init();
    backup.run_below_init();
    let mut pair = Pair { capture: lab.capture()?, master, backup, instances, interval };
    let start = WallTime::now();
    pair.master.start()?;
    wait_for_masters(&pair.capture, start, number.into())?;
    pair.backup.start()?;
    let first = pair.rest()?;
    let since = WallTime::now();
    pair.put_into_service()?;
    // Waits for the repeated announcements, which are not part of the measurement.
    thread::sleep(REST);

    let before = WallTime::now();
    let transitions = pair.transitions()?;
    let mut delays = Vec::new();
    for agent in [&pair.master, &pair.backup] {
        for round in 1..=count {
            let asked = WallTime::now();
            change(agent, &json!({ "command": "upgrade" }))
                .with_context(|| format!("upgrade {round} of {agent}"))?;
            delays.push(WallTime::now().millis_since(asked));
        }
    }
    // Waits for adverts delayed by the last upgrade.
    thread::sleep(interval * 3);
    let end = WallTime::now();
    let mut transitions = pair.transitions()? - transitions;
    let last = pair.rest()?;

    let mut frames = pair.capture.stop()?;
    frames.retain(|frame| frame.time >= since);
    let miscounted = miscounted(&frames, &first, &last);
    frames.retain(|frame| frame.time >= before && frame.time <= end);
    let gap = longest_gap(&frames, number, before, end);
    let unexpected = frames
        .iter()
        .filter(|frame| frame.advert().is_some_and(|advert| advert.priority == 0 || frame.from != MASTER));
    transitions += u64::try_from(unexpected.count())?;
    Ok(vec![
        Figure::new(Metric::UpgradeGap, gap),
        Figure::new(Metric::UpgradeTransitions, u32::try_from(transitions)?.into()),
        Figure::new(Metric::UpgradeLost, u32::try_from(miscounted)?.into()),
        Figure::samples(Metric::UpgradeTime, delays),
    ])
}

/// Two agents with the same virtual routers, a master and a backup.
struct Pair {
    capture: Capture,
    master: Agent,
    backup: Agent,
    instances: Vec<Instance>,
    interval: Duration,
}

/// Numbers of adverts that the master has sent and the backup has received, by VRID.
type Counts = BTreeMap<u8, (u64, u64)>;

impl Pair {
    /// Drains all instances, and returns the counts once no node sends adverts. The backup is
    /// drained last, so that it receives all of the master's adverts.
    fn rest(&self) -> Result<Counts> {
        for agent in [&self.master, &self.backup] {
            change(agent, &self.request("drain"))?;
        }
        try_wait_until("the adverts to end", SOON, || {
            thread::sleep(self.interval * 10);
            let since = WallTime::now().before(self.interval * 10);
            Ok(!self.capture.has(since, |frame| frame.advert().is_some()))
        })?;
        let (sent, received) =
            (counters(&self.master, "advertisement-sent")?, counters(&self.backup, "advertisement-rcvd")?);
        let counts = sent.into_iter().zip(received);
        Ok(self.instances.iter().map(|instance| instance.vrid).zip(counts).collect())
    }

    /// Undrains all instances, the master's first.
    fn put_into_service(&self) -> Result<()> {
        for agent in [&self.master, &self.backup] {
            let start = WallTime::now();
            change(agent, &self.request("undrain"))?;
            wait_for_masters(&self.capture, start, self.instances.len())?;
        }
        Ok(())
    }

    fn request(&self, command: &str) -> serde_json::Value {
        let names: Vec<_> = self.instances.iter().map(|instance| &instance.name).collect();
        json!({ "command": command, "instances": names })
    }

    /// Returns how often the routers of both agents became master.
    fn transitions(&self) -> Result<u64> {
        let [master, backup] =
            [&self.master, &self.backup].map(|agent| counters(agent, "master-transitions"));
        Ok(master?.into_iter().chain(backup?).sum())
    }
}

/// Returns the values of a counter, one per instance.
fn counters(agent: &Agent, name: &str) -> Result<Vec<u64>> {
    stats(agent)?.1.iter().map(|instance| instance.number(name)).collect()
}

/// Returns the number of the master's adverts that an agent has not counted, or has counted twice.
/// `first` and `last` are the counts before and after the frames.
fn miscounted(frames: &[Frame], first: &Counts, last: &Counts) -> u64 {
    let by_vrid = adverts(frames);
    let differences = last.iter().map(|(vrid, (sent, received))| {
        let seen = by_vrid.get(vrid).into_iter().flatten().filter(|(from, _)| *from == MASTER);
        let seen = seen.map(|_| 1_u64).sum();
        let (sent_first, received_first) = first[vrid];
        let differs = |now: u64, then: u64| now.saturating_sub(then).abs_diff(seen);
        differs(*sent, sent_first) + differs(*received, received_first)
    });
    differences.sum()
}

/// Returns the longest gap between the master's adverts for any of the VRIDs 1 to `number`, in
/// milliseconds. `start` and `end` count as adverts.
fn longest_gap(frames: &[Frame], number: u8, start: WallTime, end: WallTime) -> f64 {
    let by_vrid = adverts(frames);
    let gap = |vrid| {
        let sent = by_vrid.get(&vrid).into_iter().flatten();
        let sent = sent.filter(|(from, _)| *from == MASTER).map(|(_, time)| *time);
        let mut times = vec![start];
        times.extend(sent);
        times.push(end);
        times.windows(2).map(|pair| pair[1].saturating_since(pair[0])).max().unwrap_or_default()
    };
    millis((1..=number).map(gap).max().unwrap_or_default())
}

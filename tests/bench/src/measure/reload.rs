//! Reloads of a master with many virtual routers, one of which changes.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{REST, SOON, adverts, routers, wait_for_masters};
use vipd_tests::agent::Agent;
use vipd_tests::frame::Frame;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::time::{WallTime, millis};
use vipd_tests::wait::wait_until;

use crate::figure::Figure;
use crate::metric::Metric;
use crate::subject::Subject;

const MASTER: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);
/// Initial priority of the master's routers, and the priority of the changed router after every
/// other reload.
const PRIORITIES: [u8; 2] = [200, 201];

/// Reloads the master `count` times. Each reload changes the priority of the last router and is
/// complete once the router advertises the new priority. Measures the effect on all other routers.
///
/// # Errors
/// Returns an error if the lab fails, or if a reload has no effect.
pub(crate) fn master(subject: &Subject, number: u8, interval: Duration, count: u32) -> Result<Vec<Figure>> {
    let lab = Lab::new(2)?;
    let mut instances = routers(number, PRIORITIES[0], interval);
    let mut master = subject.agent(&lab, MASTER, &instances)?;
    let mut backup = subject.agent(&lab, BACKUP, &routers(number, 100, interval))?;
    let capture = lab.capture()?;
    let began = WallTime::now();
    master.start()?;
    wait_for_masters(&capture, began, number.into())?;
    backup.start()?;
    thread::sleep(REST);
    let before = WallTime::now();
    let mut delays = Vec::new();
    for round in 1..=count {
        let priority = PRIORITIES[usize::from(round % 2 == 1)];
        instances.last_mut().context("no routers")?.priority = priority;
        master.set_instances(&instances)?;
        let asked = WallTime::now();
        hang_up(&master)?;
        wait_until("the new priority to be advertised", SOON, || {
            capture.has(asked, |frame| {
                let advert = frame.advert();
                advert.is_some_and(|advert| advert.vrid == number && advert.priority == priority)
            })
        })?;
        let first = capture.filter_map(asked, |frame| {
            let advert = frame.advert()?;
            (advert.vrid == number && advert.priority == priority).then_some(frame.time)
        });
        delays.push(first.first().context("the new priority was not advertised")?.millis_since(asked));
    }
    let end = WallTime::now();
    let mut frames = capture.stop()?;
    frames.retain(|frame| frame.time >= before && frame.time <= end);
    let seen = Seen::in_frames(&frames, number, end)?;
    Ok(vec![
        Figure::new(Metric::ReloadGap, seen.gap),
        Figure::new(Metric::ReloadTakeovers, seen.takeovers),
        Figure::samples(Metric::ReloadDelay, delays),
    ])
}

/// Sends SIGHUP, which makes vipd and keepalived reload.
fn hang_up(agent: &Agent) -> Result<()> {
    let pid = Pid::from_raw(agent.pid()?.try_into()?).context("the process ID is 0")?;
    kill_process(pid, Signal::HUP).context("cannot send SIGHUP")
}

/// Observations of the routers that are not changed.
struct Seen {
    /// Longest gap between adverts of a router's master, in milliseconds.
    gap: f64,
    /// Number of routers for which the backup sent adverts, plus the number of priority-0 adverts.
    takeovers: f64,
}

impl Seen {
    fn in_frames(frames: &[Frame], changed: u8, end: WallTime) -> Result<Self> {
        let (mut gap, mut takeovers) = (Duration::ZERO, 0_u32);
        let by_vrid = adverts(frames);
        for (_, sent) in by_vrid.iter().filter(|(vrid, _)| **vrid != changed) {
            let mut times: Vec<_> =
                sent.iter().filter(|(from, _)| *from == MASTER).map(|(_, time)| *time).collect();
            ensure!(!times.is_empty(), "a router's master sent no adverts");
            times.push(end);
            let gaps = times.windows(2).map(|pair| pair[1].saturating_since(pair[0]));
            gap = gap.max(gaps.max().unwrap_or_default());
            takeovers += u32::from(sent.iter().any(|(from, _)| *from != MASTER));
        }
        let released = frames.iter().filter_map(Frame::advert);
        let released = released.filter(|advert| advert.priority == 0 && advert.vrid != changed).count();
        takeovers += u32::try_from(released)?;
        Ok(Self { gap: millis(gap), takeovers: takeovers.into() })
    }
}

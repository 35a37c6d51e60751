//! A master's cable is cut, and the backup takes everything over.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Figure, SOON, adverts, routers, wait_for_masters};
use crate::agent::{Agent, AgentKind};
use crate::capture::Capture;
use crate::configuration::Instance;
use crate::frame::Frame;
use crate::lab::Lab;
use crate::station::Station;
use crate::time::{WallTime, millis};
use crate::wait::wait_until;

const MASTER: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);
/// Of the backups.
const PRIORITY: u8 = 100;
/// Between a return and the next cut; a tenth of an interval more each time, so that the cuts meet every phase of it.
const PAUSE: Duration = Duration::from_millis(300);

/// How often a master is cut off, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cuts {
    /// Takeovers, one after the other in one lab.
    pub count: u32,
    /// Before the first of them; 7 s have the master's second announcement.
    pub settled: Duration,
    /// How long the new master is watched: 6 s have its second announcement, 5 s after the first.
    pub watched: Duration,
}

/// So many virtual routers of one address each.
///
/// # Errors
/// When the lab fails, or not everything is taken over.
pub fn of_many_routers(kind: &AgentKind, count: u8, interval: Duration, cuts: Cuts) -> Result<Vec<Figure>> {
    play(kind, &routers(count, PRIORITY, interval), interval, cuts)
}

/// One virtual router of so many addresses.
///
/// # Errors
/// When the lab fails, or not everything is taken over.
pub fn of_many_addresses(kind: &AgentKind, count: u8, interval: Duration, cuts: Cuts) -> Result<Vec<Figure>> {
    let addresses = (1..=count).map(|last| Ipv4Addr::new(10, 0, 0, last).into()).collect();
    let instances = [Instance { priority: PRIORITY, interval, addresses, ..Instance::default() }];
    play(kind, &instances, interval, cuts)
}

fn play(kind: &AgentKind, instances: &[Instance], interval: Duration, cuts: Cuts) -> Result<Vec<Figure>> {
    let lab = Lab::new(2)?;
    let preferred: Vec<_> =
        instances.iter().map(|instance| Instance { priority: 200, ..instance.clone() }).collect();
    let mut master = Agent::new(&lab, MASTER, kind.clone(), &preferred)?;
    let mut backup = Agent::new(&lab, BACKUP, kind.clone(), instances)?;
    let capture = lab.capture()?;
    let began = WallTime::now();
    master.start()?;
    wait_for_masters(&capture, began, instances.len())?;
    backup.start()?;
    thread::sleep(cuts.settled);
    let mut samples = Samples::default();
    for number in 0..cuts.count {
        let before_cut = WallTime::now();
        lab.cut(MASTER)?;
        thread::sleep(cuts.watched);
        let mut frames = capture.since(before_cut);
        // The master's last adverts are from before.
        frames.retain(|frame| frame.from == BACKUP);
        samples.add(&frames, &last_heard(&capture, before_cut, interval), instances, interval)?;
        lab.mend(MASTER)?;
        wait_for_return(&capture, instances.len(), interval)?;
        thread::sleep(PAUSE + interval / 10 * number);
    }
    capture.stop()?;
    samples.figures()
}

/// Waits until the master has everything back.
fn wait_for_return(capture: &Capture, count: usize, interval: Duration) -> Result<()> {
    let lately = interval * 5;
    wait_until("the master to be back", SOON, || {
        let since = WallTime::now().before(lately);
        let heard = capture.search(since, |frame| Some((frame.advert()?.vrid, frame.from)));
        let mut vrids: Vec<_> = heard.iter().map(|(vrid, _)| *vrid).collect();
        vrids.sort_unstable();
        vrids.dedup();
        vrids.len() == count && heard.iter().all(|(_, from)| *from == MASTER)
    })
}

/// When each virtual router's master was heard for the last time, by VRID: its deadline counts from there.
fn last_heard(capture: &Capture, cut: WallTime, interval: Duration) -> [Option<WallTime>; 256] {
    let mut last = [None; 256];
    let heard = capture.search(cut.before(interval * 2), |frame| {
        (frame.from == MASTER).then(|| Some((frame.advert()?.vrid, frame.time)))?
    });
    for (vrid, time) in heard {
        last[usize::from(vrid)] = Some(time);
    }
    last
}

/// What the takeovers came to, in milliseconds.
#[derive(Default)]
struct Samples {
    /// Of each virtual router.
    first_advert: Vec<f64>,
    first_garp: Vec<f64>,
    announcement: Vec<f64>,
    /// Of each cut.
    all_announced: Vec<f64>,
    silence: Vec<f64>,
}

impl Samples {
    /// One takeover: what the backup sent after the cut.
    fn add(
        &mut self,
        frames: &[Frame],
        heard: &[Option<WallTime>; 256],
        instances: &[Instance],
        interval: Duration,
    ) -> Result<()> {
        let down = interval * 3 + interval * u32::from(256 - u16::from(PRIORITY)) / 256;
        let (mut last, mut silence) = (0.0_f64, Duration::ZERO);
        let adverts = adverts(frames);
        for instance in instances {
            let vrid = instance.vrid;
            let deadline = heard[usize::from(vrid)].context("the master was silent before the cut")? + down;
            let said = adverts.get(&vrid).with_context(|| format!("VRID {vrid} was not taken over"))?;
            let first = said.first().context("adverts")?.1;
            let gaps = said.windows(2).map(|pair| pair[1].1.saturating_since(pair[0].1));
            silence = silence.max(gaps.max().unwrap_or_default());
            let announced = instance.addresses.iter().map(|address| announced(frames, *address));
            let announced = announced.collect::<Option<Vec<_>>>();
            let announced = announced.with_context(|| format!("VRID {vrid} has an address unannounced"))?;
            let (begin, end) = (announced.iter().min(), announced.iter().max());
            let (begin, end) = (*begin.context("addresses")?, *end.context("addresses")?);
            ensure!(begin > deadline, "announced before the deadline: the backup was master already");
            self.first_advert.push(first.millis_since(deadline));
            self.first_garp.push(begin.millis_since(deadline));
            self.announcement.push(begin.millis_since(first));
            last = last.max(end.millis_since(deadline));
        }
        self.all_announced.push(last);
        self.silence.push(millis(silence));
        Ok(())
    }

    fn figures(self) -> Result<Vec<Figure>> {
        ensure!(!self.silence.is_empty(), "there was no cut");
        Ok(vec![
            Figure::samples("first advert after its deadline", "ms", self.first_advert),
            Figure::samples("first GARP after its deadline", "ms", self.first_garp),
            Figure::samples("first GARP after the first advert", "ms", self.announcement),
            Figure::samples("last address announced after its deadline", "ms", self.all_announced),
            Figure::samples("longest silence of the new master", "ms", self.silence),
        ])
    }
}

/// When it was first said where an address is.
fn announced(frames: &[Frame], address: IpAddr) -> Option<WallTime> {
    let IpAddr::V4(address) = address else { return None };
    frames.iter().find(|frame| frame.gratuitous_arp(address).is_some()).map(|frame| frame.time)
}

//! Takeovers after the master's link is cut.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{SOON, adverts, routers, wait_for_masters};
use vipd_tests::capture::Capture;
use vipd_tests::configuration::Instance;
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
/// Priority of the backup's routers.
const PRIORITY: u8 = 100;
/// Pause before the next cut. It is extended by a tenth of an interval each time, so that cuts
/// occur in every phase of the interval.
const PAUSE: Duration = Duration::from_millis(300);

/// Number and timing of link cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cuts {
    /// Number of consecutive cuts in one lab.
    pub(crate) count: u32,
    /// Time from the start to the first cut; 7 s to let the master repeat its announcement first.
    pub(crate) settled: Duration,
    /// Time for which the new master is observed; 6 s to include the announcement that it repeats
    /// after 5 s.
    pub(crate) watched: Duration,
}

/// Measures takeovers of `count` virtual routers with one address each.
///
/// # Errors
/// Returns an error if the lab fails, or if an address is not taken over.
pub(crate) fn of_many_routers(
    subject: &Subject,
    count: u8,
    interval: Duration,
    cuts: Cuts,
) -> Result<Vec<Figure>> {
    play(subject, &routers(count, PRIORITY, interval), interval, cuts)
}

/// Measures takeovers of one virtual router with `count` addresses.
///
/// # Errors
/// Returns an error if the lab fails, or if an address is not taken over.
pub(crate) fn of_many_addresses(
    subject: &Subject,
    count: u8,
    interval: Duration,
    cuts: Cuts,
) -> Result<Vec<Figure>> {
    let addresses = (1..=count).map(|last| Ipv4Addr::new(10, 0, 0, last).into()).collect();
    let instances = [Instance { priority: PRIORITY, interval, addresses, ..Instance::default() }];
    play(subject, &instances, interval, cuts)
}

fn play(subject: &Subject, instances: &[Instance], interval: Duration, cuts: Cuts) -> Result<Vec<Figure>> {
    let lab = Lab::new(2)?;
    let preferred: Vec<_> =
        instances.iter().map(|instance| Instance { priority: 200, ..instance.clone() }).collect();
    let mut master = subject.agent(&lab, MASTER, &preferred)?;
    let mut backup = subject.agent(&lab, BACKUP, instances)?;
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
        // Discard the master's last adverts.
        frames.retain(|frame| frame.from == BACKUP);
        samples.add(&frames, &last_adverts(&capture, before_cut, interval), instances, interval)?;
        lab.reconnect(MASTER)?;
        wait_for_return(&capture, instances.len(), interval)?;
        thread::sleep(PAUSE + interval / 10 * number);
    }
    capture.stop()?;
    samples.figures()
}

/// Waits until the original master is master of all routers again.
fn wait_for_return(capture: &Capture, count: usize, interval: Duration) -> Result<()> {
    let lately = interval * 5;
    wait_until("the original master to be master again", SOON, || {
        let since = WallTime::now().before(lately);
        let adverts_seen = capture.filter_map(since, |frame| Some((frame.advert()?.vrid, frame.from)));
        let mut vrids: Vec<_> = adverts_seen.iter().map(|(vrid, _)| *vrid).collect();
        vrids.sort_unstable();
        vrids.dedup();
        vrids.len() == count && adverts_seen.iter().all(|(_, from)| *from == MASTER)
    })
}

/// Returns the time of the master's last advert for each VRID. Deadlines are relative to that
/// advert.
fn last_adverts(capture: &Capture, cut: WallTime, interval: Duration) -> [Option<WallTime>; 256] {
    let mut last = [None; 256];
    let adverts_seen = capture.filter_map(cut.before(interval * 2), |frame| {
        (frame.from == MASTER).then(|| Some((frame.advert()?.vrid, frame.time)))?
    });
    for (vrid, time) in adverts_seen {
        last[usize::from(vrid)] = Some(time);
    }
    last
}

/// Results of all takeovers, in milliseconds.
#[derive(Default)]
struct Samples {
    /// One value per virtual router and cut.
    first_advert: Vec<f64>,
    first_garp: Vec<f64>,
    announcement: Vec<f64>,
    /// One value per cut.
    all_announced: Vec<f64>,
    silence: Vec<f64>,
}

impl Samples {
    /// Adds the results of one cut. `frames` were sent by the backup after the cut.
    fn add(
        &mut self,
        frames: &[Frame],
        last_adverts: &[Option<WallTime>; 256],
        instances: &[Instance],
        interval: Duration,
    ) -> Result<()> {
        let down = interval * 3 + interval * u32::from(256 - u16::from(PRIORITY)) / 256;
        let (mut last, mut silence) = (0.0_f64, Duration::ZERO);
        let adverts = adverts(frames);
        for instance in instances {
            let vrid = instance.vrid;
            let deadline =
                last_adverts[usize::from(vrid)].context("the master sent no advert before the cut")? + down;
            let sent = adverts.get(&vrid).with_context(|| format!("VRID {vrid} was not taken over"))?;
            let first = sent.first().context("no adverts")?.1;
            let gaps = sent.windows(2).map(|pair| pair[1].1.saturating_since(pair[0].1));
            silence = silence.max(gaps.max().unwrap_or_default());
            let announced = instance.addresses.iter().map(|address| announced(frames, *address));
            let announced = announced.collect::<Option<Vec<_>>>();
            let announced =
                announced.with_context(|| format!("VRID {vrid} has an address that was not announced"))?;
            let (begin, end) = (announced.iter().min(), announced.iter().max());
            let (begin, end) = (*begin.context("no addresses")?, *end.context("no addresses")?);
            ensure!(
                begin > deadline,
                "an address was announced before the deadline; the backup was already master"
            );
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
        ensure!(!self.silence.is_empty(), "no cuts were made");
        Ok(vec![
            Figure::samples(Metric::FirstAdvert, self.first_advert),
            Figure::samples(Metric::FirstGarp, self.first_garp),
            Figure::samples(Metric::GarpAfterAdvert, self.announcement),
            Figure::samples(Metric::LastAnnounced, self.all_announced),
            Figure::samples(Metric::LongestSilence, self.silence),
        ])
    }
}

/// Returns the time of the first gratuitous ARP for an IPv4 address; `None` if there is no such
/// frame, or for an IPv6 address.
fn announced(frames: &[Frame], address: IpAddr) -> Option<WallTime> {
    let IpAddr::V4(address) = address else { return None };
    frames.iter().find(|frame| frame.gratuitous_arp(address).is_some()).map(|frame| frame.time)
}

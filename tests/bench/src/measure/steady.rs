//! Backups that receive adverts, and masters that send them, without state changes.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{REST, address, adverts, cpu, micros, routers, spare, wait_for_masters};
use vipd_tests::agent::Agent;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::Station;
use vipd_tests::time::{WallTime, millis};
use vipd_witness::Advert;

use crate::figure::{Figure, percentile};
use crate::metric::Metric;
use crate::subject::Subject;

const NODE: Station = Station::Node(1);
/// Time before a measurement, long enough for routers that became master to yield.
const WARM_UP: Duration = Duration::from_millis(1500);

/// Measures the CPU cost of `count` virtual routers in Backup. The lab sends the adverts of their
/// masters.
///
/// # Errors
/// Returns an error if the lab fails, or if the node sends 10 frames or more, which shows that
/// routers have become master.
pub(crate) fn backup(
    subject: &Subject,
    count: u8,
    interval: Duration,
    length: Duration,
) -> Result<Vec<Figure>> {
    let masters = Masters::new(count, interval)?;
    let agent = masters.backup(subject)?;
    let read = || Ok::<_, anyhow::Error>((cpu::of_process(agent.pid()?)?, masters.lab.frames_sent(NODE)?));
    let before = read()?;
    let sent = masters.send_paced(length)?;
    let after = read()?;
    ensure_silent(after.1 - before.1)?;
    let process = after.0.saturating_sub(before.0);
    Ok(vec![
        Figure::new(Metric::ProcessPerAdvert, micros(process) / sent),
        Figure::new(Metric::ProcessShare, 100.0 * process.as_secs_f64() / length.as_secs_f64()),
    ])
}

/// Runs [`backup`] for several numbers of virtual routers: a sweep over adverts per second.
///
/// # Errors
/// See [`backup`].
pub(crate) fn backups(
    subject: &Subject,
    counts: &[u8],
    interval: Duration,
    length: Duration,
) -> Result<Vec<Figure>> {
    let mut all = Vec::new();
    for count in counts {
        let rate = f64::from(*count) / interval.as_secs_f64();
        let figures = backup(subject, *count, interval, length)?.into_iter();
        all.extend(figures.map(|figure| figure.at((*count).into(), rate)));
    }
    Ok(all)
}

/// Measures the CPU cost of `count` virtual routers in Backup on the whole machine: with the agent,
/// without it, and the difference. Adverts are sent in batches of 32, because the sleeps between
/// single adverts would dominate the result.
///
/// # Errors
/// See [`backup`].
pub(crate) fn machine(
    subject: &Subject,
    count: u8,
    interval: Duration,
    length: Duration,
) -> Result<Vec<Figure>> {
    let masters = Masters::new(count, interval)?;
    let rate = f64::from(count) / interval.as_secs_f64();
    // Count the backups' frames before the idle threads stop. Stopping the threads takes so long
    // that the backups, which receive no adverts meanwhile, become masters and send their own.
    let each = || {
        let work = || {
            let before = masters.lab.frames_sent(NODE)?;
            let generator = masters.send_batched(length)?;
            ensure_silent(masters.lab.frames_sent(NODE)? - before)?;
            Ok(generator)
        };
        let (generator, taken) = spare::taken_by(work)?;
        Ok::<_, anyhow::Error>((taken * 1e6 / rate, generator))
    };
    let (alone, generator) = each()?;
    let _agent = masters.backup(subject)?;
    let (with, _) = each()?;
    Ok(vec![
        Figure::new(Metric::MachinePerAdvert, with),
        Figure::new(Metric::MachineWithoutAgent, alone),
        Figure::new(Metric::GeneratorPerAdvert, generator),
        Figure::new(Metric::MachineAdded, with - alone),
    ])
}

fn ensure_silent(sent: u64) -> Result<()> {
    ensure!(sent < 10, "the backups sent {sent} frames; the machine is too busy for this load");
    Ok(())
}

/// Measures the CPU cost and the advert spacing of `count` virtual routers in Master.
///
/// # Errors
/// Returns an error if the lab fails, or if a router sends no adverts.
pub(crate) fn master(
    subject: &Subject,
    count: u8,
    interval: Duration,
    length: Duration,
) -> Result<Vec<Figure>> {
    let lab = Lab::new(1)?;
    let mut agent = subject.agent(&lab, NODE, &routers(count, 200, interval))?;
    let capture = lab.capture()?;
    let began = WallTime::now();
    agent.start()?;
    wait_for_masters(&capture, began, count.into())?;
    thread::sleep(REST);
    let (process, start) = (cpu::of_process(agent.pid()?)?, WallTime::now());
    thread::sleep(length);
    let (process, end) = (cpu::of_process(agent.pid()?)?.saturating_sub(process), WallTime::now());
    // Wait until packets sent before the end have been captured.
    thread::sleep(Duration::from_millis(100));
    let mut frames = capture.stop()?;
    frames.retain(|frame| frame.time >= start && frame.time < end);
    let by_vrid = adverts(&frames);
    ensure!(by_vrid.len() == usize::from(count), "{} of {count} routers are masters", by_vrid.len());
    let deviations: Vec<f64> = by_vrid
        .values()
        .flat_map(|times| times.windows(2))
        .filter_map(|pair| {
            let [(_, one), (_, next)] = pair else { return None };
            Some((next.millis_since(*one) - millis(interval)).abs())
        })
        .collect();
    let worst = |share| percentile(&deviations, share).context("no adverts");
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53 adverts")]
    let sent = by_vrid.values().map(Vec::len).sum::<usize>() as f64;
    Ok(vec![
        Figure::new(Metric::ProcessPerAdvertSent, micros(process) / sent),
        Figure::new(Metric::SpacingP99, worst(0.99)?),
        Figure::new(Metric::SpacingP999, worst(0.999)?),
        Figure::new(Metric::ProcessShare, 100.0 * process.as_secs_f64() / length.as_secs_f64()),
    ])
}

/// A lab in which an injector at the other end of the node's cable acts as the masters of `count`
/// virtual routers.
struct Masters {
    lab: Lab,
    injector: Injector,
    frames: Vec<Vec<u8>>,
    count: u8,
    interval: Duration,
}

impl Masters {
    fn new(count: u8, interval: Duration) -> Result<Self> {
        let lab = Lab::new(1)?;
        let wire = u16::try_from(interval.as_millis() / 10)?;
        let frames = (1..=count).map(|vrid| advert(vrid, wire)).collect();
        // Send from the node's switch port, so that the cost of the bridge is not measured.
        let injector = Injector::open_at(lab.switch(), &NODE.port_name())?;
        Ok(Self { lab, injector, frames, count, interval })
    }

    /// Starts an agent and sends it adverts for [`WARM_UP`], so that its routers become backups.
    fn backup(&self, subject: &Subject) -> Result<Agent> {
        let mut agent = subject.agent(&self.lab, NODE, &routers(self.count, 1, self.interval))?;
        agent.start()?;
        self.send_paced(WARM_UP)?;
        Ok(agent)
    }

    /// Sends evenly spaced adverts for `length`, and returns their number.
    fn send_paced(&self, length: Duration) -> Result<f64> {
        let count = length.as_nanos() * u128::from(self.count) / self.interval.as_nanos();
        let count = u32::try_from(count).context("too many adverts")?;
        self.injector.send_paced(&self.frames, usize::try_from(count)?, length)?;
        Ok(count.into())
    }

    /// Sends adverts in small batches for `length`, and returns the CPU time of the sending thread
    /// per advert, in microseconds.
    fn send_batched(&self, length: Duration) -> Result<f64> {
        let rate = u128::from(self.count) * 1_000_000_000 / self.interval.as_nanos();
        let before = cpu::of_thread();
        let sent = self.injector.flood(&self.frames, Some(u32::try_from(rate)?), length)?.sent;
        Ok(micros(cpu::of_thread().saturating_sub(before)) / f64::from(u32::try_from(sent)?))
    }
}

/// Returns an advert from an impersonated master.
fn advert(vrid: u8, interval: u16) -> Vec<u8> {
    let addresses = vec![address(vrid).into()];
    Advert { interval, addresses, ..Station::Client.advert(Version::V3, vrid, 200) }.frame()
}

//! A backup that hears adverts, and a master that sends them, when nothing happens.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Figure, REST, address, adverts, cpu, micros, percentile, routers, spare, wait_for_masters};
use crate::agent::{Agent, AgentKind};
use crate::craft::Advert;
use crate::inject::Injector;
use crate::lab::Lab;
use crate::protocol::Version;
use crate::station::Station;
use crate::time::{WallTime, millis};

const NODE: Station = Station::Node(1);
/// Before a measurement begins: who was master has yielded.
const WARM_UP: Duration = Duration::from_millis(1500);

/// So many virtual routers in Backup, whose masters are impersonated.
///
/// # Errors
/// When the lab fails, or a backup did not stay one: what was measured then was something else.
pub fn backup(kind: &AgentKind, count: u8, interval: Duration, length: Duration) -> Result<Vec<Figure>> {
    let masters = Masters::new(count, interval)?;
    let agent = masters.backup(kind)?;
    let look = || Ok::<_, anyhow::Error>((cpu::of_process(agent.id()?)?, masters.lab.sent(NODE)?));
    let before = look()?;
    let sent = masters.speak(length)?;
    let after = look()?;
    ensure_silent(after.1 - before.1)?;
    let process = after.0.saturating_sub(before.0);
    Ok(vec![
        Figure::new("process CPU per advert", "µs", micros(process) / sent),
        Figure::new("process, of one core", "%", 100.0 * process.as_secs_f64() / length.as_secs_f64()),
    ])
}

/// Backups of several numbers of virtual routers, one after the other, as a sweep over adverts a second.
///
/// # Errors
/// As [`backup`].
pub fn backups(kind: &AgentKind, counts: &[u8], interval: Duration, length: Duration) -> Result<Vec<Figure>> {
    let mut all = Vec::new();
    for count in counts {
        let (point, rate) = (format!("{count} virtual routers"), f64::from(*count) / interval.as_secs_f64());
        all.extend(backup(kind, *count, interval, length)?.into_iter().map(|figure| figure.at(&point, rate)));
    }
    Ok(all)
}

/// What the same takes of all the machine: with an agent, with nobody who listens, and what the agent adds therefore. The
/// adverts come 32 at a time here: one by one, most of what the machine does would be the generator's sleep.
///
/// # Errors
/// As [`backup`].
pub fn machine(kind: &AgentKind, count: u8, interval: Duration, length: Duration) -> Result<Vec<Figure>> {
    let masters = Masters::new(count, interval)?;
    let rate = f64::from(count) / interval.as_secs_f64();
    // Whether the backups were silent is looked at before the soakers have ended, and the masters are missed.
    let each = || {
        let work = || {
            let before = masters.lab.sent(NODE)?;
            let generator = masters.pour(length)?;
            ensure_silent(masters.lab.sent(NODE)? - before)?;
            Ok(generator)
        };
        let (generator, taken) = spare::taken_by(work)?;
        Ok::<_, anyhow::Error>((taken * 1e6 / rate, generator))
    };
    let (alone, generator) = each()?;
    let _agent = masters.backup(kind)?;
    let (with, _) = each()?;
    Ok(vec![
        Figure::new("machine CPU per advert", "µs", with),
        Figure::new("of that without an agent: generator, veth", "µs", alone),
        Figure::new("the generator's thread by itself", "µs", generator),
        Figure::new("what the agent adds to the machine", "µs", with - alone),
    ])
}

fn ensure_silent(said: u64) -> Result<()> {
    ensure!(said < 10, "the backups sent {said} frames: the machine is too busy for this load");
    Ok(())
}

/// So many virtual routers in Master, at rest.
///
/// # Errors
/// When the lab fails, or the masters are not all there.
pub fn master(kind: &AgentKind, count: u8, interval: Duration, length: Duration) -> Result<Vec<Figure>> {
    let lab = Lab::new(1)?;
    let mut agent = Agent::new(&lab, NODE, kind.clone(), &routers(count, 200, interval))?;
    let capture = lab.capture()?;
    let began = WallTime::now();
    agent.start()?;
    wait_for_masters(&capture, began, count.into())?;
    thread::sleep(REST);
    let (process, start) = (cpu::of_process(agent.id()?)?, WallTime::now());
    thread::sleep(length);
    let (process, end) = (cpu::of_process(agent.id()?)?.saturating_sub(process), WallTime::now());
    // What was sent before the end has arrived.
    thread::sleep(Duration::from_millis(100));
    let mut frames = capture.stop()?;
    frames.retain(|frame| frame.time >= start && frame.time < end);
    let by_vrid = adverts(&frames);
    ensure!(by_vrid.len() == usize::from(count), "{} of {count} are masters", by_vrid.len());
    let off: Vec<f64> = by_vrid
        .values()
        .flat_map(|times| times.windows(2))
        .filter_map(|pair| {
            let [(_, one), (_, next)] = pair else { return None };
            Some((next.millis_since(*one) - millis(interval)).abs())
        })
        .collect();
    let worst = |share| percentile(&off, share).context("there are adverts");
    #[expect(clippy::cast_precision_loss, reason = "adverts of seconds")]
    let sent = by_vrid.values().map(Vec::len).sum::<usize>() as f64;
    Ok(vec![
        Figure::new("process CPU per advert sent", "µs", micros(process) / sent),
        Figure::new("spacing off the interval, p99", "ms", worst(0.99)?),
        Figure::new("spacing off the interval, p99.9", "ms", worst(0.999)?),
        Figure::new("process, of one core", "%", 100.0 * process.as_secs_f64() / length.as_secs_f64()),
    ])
}

/// A lab in which somebody at the other end of the node's cable is the master of so many virtual routers.
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
        // At the node's port of the switch, as off a wire: a host's own way through the bridge is no part of what is measured.
        let injector = Injector::open_at(lab.switch(), &NODE.port_name())?;
        Ok(Self { lab, injector, frames, count, interval })
    }

    /// A backup of all of them, that has settled.
    fn backup(&self, kind: &AgentKind) -> Result<Agent> {
        let mut agent = Agent::new(&self.lab, NODE, kind.clone(), &routers(self.count, 1, self.interval))?;
        agent.start()?;
        self.speak(WARM_UP)?;
        Ok(agent)
    }

    /// Adverts, evenly, for so long; how many.
    fn speak(&self, length: Duration) -> Result<f64> {
        let count = length.as_nanos() * u128::from(self.count) / self.interval.as_nanos();
        let count = u32::try_from(count).context("that many adverts")?;
        self.injector.pace(&self.frames, usize::try_from(count)?, length)?;
        Ok(count.into())
    }

    /// Adverts, in small groups, for so long; microseconds of processor that this takes the sending thread for one.
    fn pour(&self, length: Duration) -> Result<f64> {
        let rate = u128::from(self.count) * 1_000_000_000 / self.interval.as_nanos();
        let before = cpu::of_thread();
        let sent = self.injector.flood(&self.frames, Some(u32::try_from(rate)?), length)?.sent;
        Ok(micros(cpu::of_thread().saturating_sub(before)) / f64::from(u32::try_from(sent)?))
    }
}

/// The master's advert, from the client.
fn advert(vrid: u8, interval: u16) -> Vec<u8> {
    let addresses = vec![address(vrid)];
    Advert { interval, addresses, ..Advert::new(Version::V3, vrid, 200, Station::Client) }.frame()
}

//! A backup that hears adverts, and a master that sends them, when nothing happens.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Figure, address, adverts, cpu, micros, routers, wait_for_masters};
use crate::agent::{Agent, AgentKind};
use crate::craft::Advert;
use crate::inject::Injector;
use crate::lab::Lab;
use crate::protocol::Version;
use crate::station::Station;
use crate::time::{WallTime, millis};

const NODE: Station = Station::Node(1);
/// Before a measurement begins: who was master has yielded, who was backup has taken over.
const WARM_UP: Duration = Duration::from_secs(2);

/// So many virtual routers in Backup, whose masters are impersonated.
///
/// # Errors
/// When the lab fails, or a backup did not stay one: what was measured then was something else.
pub fn backup(kind: &AgentKind, count: u8, interval: Duration, length: Duration) -> Result<Vec<Figure>> {
    let lab = Lab::new(1)?;
    let mut agent = Agent::new(&lab, NODE, kind.clone(), &routers(count, 1, interval))?;
    let wire = u16::try_from(interval.as_millis() / 10)?;
    let frames: Vec<_> = (1..=count).map(|vrid| advert(vrid, wire)).collect();
    let injector = Injector::open(lab.host(Station::Client)?)?;
    let adverts = |length: Duration| {
        let rounds = length.as_nanos() / interval.as_nanos();
        usize::try_from(rounds * u128::from(count)).context("that many adverts")
    };
    agent.start()?;
    injector.pace(&frames, adverts(WARM_UP)?, WARM_UP)?;
    let look =
        || Ok::<_, anyhow::Error>((cpu::of_process(agent.id()?)?, cpu::of_machine()?, lab.sent(NODE)?));
    let before = look()?;
    let count = adverts(length)?;
    injector.pace(&frames, count, length)?;
    let after = look()?;
    let said = after.2 - before.2;
    ensure!(said < 10, "the backups sent {said} frames: the machine is too busy for this load");
    #[expect(clippy::cast_precision_loss, reason = "adverts of seconds")]
    let each = |time: Duration| micros(time) / count as f64;
    Ok(vec![
        Figure::new("process CPU per advert", "µs", each(after.0.saturating_sub(before.0))),
        Figure::new("machine CPU per advert", "µs", each(after.1.saturating_sub(before.1))),
        Figure::new(
            "process, of one core",
            "%",
            100.0 * after.0.saturating_sub(before.0).as_secs_f64() / length.as_secs_f64(),
        ),
    ])
}

/// So many virtual routers in Master.
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
    thread::sleep(WARM_UP);
    let (process, start) = (cpu::of_process(agent.id()?)?, WallTime::now());
    thread::sleep(length);
    let (process, end) = (cpu::of_process(agent.id()?)?.saturating_sub(process), WallTime::now());
    // What was sent before the end has arrived.
    thread::sleep(Duration::from_millis(100));
    let mut frames = capture.stop()?;
    frames.retain(|frame| frame.time >= start && frame.time < end);
    let by_vrid = adverts(&frames);
    ensure!(by_vrid.len() == usize::from(count), "{} of {count} are masters", by_vrid.len());
    let mut off: Vec<f64> = by_vrid
        .values()
        .flat_map(|times| times.windows(2))
        .filter_map(|pair| {
            let [(_, one), (_, next)] = pair else { return None };
            Some((next.millis_since(*one) - millis(interval)).abs())
        })
        .collect();
    off.sort_by(f64::total_cmp);
    let worst = off.get(off.len() - 1 - off.len() / 1000).copied().context("there are adverts")?;
    #[expect(clippy::cast_precision_loss, reason = "adverts of seconds")]
    let sent = by_vrid.values().map(Vec::len).sum::<usize>() as f64;
    Ok(vec![
        Figure::new("process CPU per advert sent", "µs", micros(process) / sent),
        Figure::new("spacing off the interval, p99.9", "ms", worst),
        Figure::new("process, of one core", "%", 100.0 * process.as_secs_f64() / length.as_secs_f64()),
    ])
}

/// The master's advert, from the client.
fn advert(vrid: u8, interval: u16) -> Vec<u8> {
    let addresses = vec![address(vrid)];
    Advert { interval, addresses, ..Advert::new(Version::V3, vrid, 200, Station::Client) }.frame()
}

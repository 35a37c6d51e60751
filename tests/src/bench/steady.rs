//! A backup that hears adverts, and a master that sends them, when nothing happens.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Figure, address, cpu, micros, millis, routers};
use crate::agent::{Agent, AgentKind};
use crate::craft::Advert;
use crate::inject::Injector;
use crate::lab::Lab;
use crate::protocol::Version;
use crate::station::Station;
use crate::time::WallTime;
use crate::wait::wait_until;

const NODE: Station = Station::Node(1);
/// Before a measurement begins: who was master has yielded, who was backup has taken over.
const WARM_UP: Duration = Duration::from_secs(2);
const SOON: Duration = Duration::from_secs(30);

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
    let look = || Ok::<_, anyhow::Error>((cpu::of_process(agent.id()?)?, cpu::of_machine()?, said(&lab)?));
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
    let all_there = || {
        let adverts = capture.search(began, |frame| Some((frame.time, frame.advert()?.vrid)));
        vrids(&adverts).len() == usize::from(count)
    };
    wait_until("all to be masters", SOON, all_there)?;
    thread::sleep(WARM_UP);
    let (process, start) = (cpu::of_process(agent.id()?)?, WallTime::now());
    thread::sleep(length);
    let (process, end) = (cpu::of_process(agent.id()?)?.saturating_sub(process), WallTime::now());
    // What was sent before the end has arrived.
    thread::sleep(Duration::from_millis(100));
    let frames = capture.stop()?;
    let adverts: Vec<_> = frames
        .iter()
        .filter(|frame| frame.time >= start && frame.time < end)
        .filter_map(|frame| Some((frame.time, frame.advert()?.vrid)))
        .collect();
    let by_vrid = vrids(&adverts);
    ensure!(by_vrid.len() == usize::from(count), "{} of {count} are masters", by_vrid.len());
    let mut off: Vec<f64> = by_vrid
        .values()
        .flat_map(|times| times.windows(2))
        .filter_map(|pair| {
            Some((millis(pair.get(1)?.saturating_since(*pair.first()?)) - millis(interval)).abs())
        })
        .collect();
    off.sort_by(f64::total_cmp);
    let worst = off.get(off.len() - 1 - off.len() / 1000).copied().context("there are adverts")?;
    #[expect(clippy::cast_precision_loss, reason = "adverts of seconds")]
    let sent = adverts.len() as f64;
    Ok(vec![
        Figure::new("process CPU per advert sent", "µs", micros(process) / sent),
        Figure::new("spacing off the interval, p99.9", "ms", worst),
        Figure::new("process, of one core", "%", 100.0 * process.as_secs_f64() / length.as_secs_f64()),
    ])
}

fn vrids(adverts: &[(WallTime, u8)]) -> BTreeMap<u8, Vec<WallTime>> {
    let mut by_vrid = BTreeMap::<u8, Vec<_>>::new();
    for (time, vrid) in adverts {
        by_vrid.entry(*vrid).or_default().push(*time);
    }
    by_vrid
}

/// The master's advert, from the client.
fn advert(vrid: u8, interval: u16) -> Vec<u8> {
    let addresses = match address(vrid) {
        IpAddr::V4(address) => vec![address],
        IpAddr::V6(_) => Vec::new(),
    };
    Advert { interval, addresses, ..Advert::new(Version::V3, vrid, 200, Station::Client) }.frame()
}

/// Frames that the node has sent.
fn said(lab: &Lab) -> Result<u64> {
    let path = format!("/sys/class/net/{}/statistics/rx_packets", NODE.port_name());
    let text = lab.switch().run(move || fs::read_to_string(path)).context("reading the port's counter")?;
    text.trim().parse().with_context(|| format!("{text:?} packets"))
}

//! A master's cable is cut, and the backup takes everything over.

use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Figure, REST, adverts, routers, wait_for_masters};
use crate::agent::{Agent, AgentKind};
use crate::compare::Spread;
use crate::configuration::Instance;
use crate::frame::Frame;
use crate::lab::Lab;
use crate::station::Station;
use crate::time::{WallTime, millis};

const MASTER: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);
/// How long is looked on after the cut.
const AFTERWARDS: Duration = Duration::from_secs(3);
/// Of the backups.
const PRIORITY: u8 = 100;

/// So many virtual routers of one address each.
///
/// # Errors
/// When the lab fails, or not everything is taken over.
pub fn of_many_routers(kind: &AgentKind, count: u8, interval: Duration) -> Result<Vec<Figure>> {
    cut(kind, &routers(count, PRIORITY, interval), interval)
}

/// One virtual router of so many addresses.
///
/// # Errors
/// When the lab fails, or not everything is taken over.
pub fn of_many_addresses(kind: &AgentKind, count: u8, interval: Duration) -> Result<Vec<Figure>> {
    let addresses = (1..=count).map(|last| Ipv4Addr::new(10, 0, 0, last).into()).collect();
    let instances = [Instance { priority: PRIORITY, interval, addresses, ..Instance::default() }];
    cut(kind, &instances, interval)
}

fn cut(kind: &AgentKind, instances: &[Instance], interval: Duration) -> Result<Vec<Figure>> {
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
    thread::sleep(REST);
    let before_cut = WallTime::now();
    lab.cut(MASTER)?;
    thread::sleep(AFTERWARDS);
    let frames = capture.stop()?;
    let frames: Vec<_> = frames.into_iter().filter(|frame| frame.time + interval * 2 > before_cut).collect();
    figures(&frames, instances, interval)
}

fn figures(frames: &[Frame], instances: &[Instance], interval: Duration) -> Result<Vec<Figure>> {
    let down = interval * 3 + interval * u32::from(256 - u16::from(PRIORITY)) / 256;
    let (mut last_announced, mut first_to_garp, mut silence) = (Vec::new(), Vec::new(), Duration::ZERO);
    let adverts = adverts(frames);
    for instance in instances {
        let times = adverts.get(&instance.vrid).context("its adverts")?;
        let heard = times.iter().filter(|(from, _)| *from == MASTER).map(|(_, time)| *time).max();
        let deadline = heard.context("the master's adverts")? + down;
        let said: Vec<_> = times.iter().filter(|(from, _)| *from == BACKUP).map(|(_, time)| *time).collect();
        let first = *said.first().with_context(|| format!("VRID {} was not taken over", instance.vrid))?;
        for pair in said.windows(2) {
            silence = silence.max(pair[1].saturating_since(pair[0]));
        }
        let announced = instance.addresses.iter().map(|address| announced(frames, *address));
        let announced = announced.collect::<Option<Vec<_>>>();
        let announced =
            announced.with_context(|| format!("VRID {} has an address unannounced", instance.vrid))?;
        let (least, most) = (announced.iter().min(), announced.iter().max());
        let (least, most) = (*least.context("addresses")?, *most.context("addresses")?);
        ensure!(most > deadline, "announced before the deadline: the backup was master already");
        first_to_garp.push(least.millis_since(first));
        last_announced.push(most.millis_since(deadline));
    }
    let last = Spread::of(last_announced).context("there are routers")?;
    let first = Spread::of(first_to_garp).context("there are routers")?;
    Ok(vec![
        Figure::new("last address announced after its deadline", "ms", last.max),
        Figure::new("first GARP after the first advert, median", "ms", first.median),
        Figure::new("longest silence of the new master", "ms", millis(silence)),
    ])
}

/// When the backup said where an address is.
fn announced(frames: &[Frame], address: IpAddr) -> Option<WallTime> {
    let IpAddr::V4(address) = address else { return None };
    let said = |frame: &&Frame| frame.from == BACKUP && frame.gratuitous_arp(address).is_some();
    frames.iter().find(said).map(|frame| frame.time)
}

//! 4,080 virtual routers: 16 interfaces with all the VRIDs that there are.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::{Figure, REST, SOON, cpu};
use crate::agent::{Agent, AgentKind};
use crate::ask;
use crate::craft::Advert;
use crate::inject::Injector;
use crate::lab::Lab;
use crate::links;
use crate::protocol::Version;
use crate::station::Station;
use crate::time::millis;
use crate::wait::try_wait_until;

const NODE: Station = Station::Node(1);
const INTERFACES: u8 = 16;

/// vipd with 16 × 255 virtual routers at this interval: its start as backup of masters that are there, and what it does when
/// they fall silent.
///
/// # Errors
/// When the lab fails, or not all are backups and then masters.
pub fn routers(kind: &AgentKind, interval: Duration, length: Duration) -> Result<Vec<Figure>> {
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    host.run(|| {
        (1..=INTERFACES).try_for_each(|number| {
            let (ours, theirs) = (ours(number), theirs(number));
            links::add_pair(&ours, &theirs)?;
            links::set_up(&theirs)?;
            links::set_up(&ours)?;
            links::add_address(&ours, Ipv4Addr::new(10, number, 0, 1), 16)
        })
    })
    .context("16 pairs of interfaces")?;
    let frames = frames(interval)?;
    let injectors = (1..=INTERFACES).map(|number| Injector::open_at(host, &theirs(number)));
    let injectors = injectors.collect::<Result<Vec<_>>>()?;
    let mut agent = Agent::with_configuration(&lab, NODE, kind.clone(), configuration(interval))?;
    let all = usize::from(INTERFACES) * 255;
    let silent = AtomicBool::new(false);
    thread::scope(|scope| {
        let masters = scope.spawn(|| -> Result<()> {
            while !silent.load(Ordering::Relaxed) {
                speak(&injectors, &frames, interval)?;
            }
            Ok(())
        });
        let measured = measure(&mut agent, all, length, &silent);
        silent.store(true, Ordering::Relaxed);
        let spoken = masters.join().map_err(|_| anyhow::anyhow!("the masters panicked"))?;
        spoken.and(measured)
    })
}

fn measure(agent: &mut Agent, all: usize, length: Duration, silent: &AtomicBool) -> Result<Vec<Figure>> {
    let count = |agent: &Agent, state: &str| -> Result<usize> {
        Ok(ask::status(agent)?.iter().filter(|status| status.text("state") == state).count())
    };
    let begin = Instant::now();
    agent.start()?;
    try_wait_until("all to be backups", SOON, || Ok(count(agent, "backup")? == all))?;
    let started = begin.elapsed();
    // Each of them has heard its master.
    thread::sleep(Duration::from_secs(1));
    let load = |agent: &Agent| -> Result<f64> {
        let before = cpu::of_process(agent.id()?)?;
        thread::sleep(length);
        let used = cpu::of_process(agent.id()?)?.saturating_sub(before);
        Ok(100.0 * used.as_secs_f64() / length.as_secs_f64())
    };
    let as_backup = load(agent)?;
    let transitions = |agent: &Agent| -> Result<u64> {
        ask::stats(agent)?.1.iter().map(|statistics| statistics.number("master-transitions")).sum()
    };
    let false_takeovers = transitions(agent)?;
    silent.store(true, Ordering::Relaxed);
    try_wait_until("all to be masters", SOON, || Ok(count(agent, "master")? == all))?;
    thread::sleep(REST);
    let as_master = load(agent)?;
    let now = transitions(agent)? - false_takeovers;
    ensure!(now == u64::try_from(all)?, "{now} takeovers of {all} routers: they are not steady");
    let memory = memory(agent.id()?)?;
    ensure!(agent.stop()?.success(), "it did not stop in good order");
    #[expect(clippy::cast_precision_loss, reason = "a few takeovers and megabytes")]
    let (false_takeovers, memory) = (false_takeovers as f64, memory as f64);
    Ok(vec![
        Figure::new("from its start until all are backups", "ms", millis(started)),
        Figure::new("as backup, of one core", "%", as_backup),
        Figure::new("as master, of one core", "%", as_master),
        Figure::new("false takeovers", "", false_takeovers),
        Figure::new("memory (VmRSS)", "MB", memory / 1024.0),
    ])
}

/// Resident memory of a process, KiB.
fn memory(id: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn ours(number: u8) -> String {
    format!("ours{number}")
}

fn theirs(number: u8) -> String {
    format!("theirs{number}")
}

fn address(number: u8, vrid: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, number, vrid, 1)
}

/// The masters' adverts, by interface.
fn frames(interval: Duration) -> Result<Vec<Vec<Vec<u8>>>> {
    let interval = u16::try_from(interval.as_millis() / 10)?;
    let advert = |number, vrid| {
        let addresses = vec![address(number, vrid)];
        let source = Ipv4Addr::new(10, number, 0, 2);
        Advert { source, interval, addresses, ..Advert::new(Version::V3, vrid, 200, Station::Client) }.frame()
    };
    let of = |number| (1..=255).map(|vrid| advert(number, vrid)).collect();
    Ok((1..=INTERFACES).map(of).collect())
}

/// All of them once, evenly over an interval.
fn speak(injectors: &[Injector], frames: &[Vec<Vec<u8>>], interval: Duration) -> Result<()> {
    let part = interval / u32::try_from(injectors.len())?;
    injectors
        .iter()
        .zip(frames)
        .try_for_each(|(injector, frames)| injector.pace(frames, frames.len(), part).map(drop))
}

fn configuration(interval: Duration) -> String {
    let mut text = String::new();
    for number in 1..=INTERFACES {
        for vrid in 1..=255 {
            let _ = write!(
                text,
                "[[instance]]\nname = \"{number}-{vrid}\"\ninterface = \"{}\"\nvrid = {vrid}\npriority = 1\n\
                 advert_interval = \"{}ms\"\nvirtual_addresses = [\"{}/16\"]\n\n",
                ours(number),
                interval.as_millis(),
                address(number, vrid),
            );
        }
    }
    text
}

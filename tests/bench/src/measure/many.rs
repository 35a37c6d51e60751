//! Thousands of virtual routers: all 255 VRIDs on each of up to 16 interfaces.

use std::fmt::Write as _;
use std::fs;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::{REST, SOON, cpu};
use vipd_tests::agent::{Agent, AgentKind};
use vipd_tests::control;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::protocol::Version;
use vipd_tests::station::Station;
use vipd_tests::time::{WallTime, millis};
use vipd_tests::wait::try_wait_until;
use vipd_witness::Advert;

use crate::figure::Figure;
use crate::metric::Metric;
use crate::subject::Subject;

const NODE: Station = Station::Node(1);
/// Numbers of interfaces in the measurements. Each interface has 255 virtual routers.
const INTERFACES: [u8; 4] = [1, 4, 8, 16];
/// Maximum time from the start of the agent until all routers are backups.
const BOUND: Duration = Duration::from_secs(30);

/// Measures, for several numbers of virtual routers, the time until all routers are backups of
/// running masters. For vipd with 4,080 routers, also measures the CPU load before and after the
/// masters stop, the number of false takeovers, and the memory usage.
///
/// # Errors
/// Returns an error if the lab fails, if any of vipd's routers does not become master exactly once
/// after the masters stop, or if vipd does not shut down cleanly.
pub(crate) fn routers(subject: &Subject, interval: Duration, length: Duration) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for interfaces in INTERFACES {
        let count = u32::from(interfaces) * 255;
        let (started, later) = play(subject, interfaces, interval, length)?;
        let start = Figure::perhaps(Metric::Start, started.map(millis));
        figures.push(start.at(count, count.into()));
        figures.extend(later);
        // Starting more routers would take even longer.
        if started.is_none() {
            break;
        }
    }
    Ok(figures)
}

/// Measures one start. Returns its duration (`None` if it exceeded the time limit) and the figures
/// measured afterwards.
fn play(
    subject: &Subject,
    interfaces: u8,
    interval: Duration,
    length: Duration,
) -> Result<(Option<Duration>, Vec<Figure>)> {
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    host.run(move || {
        (1..=interfaces).try_for_each(|number| {
            let (ours, theirs) = (ours(number), theirs(number));
            links::add_pair(&ours, &theirs)?;
            links::add_address(&ours, Ipv4Addr::new(10, number, 0, 1), 16)
        })
    })
    .context("adding veth pairs")?;
    let frames = frames(interfaces, interval)?;
    let injectors = (1..=interfaces).map(|number| Injector::open_at(host, &theirs(number)));
    let injectors = injectors.collect::<Result<Vec<_>>>()?;
    let configuration = match &subject.kind {
        AgentKind::Vipd(_) => vipd_configuration(interfaces, interval),
        _ => keepalived_configuration(interfaces, interval),
    };
    let mut agent = subject.with_configuration(&lab, NODE, configuration)?;
    let all = usize::from(interfaces) * 255;
    let stopped = AtomicBool::new(false);
    thread::scope(|scope| {
        let masters = scope.spawn(|| -> Result<()> {
            while !stopped.load(Ordering::Relaxed) {
                send(&injectors, &frames, interval)?;
            }
            Ok(())
        });
        let measured = start(&mut agent, all).and_then(|started| {
            let is_largest =
                INTERFACES.last() == Some(&interfaces) && matches!(subject.kind, AgentKind::Vipd(_));
            let later =
                if is_largest { measure_load(&mut agent, all, length, &stopped)? } else { Vec::new() };
            Ok((started, later))
        });
        stopped.store(true, Ordering::Relaxed);
        let sent = masters.join().map_err(|_| anyhow!("the masters' thread panicked"))?;
        sent.and(measured)
    })
}

/// Starts the agent and returns the time until all routers are backups, or `None` if the time
/// exceeds the limit.
fn start(agent: &mut Agent, all: usize) -> Result<Option<Duration>> {
    let (begin, wall) = (Instant::now(), WallTime::now());
    let started = agent.start();
    let mut last = WallTime::now();
    let started = started.and_then(|()| {
        try_wait_until("all routers to be backups", BOUND.saturating_sub(begin.elapsed()), || {
            if matches!(agent.kind(), AgentKind::Vipd(_)) {
                last = WallTime::now();
                return Ok(instances_in_state(agent, "backup")? == all);
            }
            // For keepalived, use the times at which the lab received its log lines.
            thread::sleep(Duration::from_millis(100));
            let log = agent.log();
            let backups = log.iter().filter(|line| line.text.contains("Entering BACKUP STATE"));
            let times: Vec<_> = backups.map(|line| line.time).collect();
            last = times.last().copied().unwrap_or(last);
            Ok(times.len() >= all)
        })
    });
    match started {
        Ok(()) => Ok(Some(last.saturating_since(wall))),
        // An error this late is taken for the time limit. Other errors usually occur earlier.
        Err(_) if begin.elapsed() > BOUND / 2 => Ok(None),
        Err(error) => Err(error),
    }
}

/// Measures the CPU load while all routers are backups and while all are masters, the number of
/// false takeovers, and the memory usage.
fn measure_load(
    agent: &mut Agent,
    all: usize,
    length: Duration,
    stopped: &AtomicBool,
) -> Result<Vec<Figure>> {
    // Exclude the work of starting, which has its own figure.
    thread::sleep(REST);
    let load = |agent: &Agent| -> Result<f64> {
        let before = cpu::of_process(agent.pid()?)?;
        thread::sleep(length);
        let used = cpu::of_process(agent.pid()?)?.saturating_sub(before);
        Ok(100.0 * used.as_secs_f64() / length.as_secs_f64())
    };
    let as_backup = load(agent)?;
    let transitions = |agent: &Agent| -> Result<u64> {
        control::stats(agent)?.1.iter().map(|statistics| statistics.number("master-transitions")).sum()
    };
    let false_takeovers = transitions(agent)?;
    stopped.store(true, Ordering::Relaxed);
    try_wait_until("all routers to be masters", SOON, || Ok(instances_in_state(agent, "master")? == all))?;
    thread::sleep(REST);
    let as_master = load(agent)?;
    let takeovers = transitions(agent)? - false_takeovers;
    ensure!(takeovers == u64::try_from(all)?, "{takeovers} takeovers by {all} routers; expected one each");
    let memory = memory(agent.pid()?)?;
    ensure!(agent.stop()?.success(), "vipd did not shut down cleanly");
    #[expect(clippy::cast_precision_loss, reason = "a few takeovers and megabytes")]
    let (false_takeovers, memory) = (false_takeovers as f64, memory as f64);
    Ok(vec![
        Figure::new(Metric::BackupShare, as_backup),
        Figure::new(Metric::MasterShare, as_master),
        Figure::new(Metric::FalseTakeovers, false_takeovers),
        Figure::new(Metric::Memory, memory * 1.024 / 1e3),
    ])
}

/// Returns the number of vipd's instances that are in this state.
fn instances_in_state(agent: &Agent, state: &str) -> Result<usize> {
    Ok(control::status(agent)?.iter().filter(|status| status.text("state") == state).count())
}

/// Returns the resident memory of a process, in KiB.
fn memory(id: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS field")?;
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

/// Returns the adverts of the impersonated masters, by interface.
fn frames(interfaces: u8, interval: Duration) -> Result<Vec<Vec<Vec<u8>>>> {
    let interval = u16::try_from(interval.as_millis() / 10)?;
    let advert = |number, vrid| {
        let addresses = vec![address(number, vrid).into()];
        let source = Ipv4Addr::new(10, number, 0, 2).into();
        Advert { source, interval, addresses, ..Station::Client.advert(Version::V3, vrid, 200) }.frame()
    };
    let of = |number| (1..=255).map(|vrid| advert(number, vrid)).collect();
    Ok((1..=interfaces).map(of).collect())
}

/// Sends each advert once, spread evenly over an interval.
fn send(injectors: &[Injector], frames: &[Vec<Vec<u8>>], interval: Duration) -> Result<()> {
    let part = interval / u32::try_from(injectors.len())?;
    injectors
        .iter()
        .zip(frames)
        .try_for_each(|(injector, frames)| injector.send_paced(frames, frames.len(), part).map(drop))
}

/// Returns the interface number and VRID of every virtual router.
fn each(interfaces: u8) -> impl Iterator<Item = (u8, u8)> {
    (1..=interfaces).flat_map(|number| (1..=255).map(move |vrid| (number, vrid)))
}

fn vipd_configuration(interfaces: u8, interval: Duration) -> String {
    each(interfaces).fold(String::new(), |mut text, (number, vrid)| {
        let (interface, address, interval) = (ours(number), address(number, vrid), interval.as_millis());
        let _ = write!(
            text,
            "[[instance]]\nname = \"{number}-{vrid}\"\ninterface = \"{interface}\"\nvrid = {vrid}\npriority = 1\n\
             advert_interval = \"{interval}ms\"\nvirtual_addresses = [\"{address}/16\"]\n\n",
        );
        text
    })
}

fn keepalived_configuration(interfaces: u8, interval: Duration) -> String {
    let begin = "global_defs {\n    vrrp_version 3\n}\n".to_owned();
    each(interfaces).fold(begin, |mut text, (number, vrid)| {
        let (interface, address, interval) = (ours(number), address(number, vrid), interval.as_secs_f64());
        let _ = write!(
            text,
            "vrrp_instance {number}-{vrid} {{\n    state BACKUP\n    interface {interface}\n    virtual_router_id {vrid}\n\
             \x20   priority 1\n    advert_int {interval}\n    virtual_ipaddress {{\n        {address}/16\n    }}\n}}\n",
        );
        text
    })
}

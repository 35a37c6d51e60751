//! Runs one combination through an election, a crash, a return, a clean shutdown and another
//! return.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{Cell, Peer};
use crate::agent::{Agent, AgentKind, Instance};
use crate::capture::Capture;
use crate::configuration::Family;
use crate::frame::Frame;
use crate::lab::Lab;
use crate::protocol::Version;
use crate::station::{Mac, Station, VIP, VIP6};
use crate::time::WallTime;
use crate::wait::wait_until;

const VRID: u8 = 51;
const PREFERRED_PRIORITY: u8 = 200;
const BACKUP_PRIORITY: u8 = 100;
/// Number of adverts that a router may still send after another router's first advert: an answer to
/// a lower-priority advert, and a last advert before it yields.
const OVERLAP: usize = 2;

/// The steps of a run, in order.
pub const STEPS: [&str; 6] = ["election", "crash", "return", "release", "return again", "one master"];

/// Result of a run.
#[derive(Debug)]
pub struct Verdict {
    /// Number of [`STEPS`] that passed.
    pub passed: usize,
    /// Why the next step failed; `None` if all steps passed.
    pub failure: Option<anyhow::Error>,
}

/// FRR 8.4 logs this repeatedly if its macvlan has no usable IPv6 address yet at the time when FRR
/// should become master. FRR then never sends an advert.
const NO_ADDRESS: &str = "Failed to find address to bind";

/// Runs a combination in a new lab. `vipd` is the program under test. Repeats a run that failed
/// because FRR found no address, which happens rarely and does not depend on vipd.
pub fn play(cell: Cell, vipd: &AgentKind) -> Verdict {
    let verdict = play_once(cell, vipd);
    let is_without_address =
        |failure: &anyhow::Error| cell.peer == Peer::Frr && format!("{failure:#}").contains(NO_ADDRESS);
    if !verdict.failure.as_ref().is_some_and(is_without_address) {
        return verdict;
    }
    eprintln!("[interop] repeating {cell}: FRR found no address");
    play_once(cell, vipd)
}

fn play_once(cell: Cell, vipd: &AgentKind) -> Verdict {
    let mut passed = 0;
    let failure = Stage::new(cell, vipd).and_then(|mut stage| stage.run_steps(&mut passed)).err();
    Verdict { passed, failure: failure.map(|error| error.context(STEPS[passed.min(STEPS.len() - 1)])) }
}

struct Stage {
    cell: Cell,
    preferred: Agent,
    backup: Agent,
    capture: Capture,
    interval: Duration,
    /// Dropped last: the agents run in the lab.
    _lab: Lab,
}

impl Stage {
    fn new(cell: Cell, vipd: &AgentKind) -> Result<Self> {
        let lab = Lab::new(2)?;
        let capture = lab.capture()?;
        let peer = match cell.peer {
            Peer::Keepalived => AgentKind::Keepalived,
            Peer::Frr => AgentKind::Frr,
        };
        let (first, second) = if cell.vipd_preferred { (vipd.clone(), peer) } else { (peer, vipd.clone()) };
        let interval = match cell.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => Duration::from_millis(100),
        };
        let agent = |number: u8, kind: AgentKind, priority: u8| {
            let other = Station::Node(3 - number);
            let peer = match cell.family {
                Family::V4 => other.ipv4().into(),
                Family::V6 => other.ipv6().into(),
            };
            let virtual_mac = cell.virtual_mac && kind != AgentKind::Frr;
            let instance = Instance {
                vrid: VRID,
                version: cell.version,
                priority,
                interval,
                virtual_mac,
                unicast_peers: if cell.unicast { vec![peer] } else { Vec::new() },
                min_ttl: cell.keepalived_sends_hop_limit_64().then_some(64),
                ..Instance::of(cell.family)
            };
            Agent::new(&lab, Station::Node(number), kind, &[instance])
        };
        let preferred = agent(1, first, PREFERRED_PRIORITY)?;
        let backup = agent(2, second, BACKUP_PRIORITY)?;
        Ok(Self { cell, preferred, backup, capture, interval, _lab: lab })
    }

    fn run_steps(&mut self, passed: &mut usize) -> Result<()> {
        let (first, second) = (Station::Node(1), Station::Node(2));
        let began = WallTime::now();
        self.backup.start()?;
        self.preferred.start()?;
        self.await_master(began, first, second)?;
        *passed += 1;

        let crashed = WallTime::now();
        self.preferred.kill()?;
        self.await_master(crashed, second, first)?;
        *passed += 1;

        let returned = WallTime::now();
        self.preferred.start()?;
        self.await_master(returned, first, second)?;
        *passed += 1;

        let released = WallTime::now();
        self.preferred.stop()?;
        self.await_master(released, second, first)?;
        let zero =
            |frame: &Frame| frame.from == first && self.advert(frame).is_some_and(|priority| priority == 0);
        ensure!(self.capture.has(released, zero), "node 1 stopped without a priority-0 advert");
        *passed += 1;

        let returned = WallTime::now();
        self.preferred.start()?;
        self.await_master(returned, first, second)?;
        *passed += 1;

        self.only_one_at_a_time(began)?;
        *passed += 1;
        Ok(())
    }

    /// Waits until the four most recent adverts are all from `master`, and `master` has announced
    /// the VIP.
    fn await_master(&self, since: WallTime, master: Station, other: Station) -> Result<()> {
        let timeout = 20 * self.interval + Duration::from_secs(60);
        let described = format!("{master} to be the only master and to have announced the VIP");
        wait_until(&described, timeout, || {
            let adverts = self.capture.filter_map(since, |frame| {
                self.advert(frame).filter(|priority| *priority > 0).map(|_| frame.from)
            });
            let alone = adverts.iter().rev().take_while(|from| **from == master).count();
            alone >= 4
                && adverts.iter().rev().take(4).all(|from| *from != other)
                && self.capture.has(since, |frame| frame.from == master && self.announces(frame))
        })
        .with_context(|| {
            let log = |agent: &Agent| {
                let log = agent.log();
                let last = log.iter().skip(log.len().saturating_sub(15));
                last.fold(String::new(), |text, line| text + "\n    " + &line.text)
            };
            format!("{}\n  node 1:{}\n  node 2:{}", self.cell, log(&self.preferred), log(&self.backup))
        })
    }

    /// Returns the priority of the frame if it is an advert of the tested virtual router.
    fn advert(&self, frame: &Frame) -> Option<u8> {
        let advert = frame.advert()?;
        (advert.vrid == VRID && advert.source.is_ipv6() == (self.cell.family == Family::V6))
            .then_some(advert.priority)
    }

    /// Returns whether the frame announces the VIP with the expected MAC.
    fn announces(&self, frame: &Frame) -> bool {
        let announced = match self.cell.family {
            Family::V4 => frame.gratuitous_arp(VIP).map(|arp| arp.sender_mac),
            Family::V6 => frame.unsolicited_na(VIP6).and_then(|advertisement| advertisement.target_mac),
        };
        let is_vipd = (frame.from == Station::Node(1)) == self.cell.vipd_preferred;
        let virtual_mac = self.cell.virtual_mac || (self.cell.peer == Peer::Frr && !is_vipd);
        announced == Some(if virtual_mac { self.virtual_mac() } else { frame.from.mac() })
    }

    fn virtual_mac(&self) -> Mac {
        let block = match self.cell.family {
            Family::V4 => 1,
            Family::V6 => 2,
        };
        Mac([0, 0, 0x5e, 0, block, VRID])
    }

    /// Checks that once a router takes over, the previous master sends at most a few more adverts.
    fn only_one_at_a_time(&self, began: WallTime) -> Result<()> {
        let adverts = self.capture.filter_map(began, |frame| {
            self.advert(frame).filter(|priority| *priority > 0).map(|_| (frame.from, frame.time))
        });
        let mut overlap = 0;
        let mut master = None;
        for window in adverts.windows(2) {
            let [(before, _), (now, time)] = *window else { continue };
            if before == now {
                continue;
            }
            // If the sender changes again within two intervals of its last change, both routers are
            // master; if it changes later, one router has taken over from the other.
            if let Some((_, since)) = master
                && time.millis_since(since) < 2.0 * self.interval.as_secs_f64() * 1000.0
            {
                overlap += 1;
            } else {
                overlap = 0;
            }
            ensure!(overlap <= 2 * OVERLAP, "both routers were master at the same time, at {time}");
            master = Some((now, time));
        }
        Ok(())
    }
}

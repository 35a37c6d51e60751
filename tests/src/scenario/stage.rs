//! A scenario's lab with everything in place, and the waits that all scenarios share.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{BACKUP, Event, Outcome, PREFERRED, Scenario, Setup, Takeover, View};
use crate::agent::{Agent, AgentKind, Instance};
use crate::arp::{Neighbour, neighbour};
use crate::capture::Capture;
use crate::frame::Frame;
use crate::lab::Lab;
use crate::probe::Prober;
use crate::process::{LogLine, output};
use crate::protocol::{down_interval, skew_time};
use crate::station::{Station, VIP};
use crate::time::{WallTime, millis};
use crate::wait::wait_until;

/// Answers of the steady state before anything is done.
const STEADY_ANSWERS: usize = 50;
/// How long a takeover is observed at least after its first answer, for the rest of the burst of
/// gratuitous ARPs and for adverts that cross.
const OBSERVATION: Duration = Duration::from_millis(200);
/// How much longer than the protocol allows a wait goes on: the machine may be busy, and a late
/// takeover is a figure to report, not a failure to wait.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long the protocol gives the new master.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deadline {
    /// Three intervals and the skew: the old master fell silent.
    Down,
    /// The skew: the old master resigned.
    Skew,
    /// None from the old master's last advert on: it lives.
    Open,
}

/// Fields in the order they are taken down: agents before the lab they run in.
pub(super) struct Stage<'a> {
    pub(super) preferred: Agent,
    pub(super) backup: Agent,
    prober: Prober,
    capture: Capture,
    pub(super) lab: Lab,
    setup: Setup,
    start: WallTime,
    events: Vec<Event>,
    takeovers: Vec<Takeover>,
    /// Is told what is done and what is waited for.
    watch: &'a mut dyn FnMut(&str),
}

impl<'a> Stage<'a> {
    /// Two agents running, the preferred one master, the client's ping answered by it.
    pub(super) fn open(setup: &Setup, watch: &'a mut dyn FnMut(&str)) -> Result<Self> {
        watch("two nodes, a client and a switch, each in namespaces of its own");
        let lab = Lab::new(2)?;
        let start = WallTime::now();
        let capture = lab.capture()?;
        let agent = |station| {
            let instance = Instance {
                version: setup.version,
                interval: setup.interval,
                preempt: setup.preempt,
                priority: setup.priority(station),
                ..Instance::default()
            };
            Agent::new(&lab, station, setup.kind(station).clone(), &[instance])
        };
        let (mut preferred, mut backup) = (agent(PREFERRED)?, agent(BACKUP)?);
        watch(&format!("{preferred} starts; it looks for a master, then becomes it"));
        preferred.start()?;
        // The backup comes second and hears a master, so that the scenario starts without an election.
        let mastery = wait_until(&format!("{preferred} to become master"), PATIENCE, || {
            capture.has(start, |frame| frame.claims_mastership(PREFERRED))
        });
        mastery.with_context(|| format!("its log:\n{}", text_of(&preferred.log())))?;
        watch(&format!("{backup} starts, the client pings {VIP}; nobody else may become master"));
        backup.start()?;
        let prober = Prober::start(lab.host(Station::Client)?, VIP, setup.ping_spacing)?;
        let stage = Self {
            preferred,
            backup,
            prober,
            capture,
            lab,
            setup: setup.clone(),
            start,
            events: Vec::new(),
            takeovers: Vec::new(),
            watch,
        };
        let steady = stage.expect_steadiness();
        steady.with_context(|| format!("before the scenario; the logs:\n{}", stage.log_text()))?;
        Ok(stage)
    }

    /// The preferred node is the only master and the client's ping is answered. A busy machine can
    /// make a backup impatient while it starts; the election that follows is not the scenario's.
    fn expect_steadiness(&self) -> Result<()> {
        let master = self.expect_one_master()?;
        ensure!(master == PREFERRED, "{master} has become master instead of {PREFERRED}");
        wait_until("the client's ping to be answered", PATIENCE, || self.prober.answered() >= STEADY_ANSWERS)
    }

    /// Notes what is about to be done and returns the time.
    pub(super) fn note(&mut self, text: impl Into<String>) -> WallTime {
        let text = text.into();
        (self.watch)(&text);
        // Not before the watcher is done with it: what is about to be done is done now.
        let time = WallTime::now();
        self.events.push(Event { time, text });
        time
    }

    /// The client's neighbour entry for the virtual address.
    pub(super) fn arp(&self) -> Result<Option<Neighbour>> {
        neighbour(self.lab.host(Station::Client)?, VIP)
    }

    /// Waits until `new` has taken over from `old`: it has advertised, announced the address and
    /// answered the client, all after `cause`. Then observes for a while and notes the figures.
    pub(super) fn expect_takeover(
        &mut self,
        cause: WallTime,
        arp_before: Option<Neighbour>,
        (old, new): (Station, Station),
        deadline: Deadline,
    ) -> Result<()> {
        let deadline = match deadline {
            Deadline::Down => Some(self.down_interval(new)),
            Deadline::Skew => {
                Some(skew_time(self.setup.version, self.setup.interval, self.setup.priority(new)))
            }
            Deadline::Open => None,
        };
        let due = deadline.map_or(String::new(), |deadline| {
            format!(", due {:.3} ms after {old}'s last advert", millis(deadline))
        });
        (self.watch)(&format!("waiting for {new} to take over{due}"));
        let timeout = 2 * self.down_interval(new) + PATIENCE;
        self.wait_for(&format!("an advert of {new}"), timeout, cause, |frame| frame.claims_mastership(new))?;
        self.wait_for(&format!("a gratuitous ARP of {new}"), timeout, cause, |frame| announces(frame, new))?;
        let identifier = self.prober.identifier();
        self.wait_for(&format!("an answer of {new} to the client"), timeout, cause, |frame| {
            answers(frame, new, identifier)
        })?;
        (self.watch)(&format!("{new} is master and answers the client; watching what follows"));
        self.observe(OBSERVATION.max(3 * self.setup.interval))?;

        let observed = WallTime::now();
        let arp_after = self.arp()?;
        let frames = self.capture.since(self.start);
        let first = |what: &str, wanted: &dyn Fn(&Frame) -> bool| {
            let found = frames.iter().find(|frame| frame.time >= cause && wanted(frame));
            found.map(|frame| frame.time).with_context(|| format!("{new} has no {what} after the cause"))
        };
        let first_advert = first("advert", &|frame| frame.claims_mastership(new))?;
        let last_advert = frames
            .iter()
            .rfind(|frame| frame.time < first_advert && advertises(frame, old))
            .map(|frame| frame.time)
            .with_context(|| format!("{old} has no advert before the takeover"))?;
        let takeover = Takeover {
            cause,
            old,
            new,
            last_advert,
            first_advert,
            first_garp: first("gratuitous ARP", &|frame| announces(frame, new))?,
            first_answer: first("answer", &|frame| answers(frame, new, identifier))?,
            deadline,
            garps: frames.iter().filter(|frame| frame.time >= cause && announces(frame, new)).count(),
            crossed: frames
                .iter()
                .filter(|frame| frame.time >= first_advert && advertises(frame, old))
                .count(),
            observed,
            arp_before,
            arp_after,
        };
        self.takeovers.push(takeover);
        Ok(())
    }

    /// Waits until `master` alone has advertised for twice the longest deadline after `cause`: nobody
    /// takes over.
    pub(super) fn expect_stillness(&mut self, cause: WallTime, master: Station) -> Result<()> {
        (self.watch)(&format!("nobody may take over from {master}"));
        self.observe(2 * self.down_interval(BACKUP))?;
        let masters = self.masters_since(cause);
        ensure!(
            !masters.is_empty() && masters.iter().all(|&station| station == master),
            "{master} was to stay the only master, the adverts are from {}",
            names(&masters)
        );
        Ok(())
    }

    /// Waits until one node alone has advertised for twice the longest deadline, and returns it.
    pub(super) fn expect_one_master(&self) -> Result<Station> {
        let quiet = 2 * self.down_interval(BACKUP);
        let mut since = WallTime::now();
        let mut master = None;
        wait_until("one master alone", 2 * quiet + PATIENCE, || {
            let masters = self.masters_since(since);
            master = masters.last().copied();
            if masters.windows(2).any(|pair| pair[0] != pair[1]) {
                since = WallTime::now();
                return false;
            }
            master.is_some() && WallTime::now() >= since + quiet
        })?;
        master.context("there is a master")
    }

    /// After the preferred node is back: with preemption it takes over again, without it does not.
    pub(super) fn expect_preemption(&mut self, cause: WallTime, arp_before: Option<Neighbour>) -> Result<()> {
        if self.setup.preempt {
            self.expect_takeover(cause, arp_before, (BACKUP, PREFERRED), Deadline::Open)
        } else {
            self.expect_stillness(cause, BACKUP)
        }
    }

    /// Both agents' logs in order.
    pub(super) fn log(&self) -> Vec<(Station, LogLine)> {
        let lines = |agent: &Agent| {
            let station = agent.station();
            agent.log().into_iter().map(move |line| (station, line))
        };
        let mut log: Vec<_> = lines(&self.preferred).chain(lines(&self.backup)).collect();
        log.sort_by_key(|(_, line)| line.time);
        log
    }

    /// Both agents' logs as text, for an error message.
    pub(super) fn log_text(&self) -> String {
        self.log().iter().fold(String::new(), |text, (station, line)| {
            format!("{text}  {} {station}: {}\n", line.time, line.text)
        })
    }

    /// Ends the scenario. The agents are killed with the lab.
    pub(super) fn close(self, scenario: Scenario) -> Result<Outcome> {
        let log = self.log();
        let views = self.views()?;
        // A capture with holes is an error, and so are its figures.
        self.capture.stop()?;
        Ok(Outcome {
            scenario,
            setup: self.setup,
            events: self.events,
            takeovers: self.takeovers,
            probes: self.prober.stop()?,
            log,
            views,
        })
    }

    /// What vipd's own commands show on the nodes that run it.
    fn views(&self) -> Result<Vec<View>> {
        let mut views = Vec::new();
        for agent in [&self.preferred, &self.backup] {
            if !agent.is_running() {
                continue;
            }
            for (command, verb) in [("vipd status", "status"), ("vipd stats", "stats")] {
                let AgentKind::Vipd(program) = agent.kind() else { continue };
                let mut asked = Command::new(program);
                asked.arg("--runtime-dir").arg(Agent::runtime_dir()).arg(verb);
                let shown = output(agent.host(), asked)?;
                ensure!(
                    shown.status.success(),
                    "`{command}` on {} failed: {}",
                    agent.station(),
                    String::from_utf8_lossy(&shown.stderr)
                );
                let text = String::from_utf8_lossy(&shown.stdout).into_owned();
                views.push(View { station: agent.station(), command, text });
            }
        }
        Ok(views)
    }

    fn down_interval(&self, station: Station) -> Duration {
        down_interval(self.setup.version, self.setup.interval, self.setup.priority(station))
    }

    fn wait_for(
        &self,
        what: &str,
        timeout: Duration,
        since: WallTime,
        wanted: impl Fn(&Frame) -> bool,
    ) -> Result<()> {
        wait_until(what, timeout, || self.capture.has(since, &wanted))
    }

    /// Lets the segment go on for as long as something is to be seen not to happen.
    #[expect(clippy::unused_self, reason = "reads as what the stage does")]
    fn observe(&self, duration: Duration) -> Result<()> {
        let end = WallTime::now() + duration;
        wait_until("the end of the observation", duration + PATIENCE, || WallTime::now() >= end)
    }

    /// Who has advertised as master since then, advert by advert.
    fn masters_since(&self, since: WallTime) -> Vec<Station> {
        self.capture.search(since, |frame| frame.claims_mastership(frame.from).then_some(frame.from))
    }
}

fn advertises(frame: &Frame, station: Station) -> bool {
    frame.from == station && frame.advert().is_some()
}

fn announces(frame: &Frame, station: Station) -> bool {
    frame.from == station && frame.gratuitous_arp(VIP).is_some()
}

fn answers(frame: &Frame, station: Station, identifier: u16) -> bool {
    frame.from == station && frame.echo().is_some_and(|echo| echo.reply && echo.identifier == identifier)
}

fn text_of(log: &[LogLine]) -> String {
    log.iter().fold(String::new(), |text, line| format!("{text}  {} {}\n", line.time, line.text))
}

fn names(stations: &[Station]) -> String {
    let mut stations = stations.to_vec();
    stations.sort_unstable();
    stations.dedup();
    if stations.is_empty() {
        return "nobody".to_owned();
    }
    stations.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

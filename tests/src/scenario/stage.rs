//! The lab of a scenario and the waits shared by all scenarios.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{BACKUP, Event, Outcome, PREFERRED, Scenario, Setup, Takeover, View};
use crate::agent::{Agent, AgentKind, Instance};
use crate::arp::{Neighbor, neighbor};
use crate::capture::Capture;
use crate::frame::Frame;
use crate::lab::Lab;
use crate::probe::Prober;
use crate::process::{LogLine, output};
use crate::protocol::{down_interval, skew_time};
use crate::station::{Station, VIP};
use crate::time::{WallTime, millis};
use crate::wait::wait_until;

/// Number of ping replies required before the first action.
const REQUIRED_REPLIES: usize = 50;
/// Minimum observation time after the first reply, to capture further gratuitous ARPs and the old
/// master's last adverts.
const OBSERVATION: Duration = Duration::from_millis(200);
/// Time added to every protocol deadline when waiting. On a busy machine, a takeover may be late;
/// the lateness is a result, not an error.
const MARGIN: Duration = Duration::from_secs(15);

/// The protocol deadline for the new master.
#[derive(Debug, Clone, Copy)]
pub(super) enum Deadline {
    /// Three intervals plus Skew_Time: the old master stopped sending adverts.
    Down,
    /// Skew_Time: the old master sent a priority-0 advert.
    Skew,
    /// No deadline: the old master still sends adverts.
    Open,
}

/// A running scenario. Fields are dropped in order: the agents before the lab they run in.
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
    /// Called with a description of each action and wait.
    watch: &'a mut dyn FnMut(&str),
}

impl<'a> Stage<'a> {
    /// Starts two agents and waits until the preferred one is master and answers the client's ping.
    pub(super) fn open(setup: &Setup, watch: &'a mut dyn FnMut(&str)) -> Result<Self> {
        watch("creating two nodes, a client and a switch, each in its own namespaces");
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
        watch(&format!("{preferred} starts; it becomes master when its master-down timer fires"));
        preferred.start()?;
        // The backup starts once there is a master, so the scenario begins without an election.
        let elected = wait_until(&format!("{preferred} to become master"), MARGIN, || {
            capture.has(start, |frame| frame.claims_mastership(PREFERRED))
        });
        elected.with_context(|| format!("log:\n{}", text_of(&preferred.log())))?;
        watch(&format!("{backup} starts and the client pings {VIP}; {preferred} must stay the only master"));
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
        let steady = stage.expect_steady_state();
        steady.with_context(|| format!("before the scenario; logs:\n{}", stage.log_text()))?;
        Ok(stage)
    }

    /// Waits until the preferred node is the only master and answers the client's ping. On a busy
    /// machine, the backup may take over briefly during startup; with preemption, the scenario then
    /// begins only after the preferred node has become master again. Without preemption, the backup
    /// remains master, which is an error.
    fn expect_steady_state(&self) -> Result<()> {
        let master = self.expect_one_master()?;
        ensure!(master == PREFERRED, "{master} has become master instead of {PREFERRED}");
        wait_until("the client's ping to be answered", MARGIN, || self.prober.answered() >= REQUIRED_REPLIES)
    }

    /// Records an action that is about to be performed, and returns its time.
    pub(super) fn note(&mut self, text: impl Into<String>) -> WallTime {
        let text = text.into();
        (self.watch)(&text);
        // Read the clock after `watch` returns, so that the duration of `watch` is not attributed
        // to the action.
        let time = WallTime::now();
        self.events.push(Event { time, text });
        time
    }

    /// Returns the client's neighbor entry for the VIP.
    pub(super) fn arp(&self) -> Result<Option<Neighbor>> {
        neighbor(self.lab.host(Station::Client)?, VIP)
    }

    /// Waits until `new` has taken over from `old`, that is, has sent an advert, announced the VIP
    /// and answered the client since `cause`. Then observes for a while and records the takeover.
    pub(super) fn expect_takeover(
        &mut self,
        cause: WallTime,
        arp_before: Option<Neighbor>,
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
        let timeout = 2 * self.down_interval(new) + MARGIN;
        self.wait_for(&format!("an advert from {new}"), timeout, cause, |frame| {
            frame.claims_mastership(new)
        })?;
        self.wait_for(&format!("a gratuitous ARP from {new}"), timeout, cause, |frame| {
            announces(frame, new)
        })?;
        let identifier = self.prober.identifier();
        self.wait_for(&format!("a reply from {new} to the client"), timeout, cause, |frame| {
            answers(frame, new, identifier)
        })?;
        (self.watch)(&format!("{new} is master and answers the client; observing"));
        self.observe(OBSERVATION.max(3 * self.setup.interval))?;

        let observed = WallTime::now();
        let arp_after = self.arp()?;
        let frames = self.capture.since(self.start);
        let first = |what: &str, wanted: &dyn Fn(&Frame) -> bool| {
            let found = frames.iter().find(|frame| frame.time >= cause && wanted(frame));
            found.map(|frame| frame.time).with_context(|| format!("{new} sent no {what} after the failure"))
        };
        let first_advert = first("advert", &|frame| frame.claims_mastership(new))?;
        let last_advert = frames
            .iter()
            .rfind(|frame| frame.time < first_advert && advertises(frame, old))
            .map(|frame| frame.time)
            .with_context(|| format!("{old} sent no advert before the takeover"))?;
        let takeover = Takeover {
            cause,
            old,
            new,
            last_advert,
            first_advert,
            first_garp: first("gratuitous ARP", &|frame| announces(frame, new))?,
            first_answer: first("ping reply", &|frame| answers(frame, new, identifier))?,
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

    /// Waits for twice the Active_Down_Interval of the [`BACKUP`] node and checks that only
    /// `master` has sent adverts since `cause`.
    pub(super) fn expect_no_takeover(&mut self, cause: WallTime, master: Station) -> Result<()> {
        (self.watch)(&format!("{master} must stay the only master"));
        self.observe(2 * self.down_interval(BACKUP))?;
        let masters = self.masters_since(cause);
        ensure!(
            !masters.is_empty() && masters.iter().all(|&station| station == master),
            "{master} must stay the only master, but adverts were sent by {}",
            names(&masters)
        );
        Ok(())
    }

    /// Waits until only one node has sent adverts during a period of twice the Active_Down_Interval
    /// of the [`BACKUP`] node, and returns that node.
    pub(super) fn expect_one_master(&self) -> Result<Station> {
        let quiet = 2 * self.down_interval(BACKUP);
        let mut since = WallTime::now();
        let mut master = None;
        wait_until("a single master", 2 * quiet + MARGIN, || {
            let masters = self.masters_since(since);
            master = masters.last().copied();
            if masters.windows(2).any(|pair| pair[0] != pair[1]) {
                since = WallTime::now();
                return false;
            }
            master.is_some() && WallTime::now() >= since + quiet
        })?;
        master.context("no adverts were sent")
    }

    /// Waits until the returning preferred node preempts the master or, without preemption, checks
    /// that this node does not preempt.
    pub(super) fn expect_preemption(&mut self, cause: WallTime, arp_before: Option<Neighbor>) -> Result<()> {
        if self.setup.preempt {
            self.expect_takeover(cause, arp_before, (BACKUP, PREFERRED), Deadline::Open)
        } else {
            self.expect_no_takeover(cause, BACKUP)
        }
    }

    /// Returns both agents' logs, merged in chronological order.
    pub(super) fn log(&self) -> Vec<(Station, LogLine)> {
        let lines = |agent: &Agent| {
            let station = agent.station();
            agent.log().into_iter().map(move |line| (station, line))
        };
        let mut log: Vec<_> = lines(&self.preferred).chain(lines(&self.backup)).collect();
        log.sort_by_key(|(_, line)| line.time);
        log
    }

    /// Returns both agents' logs, formatted for an error message.
    pub(super) fn log_text(&self) -> String {
        self.log().iter().fold(String::new(), |text, (station, line)| {
            format!("{text}  {} {station}: {}\n", line.time, line.text)
        })
    }

    /// Ends the scenario and returns its outcome. The agents are killed with the lab.
    pub(super) fn close(self, scenario: Scenario) -> Result<Outcome> {
        let log = self.log();
        let views = self.views()?;
        // Fails if the capture lost frames: the results would be invalid.
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

    /// Runs `vipd status` and `vipd stats` on the nodes that run vipd.
    fn views(&self) -> Result<Vec<View>> {
        let mut views = Vec::new();
        for agent in [&self.preferred, &self.backup] {
            if !agent.is_running() {
                continue;
            }
            for (command, verb) in [("vipd status", "status"), ("vipd stats", "stats")] {
                let AgentKind::Vipd(program) = agent.kind() else { continue };
                let mut invocation = Command::new(program);
                invocation.arg("--runtime-dir").arg(Agent::runtime_dir()).arg(verb);
                let shown = output(agent.host(), invocation)?;
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

    /// Waits for `duration` while the capture continues.
    #[expect(clippy::unused_self, reason = "called like the stage's other actions")]
    fn observe(&self, duration: Duration) -> Result<()> {
        let end = WallTime::now() + duration;
        wait_until("the end of the observation", duration + MARGIN, || WallTime::now() >= end)
    }

    /// Returns the sender of each advert at or after `since`, in order of arrival. Priority-0
    /// adverts are skipped.
    fn masters_since(&self, since: WallTime) -> Vec<Station> {
        self.capture.filter_map(since, |frame| frame.claims_mastership(frame.from).then_some(frame.from))
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
        return "no node".to_owned();
    }
    stations.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
}

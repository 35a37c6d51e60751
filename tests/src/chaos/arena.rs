//! The running nodes of an episode, and how each action is carried out on them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::action::{Action, Sent};
use super::cables::Cables;
use super::disk;
use super::judge::{Activity, Change, Mark};
use super::plan::Plan;
use super::processes::{self, Role};
use super::programs;
use super::sabotage::Tampering;
use super::scheduling::{self, Hog};
use super::segment::Segment;
use super::subject::Subject;
use crate::agent::{Agent, AgentKind};
use crate::command::{address_line, run};
use crate::configuration::vipd_configuration;
use crate::control;
use crate::lab::Lab;
use crate::station::{PREFIX, PREFIX6, Station};
use crate::time::WallTime;
use crate::wait::try_wait_until;

/// Maximum time that a killed process may take to exit, which includes passing a core dump to the
/// program in `kernel.core_pattern`, if there is one. No core files are written (`ulimit -c 0`).
const EXIT: Duration = Duration::from_secs(60);
/// Maximum time for which a CPU is kept busy.
const LONGEST_HOG: Duration = Duration::from_secs(5);
/// Maximum time that an agent may take to attach its BPF programs again.
const REATTACH: Duration = Duration::from_secs(2);
/// The line that one reload inserts into each instance and the next reload removes.
const RELOADED: &str = "garp = { refresh = \"30s\" }\n";

/// The nodes and the segment. Fields are dropped in order: the agents before the lab they run in.
#[derive(Debug)]
pub(super) struct Arena {
    agents: Vec<Agent>,
    hogs: BTreeMap<u8, Hog>,
    cables: Cables,
    segment: Segment,
    marks: Vec<Mark>,
    /// Nodes whose configuration contains [`RELOADED`].
    reloaded: Vec<u8>,
    subject: Subject,
    pub(super) lab: Lab,
}

/// Whether an action was carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Done,
    /// The action could not be carried out, for this reason.
    Skipped(String),
}

impl Arena {
    /// Creates the lab and the agents, without starting them.
    pub(super) fn open(plan: &Plan, subject: &Subject) -> Result<Self> {
        let Plan { segment, seed, .. } = plan;
        let lab = Lab::new(segment.nodes)?;
        let cables = Cables::new(&lab, *seed)?;
        let settings = subject.configuration();
        let agent = |node: u8| {
            let mut agent = Agent::new(
                &lab,
                Station::Node(node),
                subject.agent.clone(),
                &subject.instances(segment, node),
            )?;
            agent.run_below_init();
            if !settings.is_empty() {
                agent.prepend_settings(&settings)?;
            }
            anyhow::Ok(agent)
        };
        let agents = segment.nodes().map(agent).collect::<Result<_>>()?;
        Ok(Self {
            agents,
            hogs: BTreeMap::new(),
            cables,
            segment: segment.clone(),
            marks: Vec::new(),
            reloaded: Vec::new(),
            subject: subject.clone(),
            lab,
        })
    }

    /// Records a change at the current time.
    pub(super) fn mark(&mut self, change: Change) {
        self.marks.push(Mark { time: WallTime::now(), change });
    }

    /// Returns the changes since the last call.
    pub(super) fn take_marks(&mut self) -> Vec<Mark> {
        std::mem::take(&mut self.marks)
    }

    /// Checks that all agents run.
    pub(super) fn ensure_all_run(&self) -> Result<()> {
        for agent in &self.agents {
            let runs = processes::find(agent, Role::Main).is_some();
            ensure!(runs, "{agent} exited unexpectedly; its last log lines:\n{}", last_lines(agent));
        }
        Ok(())
    }

    /// Returns the last log lines of all agents.
    pub(super) fn logs(&self) -> String {
        let each: Vec<_> =
            self.agents.iter().map(|agent| format!("  {agent}:\n{}", last_lines(agent))).collect();
        each.concat()
    }

    /// Carries out an action on a node.
    pub(super) fn act(&mut self, node: u8, action: Action) -> Result<Outcome> {
        self.try_act(node, action).with_context(|| format!("node {node}: {action}; logs:\n{}", self.logs()))
    }

    fn try_act(&mut self, node: u8, action: Action) -> Result<Outcome> {
        let station = Station::Node(node);
        match action {
            Action::Signal(sent) => self.signal(node, sent)?,
            Action::KillAll => {
                // The guardian is killed along with the agent.
                let tampering = self.before_suspension(node)?;
                self.mark(Change::Process(node, Activity::Dead));
                self.agent(node)?.kill()?;
                tampering.map_or(Ok(()), Tampering::finish)?;
            }
            Action::KillGuardian => match processes::find(self.agent(node)?, Role::Guardian) {
                Some(guardian) => send(guardian, Signal::KILL)?,
                None => return Ok(Outcome::Skipped("the agent has no guardian".to_owned())),
            },
            Action::Stop => {
                let status = self.agent(node)?.stop()?;
                ensure!(status.success(), "the agent exited with {status} after SIGTERM");
                self.mark(Change::Process(node, Activity::Dead));
            }
            Action::Start => self.start(node)?,
            Action::Cut => self.lab.cut(station)?,
            Action::Reconnect => self.lab.reconnect(station)?,
            Action::Impair(impairment) => self.cables.impair(node, impairment)?,
            Action::Repair => self.cables.repair(node)?,
            Action::Part => self.cables.part(node)?,
            Action::Rejoin => self.cables.rejoin(node)?,
            Action::RemoveAddress(router) => return self.remove_address(node, router),
            Action::Detach => return self.detach(node),
            Action::FillDisk => disk::fill(self.lab.host(station)?)?,
            Action::FreeDisk => disk::free(self.lab.host(station)?)?,
            Action::Starve => self.starve(node)?,
            Action::Feed => self.feed(node)?,
            Action::Reload => self.reload(node)?,
            Action::Upgrade => return self.upgrade(node),
            Action::Drain => self.command(node, "drain", &[])?,
            Action::Undrain => self.command(node, "undrain", &[])?,
            Action::Failover => return self.failover(node),
        }
        Ok(Outcome::Done)
    }

    fn agent(&mut self, node: u8) -> Result<&mut Agent> {
        let index = usize::from(node).checked_sub(1);
        index.and_then(|index| self.agents.get_mut(index)).with_context(|| format!("there is no node {node}"))
    }

    /// Starts an agent, unless it is running.
    pub(super) fn start(&mut self, node: u8) -> Result<()> {
        if self.agent(node)?.is_running() {
            return Ok(());
        }
        self.mark(Change::Process(node, Activity::Running));
        self.agent(node)?.start()
    }

    fn signal(&mut self, node: u8, sent: Sent) -> Result<()> {
        let agent = self.agent(node)?;
        let is_fatal = matches!(sent, Sent::Kill | Sent::Abort | Sent::Segfault);
        // If only keepalived's parent process were killed, its child would shut down cleanly.
        // Therefore, all processes are signaled, with SIGKILL in place of SIGABRT and SIGSEGV.
        if !matches!(agent.kind(), AgentKind::Vipd(_)) {
            return self.signal_all(node, sent);
        }
        let main = processes::find(agent, Role::Main).context("the agent is not running")?;
        let tampering = match sent {
            Sent::Stop => self.before_suspension(node)?,
            _ if is_fatal => self.before_death(node)?,
            _ => None,
        };
        match sent {
            Sent::Stop => self.mark(Change::Process(node, Activity::Suspended)),
            _ if is_fatal => self.mark(Change::Process(node, Activity::Dead)),
            _ => {}
        }
        let signal = match sent {
            Sent::Kill => Signal::KILL,
            Sent::Abort => Signal::ABORT,
            Sent::Segfault => Signal::SEGV,
            Sent::Stop => Signal::STOP,
            Sent::Continue => Signal::CONT,
        };
        send(main, signal)?;
        match sent {
            Sent::Stop if tampering.is_some() => processes::wait_for_suspension(main)?,
            Sent::Continue => self.mark(Change::Process(node, Activity::Running)),
            _ => {}
        }
        if is_fatal {
            try_wait_until("the agent to exit", EXIT, || {
                if processes::is_alive(main) {
                    // Rust's handler for stack overflows returns from the first SIGSEGV and expects
                    // the faulting instruction to cause a second SIGSEGV. A signal sent by another
                    // process has no faulting instruction.
                    send(main, signal)?;
                }
                Ok(!processes::is_alive(main))
            })?;
            self.agent(node)?.abandon()?;
        }
        tampering.map_or(Ok(()), Tampering::finish)
    }

    fn before_suspension(&mut self, node: u8) -> Result<Option<Tampering>> {
        let Some(sabotage) = self.subject.sabotage else { return Ok(None) };
        sabotage.before_suspension(self.agent(node)?)
    }

    fn before_death(&mut self, node: u8) -> Result<Option<Tampering>> {
        let Some(sabotage) = self.subject.sabotage else { return Ok(None) };
        sabotage.before_death(self.agent(node)?)
    }

    fn signal_all(&mut self, node: u8, sent: Sent) -> Result<()> {
        match sent {
            Sent::Kill | Sent::Abort | Sent::Segfault => {
                self.mark(Change::Process(node, Activity::Dead));
                self.agent(node)?.kill()
            }
            Sent::Stop => {
                self.mark(Change::Process(node, Activity::Suspended));
                self.agent(node)?.pause()
            }
            Sent::Continue => {
                self.agent(node)?.resume()?;
                self.mark(Change::Process(node, Activity::Running));
                Ok(())
            }
        }
    }

    /// Removes a router's VIP from the first node that has it, starting with `node`.
    fn remove_address(&self, node: u8, router: usize) -> Result<Outcome> {
        let Some(router) = self.segment.routers.get(router) else {
            return Ok(Outcome::Skipped("there is no such router".to_owned()));
        };
        let order = self.segment.nodes().cycle().skip(usize::from(node.saturating_sub(1)));
        for node in order.take(usize::from(self.segment.nodes)) {
            let host = self.lab.host(Station::Node(node))?;
            let line = address_line(host, router.address)?;
            // "3: eth1    inet 192.168.122.51/24 …"
            let Some(device) = line.as_deref().and_then(|line| line.split_whitespace().nth(1)) else {
                continue;
            };
            let prefix = if router.address.is_ipv6() { PREFIX6 } else { PREFIX };
            let address = format!("{}/{prefix}", router.address);
            // The command fails if the router has just left Master and removed the address.
            return Ok(match run(host, "ip", &["address", "del", &address, "dev", device]) {
                Ok(_) => Outcome::Done,
                Err(error) => Outcome::Skipped(format!("{error:#}")),
            });
        }
        Ok(Outcome::Skipped("no node has the address".to_owned()))
    }

    fn detach(&mut self, node: u8) -> Result<Outcome> {
        let until = WallTime::now() + REATTACH + self.segment.longest_down();
        self.mark(Change::Detached { node, until });
        let detached = programs::detach_all(self.agent(node)?)?;
        ensure!(detached > 0, "the agent has no BPF links");
        Ok(Outcome::Done)
    }

    fn starve(&mut self, node: u8) -> Result<()> {
        let cpus = scheduling::cpus()?;
        let cpu = *cpus.get(usize::from(node) % cpus.len()).context("no CPU")?;
        scheduling::restrict(&self.agent(node)?.processes(), &[cpu])?;
        self.mark(Change::Process(node, Activity::Suspended));
        self.hogs.insert(node, Hog::start(cpu, LONGEST_HOG)?);
        Ok(())
    }

    fn feed(&mut self, node: u8) -> Result<()> {
        drop(self.hogs.remove(&node));
        scheduling::restrict(&self.agent(node)?.processes(), &scheduling::cpus()?)?;
        self.mark(Change::Process(node, Activity::Running));
        Ok(())
    }

    fn reload(&mut self, node: u8) -> Result<()> {
        let mut text = vipd_configuration(Station::Node(node), &self.subject.instances(&self.segment, node));
        if self.reloaded.contains(&node) {
            self.reloaded.retain(|reloaded| *reloaded != node);
        } else {
            text = text.replace("preempt = true\n", &format!("preempt = true\n{RELOADED}"));
            self.reloaded.push(node);
        }
        let text = format!("{}\n{text}", self.subject.configuration());
        let agent = self.agent(node)?;
        agent.configure(text)?;
        let changes = control::reload(agent)?;
        ensure!(!changes.is_empty(), "the reload changed nothing");
        Ok(())
    }

    /// Hands mastership over to another node for all instances of `node` in Master.
    fn failover(&mut self, node: u8) -> Result<Outcome> {
        let instances = control::status(self.agent(node)?)?;
        let masters = instances.iter().filter(|instance| instance.text("state") == "master");
        let names: Vec<_> = masters.map(|instance| instance.text("name").to_owned()).collect();
        if names.is_empty() {
            return Ok(Outcome::Skipped("the node is not master".to_owned()));
        }
        self.command(node, "failover", &names)?;
        Ok(Outcome::Done)
    }

    fn upgrade(&mut self, node: u8) -> Result<Outcome> {
        match control::change(self.agent(node)?, &json!({ "command": "upgrade" })) {
            Ok(_) => Ok(Outcome::Done),
            // On a busy machine, the agent cancels the upgrade rather than delay its adverts.
            Err(error) if format!("{error:#}").contains("did not take over within") => {
                Ok(Outcome::Skipped(format!("{error:#}")))
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a command for these instances, or for all instances if `instances` is empty.
    fn command(&mut self, node: u8, command: &str, instances: &[String]) -> Result<()> {
        let wanted = json!({ "command": command, "instances": instances });
        control::change(self.agent(node)?, &wanted).map(drop)
    }
}

fn send(process: u32, signal: Signal) -> Result<()> {
    let id = i32::try_from(process).ok().and_then(Pid::from_raw).context("not a process ID")?;
    match kill_process(id, signal) {
        // The process has just ended.
        Err(rustix::io::Errno::SRCH) => Ok(()),
        result => result.with_context(|| format!("sending {signal:?} to process {process}")),
    }
}

fn last_lines(agent: &Agent) -> String {
    let log = agent.log();
    let last = &log[log.len().saturating_sub(12)..];
    let lines: Vec<_> = last.iter().map(|line| format!("    {} {}\n", line.time, line.text)).collect();
    lines.concat()
}

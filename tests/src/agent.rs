//! VRRP agents on the nodes of a lab: vipd, keepalived and FRR.

mod kind;

use std::env;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::configuration::XdpMode;
use crate::frr;
use crate::lab::Lab;
use crate::namespace::{Namespace, SCRATCH};
use crate::process::{LogLine, Process, below_init};
use crate::station::Station;
use crate::wait::try_wait_until;
use kind::PID_FILES;

pub use crate::configuration::Instance;
pub use kind::AgentKind;

/// How long an agent may take to exit after SIGTERM. While other tests use all CPUs, changes to
/// interfaces may wait tens of seconds for the kernel's rtnl lock.
const STOP: Duration = Duration::from_secs(60);
/// How long an agent may take to start.
const START: Duration = Duration::from_secs(60);
/// Environment variable with the XDP mode (`auto`, `native` or `generic`) for every vipd whose
/// configuration does not set one. If unset, vipd's default applies.
const XDP_VARIABLE: &str = "VIPD_TEST_XDP";
/// 224.0.0.18 as it appears in `/proc/net/igmp`, on little-endian and big-endian machines.
const GROUP_IN_PROC: [&str; 2] = ["120000E0", "E0000012"];
/// ff02::12 as it appears in `/proc/net/igmp6`.
const GROUP6_IN_PROC: &str = "ff020000000000000000000000000012";

/// An agent on a node: its program, its configuration, and its process while it runs.
#[derive(Debug)]
pub struct Agent {
    kind: AgentKind,
    station: Station,
    host: Namespace,
    configuration: String,
    /// The configured instances, if the lab generated the configuration.
    instances: Vec<Instance>,
    process: Option<Process>,
    /// Whether the program runs under an init process.
    below_init: bool,
    /// Processes left by runs whose main process was killed.
    abandoned: Vec<Process>,
    /// Additional environment variables for vipd.
    environment: Vec<(String, String)>,
    /// Where standard error goes; `None` if the lab collects it.
    stderr: Option<OwnedFd>,
    /// Log lines of previous runs.
    past_log: Vec<LogLine>,
}

impl Agent {
    /// Creates an agent with a generated configuration, without starting it.
    ///
    /// # Errors
    /// Returns an error if the lab has no such node, or the program is not installed.
    pub fn new(lab: &Lab, station: Station, kind: AgentKind, instances: &[Instance]) -> Result<Self> {
        let configuration = kind.configuration(station, instances)?;
        let mut agent = Self::with_configuration(lab, station, kind, configuration)?;
        agent.instances = instances.to_vec();
        Ok(agent)
    }

    /// Creates an agent with this configuration, in the program's own syntax, without starting it.
    ///
    /// # Errors
    /// Returns an error if the lab has no such node, or the program is not installed.
    pub fn with_configuration(
        lab: &Lab,
        station: Station,
        kind: AgentKind,
        configuration: String,
    ) -> Result<Self> {
        kind.ensure_installed()?;
        let host = lab.host(station)?.clone();
        Ok(Self {
            kind,
            station,
            host,
            configuration,
            instances: Vec::new(),
            process: None,
            below_init: false,
            abandoned: Vec::new(),
            environment: Vec::new(),
            stderr: None,
            past_log: Vec::new(),
        })
    }

    /// Returns the agent's program.
    pub fn kind(&self) -> &AgentKind {
        &self.kind
    }

    /// Returns the agent's node.
    pub fn station(&self) -> Station {
        self.station
    }

    /// Returns the node's namespace.
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// Returns whether the agent was started and has not been stopped or killed since. Does not
    /// check whether the process has exited on its own; see [`Agent::is_alive`].
    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    /// Returns whether the program or, after [`Agent::run_below_init`], its init process is still
    /// running.
    ///
    /// # Errors
    /// Returns an error if the program was not started or has been stopped or killed, or if
    /// waitpid(2) fails.
    pub fn is_alive(&mut self) -> Result<bool> {
        let described = format!("{self} is not running");
        self.process.as_mut().context(described)?.is_running()
    }

    /// Returns the directory with vipd's control socket and the configuration files. Each node has
    /// its own.
    pub fn runtime_dir() -> &'static Path {
        Path::new(SCRATCH)
    }

    /// Returns the path of vipd's control socket on the node.
    pub fn control_socket() -> PathBuf {
        Self::runtime_dir().join("control.sock")
    }

    /// Rewrites the configuration file. It takes effect on the next start or reload.
    ///
    /// # Errors
    /// Returns an error if the file cannot be written.
    pub fn configure(&mut self, configuration: String) -> Result<()> {
        self.configuration = configuration;
        self.write_configuration()
    }

    /// Rewrites the configuration file with these instances. It takes effect on the next start or
    /// reload.
    ///
    /// # Errors
    /// Returns an error if the program does not support a setting, or if the file cannot be
    /// written.
    pub fn set_instances(&mut self, instances: &[Instance]) -> Result<()> {
        self.instances = instances.to_vec();
        self.configure(self.kind.configuration(self.station, instances)?)
    }

    /// Sets vipd's XDP mode on all interfaces, effective at the next start. Overrides the variable
    /// `VIPD_TEST_XDP`.
    ///
    /// # Errors
    /// Returns an error if the agent is not vipd.
    pub fn set_xdp_mode(&mut self, mode: XdpMode) -> Result<()> {
        self.set_option("xdp", &mode.to_string())
    }

    /// Sets a top-level key of vipd's configuration to a string, effective at the next start.
    ///
    /// # Errors
    /// Returns an error if the agent is not vipd.
    pub fn set_option(&mut self, key: &str, value: &str) -> Result<()> {
        ensure!(matches!(self.kind, AgentKind::Vipd(_)), "{self} has no key `{key}`");
        let prefix = format!("{key} = ");
        let other = self.configuration.lines().filter(|line| !line.starts_with(&prefix));
        // Top-level keys must precede the first table.
        let lines = [format!("{prefix}\"{value}\"")].into_iter().chain(other.map(str::to_owned));
        self.configuration = lines.map(|line| line + "\n").collect();
        Ok(())
    }

    /// Prepends top-level settings to vipd's configuration, effective at the next start.
    ///
    /// # Errors
    /// Returns an error if the agent is not vipd.
    pub fn prepend_settings(&mut self, settings: &str) -> Result<()> {
        ensure!(matches!(self.kind, AgentKind::Vipd(_)), "{self} takes no vipd settings");
        self.configuration = format!("{settings}\n{}", self.configuration);
        Ok(())
    }

    /// Sets an environment variable of vipd, effective at the next start. Has no effect on
    /// other programs.
    pub fn set_env(&mut self, name: &str, value: &str) {
        self.environment.push((name.to_owned(), value.to_owned()));
    }

    /// Makes the program run under an init process, effective at the next start. The program's main
    /// process can then be killed alone, while [`Agent::kill`] still kills all processes.
    pub fn run_below_init(&mut self) {
        self.below_init = true;
    }

    /// Redirects the program's standard error, effective at the next start. The lab then no
    /// longer collects it.
    pub fn redirect_stderr(&mut self, to: OwnedFd) {
        self.stderr = Some(to);
    }

    /// Starts the program, and waits until the node has joined the VRRP group. With unicast peers,
    /// keepalived joins no group; the wait then ends when keepalived logs that it has entered
    /// Backup. For vipd, the log line "BPF program attached" also suffices, but in both cases the
    /// control socket must accept connections.
    ///
    /// # Errors
    /// Returns an error if the agent is already running or cannot be started, and an error with the
    /// agent's log if it exits or is not ready in time.
    pub fn start(&mut self) -> Result<()> {
        ensure!(self.process.is_none(), "{self} is already running");
        self.write_configuration()?;
        self.remove_pid_files()?;
        let stderr = match &self.stderr {
            Some(stderr) => {
                Stdio::from(stderr.try_clone().context("duplicating the descriptor for standard error")?)
            }
            None => Stdio::piped(),
        };
        if self.kind == AgentKind::Frr {
            frr::prepare(&self.host, self.station, &self.instances)?;
        }
        let mut command = self.kind.command(Self::runtime_dir(), &self.configuration_path());
        if let AgentKind::Vipd(_) = self.kind {
            command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        }
        if self.below_init {
            command = below_init(&command);
        }
        self.process = Some(Process::spawn_with(&self.host, command, stderr)?);
        let host = self.host.clone();
        let is_vipd = matches!(self.kind, AgentKind::Vipd(_));
        let socket = is_vipd.then(Self::control_socket);
        let unicast = self.instances.iter().any(|instance| !instance.unicast_peers.is_empty());
        let joins_no_group = self.kind == AgentKind::Keepalived && unicast;
        let listening =
            try_wait_until(&format!("{self} to join the VRRP group or to log that it runs"), START, || {
                let process = self.process.as_mut().context("the process has been stopped")?;
                ensure!(process.is_running()?, "the process has exited");
                let has_logged =
                    |process: &Process, text| process.log().iter().any(|line| line.text.contains(text));
                if joins_no_group {
                    return Ok(has_logged(process, "Entering BACKUP STATE"));
                }
                // A configuration that was passed as text is not parsed, so it is not known here
                // whether the instances have peers.
                let is_attached = is_vipd && has_logged(process, "BPF program attached");
                let socket = socket.clone();
                let (groups, groups6, accepts) = host.run(move || {
                    let groups = fs::read_to_string("/proc/thread-self/net/igmp");
                    let groups6 = fs::read_to_string("/proc/thread-self/net/igmp6");
                    (groups, groups6, socket.is_none_or(|socket| UnixStream::connect(socket).is_ok()))
                });
                let (groups, groups6) = (groups?, groups6?);
                let joined = GROUP_IN_PROC.iter().any(|group| groups.contains(group));
                Ok(accepts && (is_attached || joined || groups6.contains(GROUP6_IN_PROC)))
            });
        listening.with_context(|| format!("{self} did not start; log:\n{}", self.log_text()))
    }

    /// Stops the program with SIGTERM and returns its exit status.
    ///
    /// # Errors
    /// Returns an error if the program is not running or does not exit in time.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        let mut process = self.take_process()?;
        let result = process.terminate(STOP);
        self.past_log.extend(process.log());
        result.with_context(|| format!("stopping {self}"))
    }

    /// Kills the program and all its child processes with SIGKILL. The VIPs stay on the interface,
    /// and the node's kernel answers ARP and ND for them until vipd's fence, if there is one, drops
    /// the packets.
    ///
    /// # Errors
    /// Returns an error if the program is not running.
    pub fn kill(&mut self) -> Result<()> {
        let mut process = self.take_process()?;
        let result = process.kill();
        self.past_log.extend(process.log());
        result.with_context(|| format!("killing {self}"))
    }

    /// Ends a run whose main process was killed, but leaves its other processes, such as a
    /// guardian, running until the agent is dropped.
    ///
    /// # Errors
    /// Returns an error if the program is not running.
    pub fn abandon(&mut self) -> Result<()> {
        let process = self.take_process()?;
        self.abandoned.push(process);
        Ok(())
    }

    /// Suspends the program and its child processes with SIGSTOP.
    ///
    /// # Errors
    /// Returns an error if the program is not running.
    pub fn pause(&self) -> Result<()> {
        self.running()?.pause()
    }

    /// Resumes the program and its child processes with SIGCONT.
    ///
    /// # Errors
    /// Returns an error if the program is not running.
    pub fn resume(&self) -> Result<()> {
        self.running()?.resume()
    }

    /// Returns the process ID of the program or, after [`Agent::run_below_init`], of its init
    /// process, as seen outside the PID namespace.
    ///
    /// # Errors
    /// Returns an error if the program is not running.
    pub fn pid(&self) -> Result<u32> {
        Ok(self.running()?.pid())
    }

    /// Returns the process IDs of the program and its child processes, without the init process.
    /// Empty if the program is not running.
    pub fn processes(&self) -> Vec<u32> {
        let Some(process) = &self.process else { return Vec::new() };
        let mut processes = process.descendants();
        if !self.below_init {
            processes.insert(0, process.pid());
        }
        processes
    }

    /// Returns the log of all runs.
    pub fn log(&self) -> Vec<LogLine> {
        let mut log = self.past_log.clone();
        log.extend(self.abandoned.iter().chain(&self.process).flat_map(Process::log));
        log.sort_by_key(|line| line.time);
        log
    }

    fn running(&self) -> Result<&Process> {
        self.process.as_ref().with_context(|| format!("{self} is not running"))
    }

    fn take_process(&mut self) -> Result<Process> {
        self.process.take().with_context(|| format!("{self} is not running"))
    }

    fn log_text(&self) -> String {
        self.log().iter().fold(String::new(), |text, line| text + "  " + &line.text + "\n")
    }

    fn configuration_path(&self) -> PathBuf {
        Self::runtime_dir().join(self.kind.configuration_file())
    }

    fn write_configuration(&self) -> Result<()> {
        let (path, mut text) = (self.configuration_path(), self.configuration.clone());
        let sets_mode = text.lines().any(|line| line.trim_start().starts_with("xdp ="));
        if let (AgentKind::Vipd(_), Ok(mode), false) = (&self.kind, env::var(XDP_VARIABLE), sets_mode) {
            text = format!("xdp = \"{mode}\"\n\n{text}");
        }
        self.host
            .run({
                let path = path.clone();
                move || fs::write(path, text)
            })
            .with_context(|| format!("writing {} on {}", path.display(), self.station))
    }

    /// Removes the PID files that a killed keepalived leaves behind. keepalived does not start if a
    /// process with the recorded ID exists, and the new keepalived itself would be that process: it
    /// has the same ID in its PID namespace on every run.
    fn remove_pid_files(&self) -> Result<()> {
        let files = PID_FILES.map(|file| Self::runtime_dir().join(file));
        self.host
            .run(|| {
                files.into_iter().try_for_each(|file| match fs::remove_file(file) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ => Ok(()),
                })
            })
            .with_context(|| format!("removing stale PID files of {self}"))
    }
}

/// Formats the program and its node: "vipd on node 1".
impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on {}", self.kind, self.station)
    }
}

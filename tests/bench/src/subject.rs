//! The programs that are measured.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use vipd_tests::agent::{Agent, AgentKind, Instance};
use vipd_tests::configuration::XdpMode;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;

/// A program under test: a column in the tables of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// This build of vipd, in its default XDP mode.
    Vipd,
    /// This build of vipd, in native XDP mode.
    Native,
    /// This build of vipd, in generic XDP mode.
    Generic,
    /// The build of vipd given with `--vipd`, in its default XDP mode.
    Other,
    Keepalived,
    /// No agent: only the system calls that do the same work.
    Kernel,
}

impl Who {
    /// Returns the key used in JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Self::Vipd => "vipd",
            Self::Native => "vipd-native",
            Self::Generic => "vipd-generic",
            Self::Other => "other-vipd",
            Self::Keepalived => "keepalived",
            Self::Kernel => "kernel",
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vipd => "vipd",
            Self::Native => "vipd, native XDP",
            Self::Generic => "vipd, generic XDP",
            Self::Other => "other build of vipd",
            Self::Keepalived => "keepalived",
            Self::Kernel => "kernel",
        })
    }
}

/// The programs of one run of the benchmark.
#[derive(Debug)]
pub(crate) struct Programs {
    /// This build of vipd.
    vipd: PathBuf,
    /// The build of vipd to compare this build with; `None` to compare with keepalived.
    other: Option<PathBuf>,
    /// Whether `vipd` supports the configuration key `xdp`.
    modes: bool,
}

impl Programs {
    /// Creates the set of programs, and checks whether `vipd` supports XDP modes.
    ///
    /// # Errors
    /// Returns an error if `vipd` cannot be started, or if a temporary configuration for it cannot
    /// be written.
    pub(crate) fn new(vipd: PathBuf, other: Option<PathBuf>) -> Result<Self> {
        let modes = accepts_xdp_key(&vipd)?;
        Ok(Self { vipd, other, modes })
    }

    /// Returns the program of a column, or `None` if this run has no such column.
    pub(crate) fn subject(&self, who: Who) -> Option<Subject> {
        let vipd = |xdp| Some(Subject { kind: AgentKind::Vipd(self.vipd.clone()), xdp });
        match who {
            Who::Vipd | Who::Kernel => vipd(None),
            Who::Native => vipd(Some(XdpMode::Native)).filter(|_| self.modes),
            Who::Generic => vipd(Some(XdpMode::Generic)).filter(|_| self.modes),
            Who::Other => self.other.clone().map(|path| Subject { kind: AgentKind::Vipd(path), xdp: None }),
            Who::Keepalived => {
                self.other.is_none().then_some(Subject { kind: AgentKind::Keepalived, xdp: None })
            }
        }
    }
}

/// A program and its XDP mode.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    pub(crate) kind: AgentKind,
    /// vipd's XDP mode; `None` omits the key `xdp` from the configuration, unless the environment
    /// variable `VIPD_TEST_XDP` sets it.
    xdp: Option<XdpMode>,
}

impl Subject {
    /// Creates an agent that runs this program, without starting it.
    ///
    /// # Errors
    /// See [`Agent::new`].
    pub(crate) fn agent(&self, lab: &Lab, station: Station, instances: &[Instance]) -> Result<Agent> {
        self.in_mode(Agent::new(lab, station, self.kind.clone(), instances)?)
    }

    /// Creates an agent that runs this program with a complete configuration, without starting it.
    ///
    /// # Errors
    /// See [`Agent::with_configuration`].
    pub(crate) fn with_configuration(&self, lab: &Lab, station: Station, text: String) -> Result<Agent> {
        self.in_mode(Agent::with_configuration(lab, station, self.kind.clone(), text)?)
    }

    fn in_mode(&self, mut agent: Agent) -> Result<Agent> {
        if let Some(mode) = self.xdp {
            agent.set_xdp_mode(mode)?;
        }
        Ok(agent)
    }
}

/// Returns whether this build of vipd accepts the configuration key `xdp`. Earlier versions reject
/// it.
fn accepts_xdp_key(vipd: &Path) -> Result<bool> {
    let file = std::env::temp_dir().join(format!("vipd-bench-{}.toml", std::process::id()));
    let instance = "[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1/24\"]\n";
    fs::write(&file, format!("xdp = \"generic\"\n\n{instance}"))
        .with_context(|| file.display().to_string())?;
    let output = Command::new(vipd).args(["check", "-c"]).arg(&file).output();
    let _ = fs::remove_file(&file);
    let output = output.with_context(|| format!("cannot start {}", vipd.display()))?;
    Ok(output.status.success())
}

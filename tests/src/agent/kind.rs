//! The programs that run as agents: how each is configured and started.

use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail, ensure};

use crate::configuration::{Instance, frr_configuration, keepalived_configuration, vipd_configuration};
use crate::frr;
use crate::station::Station;

/// PID files of keepalived's parent process and VRRP process.
pub(super) const PID_FILES: [&str; 2] = ["keepalived.pid", "vrrp.pid"];

/// A VRRP implementation to run as an agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AgentKind {
    /// The vipd executable at this path.
    Vipd(PathBuf),
    /// keepalived, found on the PATH.
    Keepalived,
    /// FRR's zebra and vrrpd, at the paths where Debian installs them.
    Frr,
}

impl AgentKind {
    /// Returns the contents of the program's configuration file.
    pub(super) fn configuration(&self, station: Station, instances: &[Instance]) -> Result<String> {
        match self {
            Self::Vipd(_) => Ok(vipd_configuration(station, instances)),
            Self::Keepalived => keepalived_configuration(station, instances),
            Self::Frr => frr_configuration(instances),
        }
    }

    /// Returns the name of the program's configuration file.
    pub(super) fn configuration_file(&self) -> &'static str {
        match self {
            Self::Vipd(_) => "vipd.toml",
            Self::Keepalived => "keepalived.conf",
            Self::Frr => "frr.conf",
        }
    }

    /// Checks that the program is installed.
    pub(super) fn ensure_installed(&self) -> Result<()> {
        match self {
            Self::Vipd(program) => ensure!(
                program.is_file(),
                "{} is not a file; build vipd with `cargo build -p vipd`",
                program.display()
            ),
            Self::Keepalived => ensure_on_path("keepalived", "keepalived")?,
            Self::Frr => ensure!(
                frr::is_installed(),
                "FRR's zebra and vrrpd are not installed (Debian, Ubuntu: `apt-get install frr`)"
            ),
        }
        Ok(())
    }

    /// Returns the command line that runs the program in the foreground.
    pub(super) fn command(&self, runtime_dir: &Path, configuration: &Path) -> Command {
        match self {
            Self::Vipd(program) => {
                let mut command = Command::new(program);
                command.args(["run", "--runtime-dir"]).arg(runtime_dir);
                command.arg("-c").arg(configuration);
                command
            }
            Self::Keepalived => {
                let mut command = Command::new("keepalived");
                command.args(["--vrrp", "--dont-fork", "--log-console", "--use-file"]);
                command.arg(configuration);
                let [parent, vrrp] = PID_FILES;
                command.arg("--pid").arg(runtime_dir.join(parent));
                command.arg("--vrrp_pid").arg(runtime_dir.join(vrrp));
                command
            }
            Self::Frr => frr::command(runtime_dir, configuration),
        }
    }
}

impl fmt::Display for AgentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vipd(_) => "vipd",
            Self::Keepalived => "keepalived",
            Self::Frr => "FRR",
        })
    }
}

fn ensure_on_path(program: &str, package: &str) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    if !env::split_paths(&path).any(|directory| directory.join(program).is_file()) {
        bail!("{program} is not on the PATH; install it (Debian, Ubuntu: `apt-get install {package}`)");
    }
    Ok(())
}

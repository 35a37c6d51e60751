//! `cargo xtask run`: demonstrates a failover in a private lab or runs vipd on this machine.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use anstyle::Style;
use anyhow::{Context, Result, anyhow};
use vipd_tests::agent::AgentKind;
use vipd_tests::report;
use vipd_tests::scenario::{PREFERRED, Scenario, Setup};

use crate::support::process::{self, program};
use crate::support::{agent, privilege};

const HEADING: Style = Style::new().bold();
/// Advertisement interval: the usual value in production, so that failover times are realistic.
const INTERVAL: Duration = Duration::from_secs(1);

const TOPOLOGY: &str = "   node 1   192.168.122.11    vipd, priority 200 ─┐
   node 2   192.168.122.12    vipd, priority 100 ─┼─ switch
   client   192.168.122.100   ping ───────────────┘
            192.168.122.50    the VIP, on the master
";

/// Demonstrate a failover in a private lab or run vipd on this machine; needs root
///
/// Builds vipd, runs it on two nodes of a lab made of network namespaces, kills the master with
/// SIGKILL, restarts it, and prints a timeline, logs and status. This takes half a minute and does
/// not change the host's interfaces. With arguments after `--`, runs vipd on this machine instead.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask run                       two nodes and a client; the master is killed and restarted
  cargo xtask run -- -c vipd.toml       vipd on this machine, with this configuration")]
pub(crate) struct Args {
    /// Arguments for `vipd run` on this machine: `-- -c FILE`
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Runs `cargo xtask run`.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !args.arguments.is_empty() {
        privilege::require("vipd", "cargo xtask run -- -c FILE")?;
        return run_here(agent::build("run")?, &args.arguments);
    }
    privilege::require("the lab", "cargo xtask run")?;
    let vipd = AgentKind::Vipd(agent::build("run")?);
    show(&Setup { interval: INTERVAL, ..Setup::new(vipd.clone(), vipd) })
}

/// Replaces this process with the agent, so that the agent receives the signals and sets the exit
/// status.
fn run_here(vipd: PathBuf, arguments: &[OsString]) -> Result<()> {
    let mut command = program(vipd);
    let error = command.arg("run").args(arguments).exec();
    Err(anyhow!(error).context(format!("cannot execute {}", process::line(&command))))
}

fn show(setup: &Setup) -> Result<()> {
    let mut out = anstream::stdout();
    writeln!(out, "\n{HEADING}A private lab{HEADING:#}\n\n{TOPOLOGY}").context(STDOUT)?;
    // This scenario includes a crash and a restart.
    let outcome = Scenario::Return.play_with_progress(setup, &mut process::clocked("run"))?;

    writeln!(out).context(STDOUT)?;
    report::write(&outcome, &mut out).context(STDOUT)?;
    writeln!(out).context(STDOUT)?;
    let views: Vec<_> = outcome.views.into_iter().filter(|view| view.station == PREFERRED).collect();
    report::write_views(&views, &mut out).context(STDOUT)?;
    writeln!(
        out,
        "{HEADING}Notes{HEADING:#}\n\
         \x20 After a crash the kernel of the old master still answers for the VIP, so the client has hardly\n\
         \x20 any outage. A cut cable causes an outage: `cargo xtask lab cut --interval 10ms`; see also\n\
         \x20 `cargo xtask lab --help`. The lab's network namespaces are removed; this machine's interfaces\n\
         \x20 were not changed. To run vipd on this machine: `cargo xtask run -- -c FILE`."
    )
    .context(STDOUT)
}

const STDOUT: &str = "cannot write to standard output";

#[cfg(test)]
mod tests {
    use clap::Parser;
    use vipd_tests::station::{Station, VIP};

    use super::{Args, TOPOLOGY};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn arguments_after_double_dash_are_passed_to_vipd() {
        let parse = |words: &[&str]| Line::try_parse_from([&["run"], words].concat());
        assert!(parse(&[]).expect("no arguments select the demonstration").args.arguments.is_empty());
        let real = parse(&["--", "-c", "vipd.toml", "--runtime-dir", "d"]).expect("arguments for vipd");
        assert_eq!(real.args.arguments, ["-c", "vipd.toml", "--runtime-dir", "d"]);
        assert!(parse(&["-c", "vipd.toml"]).is_err(), "running vipd on the host requires `--`");
    }

    #[test]
    fn topology_shows_the_addresses_of_the_lab() {
        for address in [Station::Node(1).ipv4(), Station::Node(2).ipv4(), Station::Client.ipv4(), VIP] {
            assert!(TOPOLOGY.contains(&format!(" {address} ")), "{address}");
        }
    }
}

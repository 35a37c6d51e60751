//! `cargo xtask run`: shows vipd at work in a private lab, or runs it on this machine.

use std::ffi::OsString;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use anstyle::Style;
use anyhow::{Context, Result, anyhow};
use vipd_tests::agent::AgentKind;
use vipd_tests::scenario::{PREFERRED, Scenario, Setup};
use vipd_tests::story;

use crate::support::process::{self, program};
use crate::support::{agent, privilege};

const HEADING: Style = Style::new().bold();
/// The interval most installations have, so that the waits are those of real life.
const INTERVAL: Duration = Duration::from_secs(1);

const TOPOLOGY: &str = "   node 1   192.168.122.11    vipd, priority 200 ─┐
   node 2   192.168.122.12    vipd, priority 100 ─┼─ switch
   client   192.168.122.100   ping ───────────────┘
            192.168.122.50    the virtual address: on whichever node is master
";

/// See vipd fail over, on this machine and without touching it; needs root
///
/// Builds vipd and runs it on two nodes of a private lab of network namespaces. Kills the master with SIGKILL, starts
/// it again, and shows what an operator would want to see. Takes half a minute; the host's own interfaces are not
/// touched. With arguments behind `--` it runs vipd on this machine instead.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask run                       two nodes, a client, a killed master and its return
  cargo xtask run -- -c vipd.toml       the agent on this machine, with this configuration")]
pub(crate) struct Args {
    /// Run vipd on this machine with these arguments of `vipd run`: `-- -c FILE`
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<OsString>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    if !args.arguments.is_empty() {
        privilege::require("vipd", "cargo xtask run -- -c FILE")?;
        return run_here(agent::build("run")?, &args.arguments);
    }
    privilege::require("the lab", "cargo xtask run")?;
    let vipd = AgentKind::Vipd(agent::build("run")?);
    show(&Setup { interval: INTERVAL, ..Setup::new(vipd.clone(), vipd) })
}

/// Becomes the agent: it gets the terminal's signals and its exit status is this verb's.
fn run_here(vipd: PathBuf, arguments: &[OsString]) -> Result<()> {
    let mut command = program(vipd);
    let error = command.arg("run").args(arguments).exec();
    Err(anyhow!(error).context(format!("cannot execute {}", process::line(&command))))
}

fn show(setup: &Setup) -> Result<()> {
    let mut out = anstream::stdout();
    writeln!(out, "\n{HEADING}A private lab{HEADING:#}\n\n{TOPOLOGY}").context(STDOUT)?;
    // The return begins with the crash: both cases in one lab.
    let outcome = Scenario::Return.play_watched(setup, &mut process::clocked("run"))?;

    writeln!(out).context(STDOUT)?;
    story::tell(&outcome, &mut out).context(STDOUT)?;
    writeln!(out).context(STDOUT)?;
    let views: Vec<_> = outcome.views.into_iter().filter(|view| view.station == PREFERRED).collect();
    story::show(&views, &mut out).context(STDOUT)?;
    writeln!(
        out,
        "{HEADING}What this was{HEADING:#}\n\
         \x20 A killed agent's kernel goes on answering for the address, so the client notices little. What it\n\
         \x20 notices is a cut cable: `cargo xtask lab cut --interval 10ms`, and `cargo xtask lab --help` has more.\n\
         \x20 All of it ran in network namespaces that are gone now; this machine's interfaces were not touched.\n\
         \x20 On this machine itself: `cargo xtask run -- -c FILE`."
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
    fn what_stands_behind_the_dashes_is_the_agents() {
        let parse = |words: &[&str]| Line::try_parse_from([&["run"], words].concat());
        assert!(parse(&[]).expect("no arguments are a demonstration").args.arguments.is_empty());
        let real = parse(&["--", "-c", "vipd.toml", "--runtime-dir", "d"]).expect("arguments for the agent");
        assert_eq!(real.args.arguments, ["-c", "vipd.toml", "--runtime-dir", "d"]);
        assert!(parse(&["-c", "vipd.toml"]).is_err(), "nobody runs an agent on the host by accident");
    }

    #[test]
    fn the_drawing_is_of_the_lab() {
        for address in [Station::Node(1).ipv4(), Station::Node(2).ipv4(), Station::Client.ipv4(), VIP] {
            assert!(TOPOLOGY.contains(&format!(" {address} ")), "{address}");
        }
    }
}

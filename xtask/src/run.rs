//! `cargo xtask run`: shows vipd at work in a private lab, or runs it on this node.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args as Arguments;
use vipd_tests::agent::AgentKind;
use vipd_tests::scenario::{Scenario, Setup};
use vipd_tests::story;

use crate::lab;
use crate::support::process::line;
use crate::support::{agent, privilege};

const TOPOLOGY: &str = "
  Two nodes share 192.168.122.50; a client pings it each millisecond. All three live in network
  namespaces of this process; the host's own interfaces are not touched.

      node 1, vipd, priority 200 ──┐
      192.168.122.11               │
                                bridge ── client 192.168.122.100
      node 2, vipd, priority 100   │
      192.168.122.12 ──────────────┘

  Case A: kill -9 of the master; node 2 takes the address over.
  Case B: node 1 is started again, and has it back.
";

/// Show a failover in a private lab, or run the agent on this node; needs root
///
/// Without arguments: two vipd nodes and a client in network namespaces; the master is killed with SIGKILL and comes
/// back. With arguments after `--`: `vipd run` with these arguments, on this node.
#[derive(Arguments)]
pub(crate) struct Args {
    /// Passed on to `vipd run`, such as `-c FILE`
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    privilege::require("cargo xtask run")?;
    let vipd = agent::build("run")?;
    if !args.arguments.is_empty() {
        let mut command = Command::new(&vipd);
        command.arg("run").args(&args.arguments);
        // Only returns if it could not be started.
        return Err(command.exec()).with_context(|| format!("cannot start {}", line(&command)));
    }

    println!("{TOPOLOGY}");
    let kind = || AgentKind::Vipd(vipd.clone());
    let setup = Setup { interval: Duration::from_secs(1), ..Setup::new(kind(), kind()) };
    let outcome = lab::play(Scenario::Return, &setup)?;
    story::show(&outcome.views, &mut anstream::stdout())?;
    println!("The lab is gone, and nothing of it was on this host. On a node of yours:");
    println!("  cargo xtask run -- -c FILE        (an example is in examples/vipd.toml)");
    println!("Other failures, and keepalived on either side:");
    println!("  cargo xtask lab --help");
    Ok(())
}

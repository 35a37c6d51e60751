//! Runs a lab with two agents until killed; used to test that no agent outlives the process that
//! created its lab. Prints the agents' process IDs on one line.

use std::thread;

use anyhow::Result;
use vipd_tests::agent::{Agent, AgentKind, Instance};
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;

fn main() -> Result<()> {
    let lab = Lab::new(2)?;
    let agent =
        |number| Agent::new(&lab, Station::Node(number), AgentKind::Keepalived, &[Instance::default()]);
    let (mut running, mut frozen) = (agent(1)?, agent(2)?);
    running.start()?;
    frozen.start()?;
    // The harder case: a stopped process reacts only to SIGKILL and SIGCONT.
    frozen.pause()?;
    println!("{} {}", running.pid()?, frozen.pid()?);
    loop {
        thread::park();
    }
}

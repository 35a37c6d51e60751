//! Keeps a lab with two running agents until it is killed, for a test that nothing of the lab
//! survives. Prints one line with the agents' process ids.

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
    // A stopped process handles no signal except SIGKILL and SIGCONT.
    frozen.pause()?;
    println!("{} {}", running.pid()?, frozen.pid()?);
    loop {
        thread::park();
    }
}

//! Holds a lab with two running agents until it is killed. What a test kills, to see that nothing of
//! the lab survives: first a line with the agents' process ids, then nothing more.

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
    // The hard case: a stopped process does not act on any signal but one.
    frozen.pause()?;
    println!("{} {}", running.id()?, frozen.id()?);
    loop {
        thread::park();
    }
}

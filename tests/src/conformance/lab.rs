//! Plays a scenario with a real program. The router under test is node 2 of a lab. The scenario's
//! adverts are injected from nodes 1 and 3, and the client resolves and pings the VIPs.

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::stage::{self, Started, Subject, Wire, mismatch};
use super::syntax::RouterSpec;
use super::{Program, Scenario, native};
use crate::agent::{Agent, AgentKind};
use crate::control;
use crate::inject::Injector;
use crate::lab::Lab;
use crate::station::Station;
use crate::time::WallTime;
use crate::wait::try_wait_until;

/// Time from joining the group until a program is ready to receive adverts. FRR needs half a second
/// for IPv6.
const SETTLE: Duration = Duration::from_millis(500);

/// Plays a scenario to its end. `vipd` is the vipd executable to test.
///
/// # Errors
/// Returns an error for the first step that does not match, with its line ([`stage::At`]) and
/// [`stage::Mismatch`]. An error without [`stage::Mismatch`] means that the lab failed or the
/// program exited.
pub fn play(scenario: &Scenario, program: Program, vipd: &AgentKind) -> Result<()> {
    let lab = Lab::new(3)?;
    let wire = Wire {
        capture: lab.capture()?,
        lower: Injector::open(lab.host(Station::Node(1))?)?,
        higher: Injector::open(lab.host(Station::Node(3))?)?,
        client: Injector::open(lab.host(Station::Client)?)?,
    };
    let mut routers: Vec<_> = scenario.routers().cloned().collect();
    for router in &mut routers {
        // FRR has no other mode.
        router.virtual_mac |= program == Program::Frr;
    }
    let mut node = Node { program, agent: native::agent(&lab, scenario, program, vipd)? };
    let result = stage::play(scenario, routers, wire, &mut node);
    // An exited program must not be mistaken for a silent one.
    if node.agent.is_running() && !node.agent.is_alive()? {
        match result {
            Ok(()) => bail!("{program} exited during the scenario"),
            Err(error) => bail!("{program} exited during the scenario: {error:#}"),
        }
    }
    result
}

/// Node 2, which runs the program.
struct Node {
    program: Program,
    agent: Agent,
}

impl Node {
    /// Waits until the status of vipd shows that it is ready to receive adverts. For the other
    /// programs, waits for [`SETTLE`], which is shorter than the three intervals after which a
    /// backup sends its first advert.
    fn settle(&self) -> Result<()> {
        if self.program == Program::Vipd {
            let timeout = Duration::from_secs(5);
            return control::wait_for(&self.agent, "its startup", timeout, |status| {
                !["initialize", "fault"].contains(&status.text("state"))
            })
            .map(drop);
        }
        thread::sleep(SETTLE);
        Ok(())
    }
}

impl Subject for Node {
    fn start(&mut self, _wire: &Wire, _router: &RouterSpec) -> Result<Started> {
        // The program may send frames before the lab detects that it is ready.
        let cursor = WallTime::now();
        self.agent.start()?;
        self.settle()?;
        Ok(Started { cursor, mark: WallTime::now() })
    }

    fn stop(&mut self) -> Result<()> {
        self.agent.stop().map(drop)
    }

    fn counter(&self, name: &str, wanted: u64) -> Result<()> {
        if self.program != Program::Vipd {
            return Ok(());
        }
        let mut last = None;
        let counted = try_wait_until(&format!("{name} to be {wanted}"), Duration::from_secs(2), || {
            let (global, instances) = control::stats(&self.agent)?;
            let of_instance = || instances.first().context("no instance")?.number(name);
            last = Some(global.number(name).or_else(|_| of_instance())?);
            Ok(last == Some(wanted))
        });
        match (counted, last) {
            (Err(error), Some(last)) => mismatch!("{error}; it is {last}"),
            (counted, _) => counted,
        }
    }
}

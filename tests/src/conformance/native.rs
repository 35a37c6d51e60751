//! Configures the router under test in the program's own syntax.

use anyhow::{Result, bail, ensure};

use super::received::UNDER_TEST;
use super::syntax::RouterSpec;
use super::{Program, Scenario};
use crate::agent::{Agent, AgentKind, Instance};
use crate::configuration::{Family, vipd_configuration};
use crate::lab::Lab;
use crate::station::Station;

/// Creates the agent for a scenario, without starting it. `vipd` is the vipd executable to test.
pub(super) fn agent(lab: &Lab, scenario: &Scenario, program: Program, vipd: &AgentKind) -> Result<Agent> {
    let instances: Vec<_> = scenario.routers().map(instance).collect();
    let kind = match program {
        Program::Vipd => vipd.clone(),
        Program::Keepalived => AgentKind::Keepalived,
        Program::Frr => AgentKind::Frr,
        Program::Device => bail!("a device does not run in a lab"),
    };
    if program == Program::Vipd && !scenario.vipd_lines.is_empty() {
        let mut text = vipd_configuration(UNDER_TEST, &instances).trim_end().to_owned();
        for line in &scenario.vipd_lines {
            text.push('\n');
            text.push_str(line);
        }
        text.push('\n');
        return Agent::with_configuration(lab, UNDER_TEST, kind, text);
    }
    ensure!(
        scenario.vipd_lines.is_empty(),
        "the scenario has vipd configuration lines; add `* {program}: unsupported: …` with the reason"
    );
    Agent::new(lab, UNDER_TEST, kind, &instances)
}

fn instance(words: &RouterSpec) -> Instance {
    let family = match words.family {
        Family::V4 => "V4",
        Family::V6 => "V6",
    };
    let peers = [Station::Node(1), Station::Node(3)];
    Instance {
        name: family.to_owned(),
        vrid: words.vrid,
        version: words.version,
        priority: words.priority,
        interval: words.interval,
        preempt: words.preempt.unwrap_or(true),
        addresses: words.virtual_addresses(),
        unicast_peers: if words.unicast { peers.map(|peer| peer.ipv4().into()).to_vec() } else { Vec::new() },
        min_ttl: None,
        virtual_mac: words.virtual_mac,
        password: words.password.clone(),
        hmac: words.hmac.clone(),
        notify: None,
        check: None,
    }
}

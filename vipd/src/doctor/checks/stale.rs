//! Checks for objects of agents that did not end cleanly.

use super::host::HOST;
use super::list;
use crate::doctor::{Facts, Finding};
use crate::netlink::PROTO_VIPD;

/// VIPs, routes and rules do not contain the name of their agent, so any running agent of this
/// network namespace may own them.
pub(in crate::doctor) fn no_address_is_stale(facts: &Facts) -> Vec<Finding> {
    if !facts.host.agents.is_empty() {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for interface in facts.interfaces.values() {
        let vips = interface.addresses.iter().filter(|address| address.protocol == PROTO_VIPD);
        let vips: Vec<String> = vips.map(|vip| format!("{}/{}", vip.address, vip.prefix)).collect();
        if !vips.is_empty() {
            findings.push(
                Finding::problem(
                    "stale-addresses",
                    &interface.link.name,
                    "VIPs of a dead agent are still on the interface",
                )
                .evidence(format!("{} with vipd's mark (proto 0x76), and no agent runs", list(vips)))
                .remedy("start the agent again, or run `vipd cleanup`"),
            );
        }
    }
    match &facts.host.routing {
        Err(error) => findings.push(not_checked("routes and policy rules", error)),
        Ok(routing) if routing.is_empty() => {}
        Ok(routing) => findings.push(
            Finding::problem("stale-routes", HOST, "routes or rules of a dead agent are still in the tables")
                .evidence(format!("{} with vipd's mark (proto 0x76), and no agent runs", list(routing)))
                .remedy("start the agent again, or run `vipd cleanup`"),
        ),
    }
    findings
}

pub(in crate::doctor) fn no_program_is_stale(facts: &Facts) -> Vec<Finding> {
    let pinned: Vec<Finding> = match &facts.host.dead_agents {
        Err(error) => vec![not_checked("BPF programs", error)],
        Ok(dead_agents) => dead_agents.iter().map(|agent| pinned_programs(agent)).collect(),
    };
    let hidden = match &facts.host.hidden_programs {
        Err(error) => {
            let summary = "BPF programs that dead agents have pinned in other mount namespaces could not be searched for";
            let finding = Finding::note("not-checked", HOST, summary);
            vec![finding.evidence(error).remedy("run this command as root, outside a sandbox or container")]
        }
        Ok(hidden) => hidden.iter().map(|(agent, interfaces)| hidden_programs(agent, interfaces)).collect(),
    };
    [pinned, hidden].concat()
}

fn pinned_programs(agent: &str) -> Finding {
    Finding::warning("stale-programs", HOST, "BPF programs of a dead agent are still attached")
        .evidence(format!("pins of the agent with the runtime directory {agent}"))
        .remedy(remedy(agent))
}

fn hidden_programs(agent: &str, interfaces: &[String]) -> Finding {
    let summary = "BPF programs of a dead agent are still attached, and may drop packets to and from VIPs";
    Finding::problem("stale-programs", HOST, summary)
        .evidence(format!(
            "programs on {} of the agent with the runtime directory {agent}, not pinned in /sys/fs/bpf/vipd",
            list(interfaces)
        ))
        .remedy("stop all agents of this network namespace, and run `vipd cleanup` as root")
}

pub(in crate::doctor) fn no_macvlan_is_stale(facts: &Facts) -> Vec<Finding> {
    let links = facts.interfaces.values().map(|interface| &interface.link);
    let stale = links.filter_map(|link| {
        let agent = link.owner.as_ref().filter(|owner| !facts.host.agents.contains(*owner))?;
        let state = if link.is_up { "up, and may answer for VIPs" } else { "down" };
        Some(
            Finding::warning("stale-macvlans", &link.name, "the macvlan of a dead agent still exists")
                .evidence(format!("the alias names the runtime directory {agent}; the macvlan is {state}"))
                .remedy(remedy(agent)),
        )
    });
    stale.collect()
}

fn not_checked(what: &str, error: &str) -> Finding {
    Finding::warning("not-checked", HOST, format!("{what} of dead agents could not be searched for"))
        .evidence(error)
        .remedy("run this command as root, outside a sandbox or container")
}

fn remedy(agent: &str) -> String {
    format!("start that agent again, or run `vipd --runtime-dir {agent} cleanup`")
}

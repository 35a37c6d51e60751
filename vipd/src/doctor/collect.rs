//! Reads the facts from the kernel, the agent and the segments.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::daemons::vrrp_daemons;
use super::facts::{Agent, Clock, Facts, Host, Interface, Running, Wire};
use super::process::Process;
use crate::config::settings::Transport;
use crate::config::{Config, Instance};
use crate::control::client::{Client, ClientError};
use crate::netlink::{Address, Notice, PROTO_VIPD, Requests, sysctl};
use crate::observe::{Listener, Survey};
use crate::packet::Members;
use crate::process::{ClockState, agents_here, another_agent_runs, possible_agents, wall_clock_offset};
use crate::service::{self, interface_name};
use crate::vrrp::config::Family;
use crate::xdp::{Pins, native_cost, removes_vlan_tags};

/// Bounds of the duration of the observation, unless `--seconds` is given.
const SHORTEST: Duration = Duration::from_secs(4);
const LONGEST: Duration = Duration::from_secs(60);
/// Pause between two requests for the MAC of an address.
const SOLICIT: Duration = Duration::from_millis(300);
/// Number of requests in a burst, and the pause after each burst: hosts with thousands of VIPs must
/// not flood the segment.
const BURST: usize = 32;
const PAUSE: Duration = Duration::from_millis(20);

/// Collects the facts. `config` was read from `path`. Observes the VRRP interfaces for `duration`,
/// by default for 3.6 times the longest advert interval, at least `SHORTEST` and at most
/// `LONGEST`.
///
/// # Errors
/// Returns an error if the interfaces of this host cannot be read, or the observation fails or is
/// interrupted.
pub(crate) fn collect(
    path: &Path,
    config: Result<Config, Vec<String>>,
    runtime_dir: &Path,
    duration: Option<Duration>,
) -> anyhow::Result<Facts> {
    let client = Client::new(runtime_dir);
    let before = client.stats();
    let instances = config.as_ref().map(|config| config.instances.as_slice()).unwrap_or_default();
    let interfaces = interfaces().context("cannot read the interfaces of this host")?;
    let duration = duration.unwrap_or_else(|| {
        let longest =
            instances.iter().map(|instance| instance.router.interval.nanos()).max().unwrap_or_default();
        Duration::from_nanos(longest).mul_f64(3.6).clamp(SHORTEST, LONGEST)
    });
    let mut targets: BTreeMap<&str, Targets> = BTreeMap::new();
    for instance in instances {
        let targets = targets.entry(&instance.interface).or_default();
        targets.watched.extend(addresses(instance));
        let Some(interface) = interfaces.get(&instance.interface) else { continue };
        targets.watched.extend(interface.addresses.iter().map(|own| own.address));
        targets.solicitations.extend(solicitations(instance, interface));
    }
    let (start, offset) = (Instant::now(), wall_clock_offset());
    let wire = observe(&targets, duration)?;
    let clock = Clock {
        state: ClockState::read().map_err(|error| error.to_string()),
        step: wall_clock_offset().saturating_sub(offset),
        duration: start.elapsed(),
    };
    Ok(Facts {
        host: host(clock),
        path: path.display().to_string(),
        agent: agent(&client, before),
        config,
        interfaces,
        wire,
    })
}

fn host(clock: Clock) -> Host {
    let agents = agents_here();
    let is_dead = |name: &String| !another_agent_runs(name, None) && !agents.contains(name);
    let dead_agents = Pins::owners_other_than("")
        .map(|owners| owners.into_iter().filter(is_dead).collect())
        .map_err(|error| format!("cannot list the pins of BPF programs: {error}"));
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Host {
        kernel: release.trim().to_owned(),
        obstacle: service::check_privileges().err().map(|error| error.to_string()),
        daemons: vrrp_daemons(),
        dead_agents,
        hidden_programs: hidden_programs(),
        agents,
        routing: routing().map_err(|error| format!("cannot read the routes and rules: {error}")),
        clock,
    }
}

/// Returns the name and the interfaces of each dead agent with attached BPF programs whose pins
/// this process cannot see.
fn hidden_programs() -> Result<Vec<(String, Vec<String>)>, String> {
    let found =
        service::hidden_programs().map_err(|error| format!("cannot list the BPF programs: {error}"))?;
    let running = possible_agents();
    let dead = found.into_iter().filter(|(agent, _)| !running.contains(agent));
    let interfaces = |ifindices: BTreeSet<u32>| ifindices.into_iter().map(interface_name).collect();
    Ok(dead.map(|(agent, programs)| (agent, interfaces(programs.interfaces()))).collect())
}

/// Returns the routes and policy rules with vipd's mark.
fn routing() -> io::Result<Vec<String>> {
    let mut found = BTreeSet::new();
    Requests::open()?.dump_routing(|entry| {
        found.insert(entry.to_string());
    })?;
    Ok(found.into_iter().collect())
}

fn agent(client: &Client, before: Result<crate::control::model::StatsReport, ClientError>) -> Agent {
    let reports = before.and_then(|before| Ok((before, client.stats()?, client.status()?)));
    match reports {
        Ok((before, after, status)) => {
            let process = process(client);
            Agent::Running(Box::new(Running { status, before, after, process }))
        }
        Err(error @ ClientError::NoAgent(_)) => Agent::NotRunning(error.to_string()),
        Err(error @ ClientError::Timeout(_)) => Agent::Silent(error.to_string(), process(client)),
        Err(error) => Agent::NotQueried(error.to_string()),
    }
}

/// Returns the agent's process; `None` if it is not visible, or was replaced by `vipd upgrade`.
fn process(client: &Client) -> Option<Process> {
    client.agent_process().map(Process::read).filter(|process| process.state.is_some())
}

fn interfaces() -> anyhow::Result<BTreeMap<String, Interface>> {
    let mut requests = Requests::open()?;
    let mut interfaces: BTreeMap<String, Interface> = BTreeMap::new();
    let members = Members::default();
    for link in requests.link_facts()? {
        // The kernel uses the larger of the values for `all` and for the interface.
        let effective = |name| {
            let value = |interface| sysctl::read(4, interface, name).unwrap_or_default();
            value("all").max(value(&link.name))
        };
        let interface = Interface {
            native_cost: native_cost(&link.name),
            removes_tags: removes_vlan_tags(&link.name),
            is_member: [false, true].map(|is_ipv6| members.may_contain(is_ipv6, link.ifindex)),
            arp_ignore: effective("arp_ignore"),
            rp_filter: effective("rp_filter"),
            is_ipv6_disabled: sysctl::read(6, &link.name, "disable_ipv6") == Some(1),
            changed_sysctls: Vec::new(),
            addresses: Vec::new(),
            link,
        };
        interfaces.insert(interface.link.name.clone(), interface);
    }
    let names: BTreeMap<u32, String> =
        interfaces.values().map(|one| (one.link.ifindex, one.link.name.clone())).collect();
    let mut parents = BTreeSet::new();
    for interface in interfaces.values_mut().filter(|one| one.link.owner.is_some()) {
        let family = match interface.link.mac {
            Some([0x00, 0x00, 0x5e, 0x00, 0x01, _]) => 4,
            Some([0x00, 0x00, 0x5e, 0x00, 0x02, _]) => 6,
            _ => continue,
        };
        let parent = interface.link.parent.and_then(|parent| names.get(&parent));
        interface.changed_sysctls = sysctl::changed(&interface.link.name, family, parent.map(String::as_str));
        parents.extend(parent.filter(|_| family == 4));
    }
    for parent in parents {
        if let Some(interface) = interfaces.get_mut(parent) {
            interface.changed_sysctls.extend(sysctl::changed_of_parent(parent));
        }
    }
    requests.dump(|notice| {
        if let Notice::Address(address) = notice {
            let mut all = interfaces.values_mut();
            let interface = all.find(|interface| interface.link.ifindex == address.ifindex);
            if let Some(interface) = interface.filter(|interface| !interface.addresses.contains(&address)) {
                interface.addresses.push(address);
            }
        }
    })?;
    Ok(interfaces)
}

/// The targets on the segment of an interface: addresses whose MACs are of interest.
#[derive(Default)]
struct Targets {
    /// Addresses whose claims are recorded: the VIPs and unicast peers of the interface's
    /// instances, and the addresses of the interface.
    watched: BTreeSet<IpAddr>,
    /// Requests for MACs, each with its source address and its target.
    solicitations: Vec<(IpAddr, IpAddr)>,
}

/// Returns the VIPs of an instance and its unicast peers.
fn addresses(instance: &Instance) -> impl Iterator<Item = IpAddr> {
    let vips = instance.router.all_addresses().map(|vip| vip.address);
    let peers = match &instance.transport {
        Transport::Multicast => [].as_slice(),
        Transport::Unicast(peers) => peers,
    };
    vips.chain(peers.iter().map(|peer| peer.address))
}

/// Returns the requests for the MACs of an instance's [`addresses`]. The source of a request is
/// another usable address of the interface, of the same family, that is neither secondary nor added
/// by vipd. Omits addresses for which there is no source.
fn solicitations(instance: &Instance, interface: &Interface) -> Vec<(IpAddr, IpAddr)> {
    let source_of = |target: IpAddr| {
        let is_own = |own: &&Address| !own.unusable && !own.secondary && own.protocol != PROTO_VIPD;
        let own = interface.addresses.iter().filter(is_own);
        let mut own =
            own.filter(|own| Family::of(own.address) == Family::of(target) && own.address != target);
        own.next().map(|own| own.address)
    };
    addresses(instance).filter_map(|target| Some((source_of(target)?, target))).collect()
}

/// Observes interfaces for `duration`, and requests the MACs of their targets.
fn observe(targets: &BTreeMap<&str, Targets>, duration: Duration) -> anyhow::Result<BTreeMap<String, Wire>> {
    let failed = |error: &anyhow::Error| Wire {
        survey: Err(format!("{error:#}")),
        duration,
        unasked: BTreeSet::new(),
        obstacle: None,
    };
    let mut listener = Listener::new()?;
    let added: Vec<_> = targets.iter().map(|(name, targets)| (*name, targets, listener.add(name))).collect();
    let mut surveys: Vec<Survey> = Vec::new();
    for (_, targets, interface) in &added {
        if interface.is_ok() {
            let mut survey = Survey::default();
            targets.watched.iter().for_each(|address| survey.watch(*address));
            surveys.push(survey);
        }
    }
    let requests =
        added.iter().filter_map(|(_, targets, interface)| Some((targets, *interface.as_ref().ok()?)));
    let requests = requests.flat_map(|(targets, interface)| {
        targets.solicitations.iter().map(move |(source, target)| (interface, *source, *target))
    });
    let requests: Vec<_> = requests.collect();
    // Requests are sent twice if the time suffices, because some may be lost. None are sent shortly
    // before the end, which would leave no time for the answer.
    let (start, pause) = (Instant::now(), SOLICIT.min(duration / 4));
    let (second, last, deadline) = (start + pause, start + duration.saturating_sub(pause), start + duration);
    let mut asked = 0;
    for end in [second, deadline] {
        for (number, burst) in requests.chunks(BURST).enumerate() {
            if listener.is_ended() || Instant::now() >= last {
                break;
            }
            for (interface, source, target) in burst {
                listener.solicit(*interface, *source, *target);
            }
            asked = asked.max(number * BURST + burst.len());
            listener.survey(last.min(Instant::now() + PAUSE), &mut surveys)?;
        }
        listener.survey(end, &mut surveys)?;
    }
    anyhow::ensure!(!listener.is_ended(), "interrupted before the end of the observation");
    let wire = added.into_iter().map(|(name, _, interface)| {
        let wire = match interface {
            Ok(number) => Wire {
                survey: Ok(surveys.get(number).cloned().unwrap_or_default()),
                duration,
                unasked: requests[asked..]
                    .iter()
                    .filter(|(interface, ..)| *interface == number)
                    .map(|(.., target)| *target)
                    .collect(),
                obstacle: listener.obstacle(number).cloned(),
            },
            Err(error) => failed(&error),
        };
        (name.to_owned(), wire)
    });
    Ok(wire.collect())
}

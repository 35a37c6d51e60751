//! Reloads: random sequences of configurations, and VIPs that are added or moved.

use std::collections::BTreeMap;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use vipd_tests::command;
use vipd_tests::namespace::Namespace;

use super::*;
use crate::config;
use crate::engine::command::{Addition, Change};
use crate::engine::id::RouterId;
use crate::engine::link::Link;
use crate::engine::ownership::Primary;
use crate::engine::routing::Wanted;
use crate::netlink::PROTO_VIPD;
use crate::service::plan::Plan;
use crate::vrrp::{Family, Fault};

const SEQUENCES: u64 = 6;
const RELOADS: usize = 25;
/// Number of addresses that move between the instances.
const VIPS: u8 = 12;
/// A second interface of the node.
const OTHER: &str = "other";

/// Adds the second interface.
fn add_other(host: &Namespace) -> Result<()> {
    command::run(host, "ip", &["link", "add", OTHER, "type", "veth", "peer", "name", "peer"])?;
    for name in [OTHER, "peer"] {
        command::run(host, "ip", &["link", "set", name, "up"])?;
    }
    Ok(())
}

/// A reproducible source of random numbers (xorshift64).
struct Random(u64);

impl Random {
    /// Returns a number below `limit`.
    fn below(&mut self, limit: u8) -> u8 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u8::try_from(self.0 % u64::from(limit)).expect("below a limit of eight bits")
    }
}

/// Returns a valid configuration of 1 to 6 instances, among which up to [`VIPS`] addresses are
/// distributed at random.
fn random_configuration(random: &mut Random) -> Config {
    let count = 1 + random.below(6);
    let mut vips = BTreeMap::<u8, Vec<String>>::new();
    for last in 1..=VIPS {
        let owner = random.below(8);
        let vip = format!("\"10.1.9.{last}/24\"");
        // The last three VIPs are on the other interface. If no instance has any of these VIPs, the
        // interface is unused.
        let placed = if last > VIPS - 3 { format!("{{ address = {vip}, dev = \"{OTHER}\" }}") } else { vip };
        vips.entry(owner).or_default().push(placed);
    }
    let mut text = String::from("realtime = \"off\"\n");
    for number in 0..count {
        // The VRID changes less often than the other keys, because a new VRID restarts the router.
        let vrid = number + 1 + if random.below(8) == 0 { 100 } else { 0 };
        let priority = 100 + 50 * random.below(2);
        let interval = 10 * (1 + random.below(2));
        let mut own = vips.remove(&number).unwrap_or_default();
        own.push(format!("\"10.1.{number}.1\""));
        let (routes, rules) = random_routing(random);
        let _ = write!(
            text,
            "[[instance]]\nname = \"{number}\"\ninterface = \"eth1\"\nvrid = {vrid}\npriority = {priority}\n\
             advert_interval = \"{interval}ms\"\n\
             virtual_addresses = [{}]\ngarp = {{ delay = \"0s\" }}\nroutes = [{routes}]\nrules = [{rules}]\n",
            own.join(", ")
        );
    }
    Config::parse(&text, "vipd.toml").expect("a valid configuration")
}

/// Returns routes and rules, some of which are shared with other instances. Routes to the same
/// destination have the same next hop, because vipd adds at most one such route to a table.
fn random_routing(random: &mut Random) -> (String, String) {
    let mut routes = Vec::new();
    for last in 1..=3 {
        match random.below(4) {
            0 => routes.push(format!("{{ to = \"10.2.{last}.0/24\", dev = \"eth1\", table = 100 }}")),
            1 => {
                routes
                    .push(format!("{{ to = \"2001:db8:{last}::/48\", type = \"blackhole\", table = 100 }}"));
            }
            _ => {}
        }
    }
    let from = 1 + random.below(3);
    let rule = format!("{{ from = \"10.1.9.{from}\", table = 100, priority = {from} }}");
    (routes.join(", "), if random.below(2) == 0 { rule } else { String::new() })
}

/// The running instances by name, each with its identity, its number of transitions to Master and
/// its number of priority-0 adverts.
type Running = BTreeMap<String, (RouterId, u64, u64)>;

fn running(bench: &Bench) -> Running {
    let routers = bench.engine.topology.routers.iter();
    let routers = routers.map(|(id, instance)| {
        let transitions = instance.router.snapshot().counters.master_transitions;
        (instance.settings.name.clone(), (id, transitions, instance.sent.priority_zero))
    });
    routers.collect()
}

/// Returns the addresses in 10.1.0.0/16 on all interfaces, sorted.
fn present() -> Result<Vec<String>> {
    let output = process::Command::new("ip").args(["-o", "-4", "address", "show"]).output()?;
    let text = String::from_utf8(output.stdout)?;
    let words = text.split_whitespace().filter(|word| word.starts_with("10.1."));
    let mut found: Vec<_> = words.map(str::to_owned).collect();
    found.sort();
    Ok(found)
}

/// Returns the routes and rules with vipd's mark, sorted.
fn present_routing() -> Result<Vec<String>> {
    let mut found = Vec::new();
    Requests::open()?.dump_routing(|entry| found.push(entry.to_string()))?;
    found.sort();
    Ok(found)
}

fn configured_routing(config: &Config) -> Vec<String> {
    let mut links = links::Links::default();
    let wanted = config.instances.iter().flat_map(|one| Wanted::all(one, &mut links));
    let mut all: Vec<_> = wanted.map(|wanted| wanted.entry.to_string()).collect();
    all.sort();
    all.dedup();
    all
}

fn configured(config: &Config) -> Vec<String> {
    let vips = config.instances.iter().flat_map(|one| one.router.all_addresses());
    let mut all: Vec<_> = vips.map(|vip| vip.to_string()).collect();
    all.sort();
    all
}

fn reload(bench: &mut Bench, plan: Plan, before: &Running) -> Result<()> {
    let find = |one: &Arc<config::Instance>| before.get(&one.name).map(|(id, ..)| *id);
    let reconfigured = plan.changed.iter().filter_map(|settings| {
        let (settings, priority) = (Arc::clone(settings), settings.router.priority);
        Some(Change { router: find(&settings)?, settings, priority })
    });
    let changes = Changes {
        removed: plan.removed.iter().filter_map(find).collect(),
        changed: reconfigured.collect(),
        added: plan
            .added
            .into_iter()
            .map(|settings| Addition { priority: settings.router.priority, settings, faults: Vec::new() })
            .collect(),
        groups: Vec::new(),
    };
    bench.reload(changes).map(drop)
}

/// After each reload, the settings and priorities of the routers, and the addresses, routes and
/// rules, are the same as after a fresh start with the same configuration. Routers that keep
/// running make no transition and send no priority-0 advert.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn any_sequence_of_reloads_ends_in_the_state_of_a_fresh_start() -> Result<()> {
    let lab = Lab::new(1)?;
    add_other(lab.host(NODE)?)?;
    lab.host(NODE)?.run(|| {
        for seed in 1..=SEQUENCES {
            let mut random = Random(seed);
            let mut config = random_configuration(&mut random);
            let mut bench = Bench::with_configuration(&config, 0)?;
            bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
            for round in 0..RELOADS {
                let next = random_configuration(&mut random);
                let plan = Plan::new(&config, &next);
                let added: Vec<_> = plan.added.iter().map(|one| one.name.clone()).collect();
                let before = running(&bench);
                let lines: Vec<_> = plan.lines.iter().map(ToString::to_string).collect();
                config = next;
                reload(&mut bench, plan, &before)?;
                let at = format!("seed {seed}, reload {round}: {}", lines.join("; "));
                bench.serve_until(&at, |bench| bench.all_are(State::Master))?;
                let wanted = configured(&config);
                bench.serve_until(&at, |_| present().is_ok_and(|found| found == wanted))?;
                let wanted = configured_routing(&config);
                bench.serve_until(&at, |_| present_routing().is_ok_and(|found| found == wanted))?;
                let after = running(&bench);
                assert!(after.keys().eq(config.instances.iter().map(|one| &one.name)), "{at}");
                for name in after.keys().filter(|name| !added.contains(name)) {
                    assert_eq!(after.get(name), before.get(name), "{name} keeps running; {at}");
                }
                for (_, instance) in bench.engine.topology.routers.iter() {
                    let settings = config.instances.iter().find(|one| one.name == instance.settings.name);
                    assert_eq!(Some(&instance.settings), settings, "{at}");
                    assert_eq!(Some(instance.router.config()), settings.map(|one| &one.router), "{at}");
                    let fresh = Router::new(instance.settings.router.clone());
                    assert_eq!(instance.router.snapshot().priority, fresh.snapshot().priority, "{at}");
                    assert!(instance.addresses.iter().copied().eq(instance.settings.router.all_addresses()));
                }
            }
            bench.engine.shut_down(clock::now());
            assert_eq!(present()?, [""; 0], "seed {seed}: no address remains");
            assert_eq!(present_routing()?, [""; 0], "seed {seed}: no route remains");
        }
        Ok(())
    })
}

/// Returns the configuration of one instance with these addresses.
fn with_vips(vips: &str) -> Config {
    parsed(&text_with_vips(vips))
}

fn text_with_vips(vips: &str) -> String {
    format!(
        "realtime = \"off\"\n[[instance]]\nname = \"1\"\ninterface = \"eth1\"\nvrid = 1\n\
         advert_interval = \"10ms\"\nvirtual_addresses = [{vips}]\n"
    )
}

fn parsed(text: &str) -> Config {
    Config::parse(text, "vipd.toml").expect("a valid configuration")
}

/// Adding the address with `NLM_F_REPLACE` would mark the address as vipd's, and the next
/// transition would remove it.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn reload_leaves_a_primary_address_that_becomes_a_vip_unchanged() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let config = with_vips("\"10.1.1.1/32\"");
        let mut bench = Bench::with_configuration(&config, 0)?;
        bench.turn_until("the router is master", |bench| bench.all_are(State::Master))?;
        let (id, link) = bench.engine.topology.links.iter().next().expect("eth1");
        let Primary::Own(own) = link.primary(Family::V4, None) else { panic!("eth1 has an address") };
        let before = *link.addresses.entries(own).next().expect("the address");
        let next = with_vips(&format!("\"10.1.1.1/32\", \"{own}/{}\"", before.prefix));
        let running = running(&bench);
        reload(&mut bench, Plan::new(&config, &next), &running)?;
        bench.serve_until("the fault", |bench| bench.all_are(State::Fault(Fault::PrimaryIsVirtual)))?;
        bench.engine.shut_down(clock::now());
        bench.engine.resync()?;
        let link = bench.engine.topology.links.get(id).expect("eth1");
        let after = link.addresses.entries(own).next().map(|found| found.protocol);
        assert_ne!(before.protocol, PROTO_VIPD);
        assert_eq!(after, Some(before.protocol));
        Ok(())
    })
}

/// Returns [`configuration`] with this priority for all instances.
fn with_priority(priority: u8) -> Config {
    let text = configuration().replace("vrid = ", &format!("priority = {priority}\nvrid = "));
    Config::parse(&text, "vipd.toml").expect("a valid configuration")
}

/// The adverts of the master do not wake the engine, so the reload itself must take the routers off
/// the fast path.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_on_the_fast_path_preempts_when_a_reload_raises_its_priority() -> Result<()> {
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let master = thread::spawn(move || -> Result<()> {
        while !is_done.load(Ordering::Relaxed) {
            injector.send_paced(&masters(), ROUTERS.into(), INTERVAL)?;
        }
        Ok(())
    });
    let result = lab.host(NODE)?.run(|| -> Result<()> {
        let config = with_priority(100);
        let mut bench = Bench::with_configuration(&config, 0)?;
        bench.turn_until("all routers are on the fast path", Bench::all_on_fast_path)?;
        let running = running(&bench);
        reload(&mut bench, Plan::new(&config, &with_priority(250)), &running)?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))
    });
    done.store(true, Ordering::Relaxed);
    master.join().expect("the master does not panic")?;
    result
}

/// The next advert, for which the engine would wake up, may not be due for 40 seconds.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn reload_adds_a_vip_to_a_master_without_waiting() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let config = with_vips("\"10.1.1.1/32\"");
        let mut bench = Bench::with_configuration(&config, 0)?;
        bench.turn_until("the router is master", |bench| bench.all_are(State::Master))?;
        bench.turn_until("its VIP is announced", |bench| bench.engine.effects.next().is_none())?;
        let (running, wakeups) = (running(&bench), bench.engine.wakeups);
        let next = with_vips("\"10.1.1.1/32\", \"10.1.1.2/32\"");
        reload(&mut bench, Plan::new(&config, &next), &running)?;
        assert_eq!(bench.engine.wakeups, wakeups);
        bench.turn_until("the new VIP is added", |_| present().is_ok_and(|found| found.len() == 2))?;
        let routers = bench.engine.topology.routers.values();
        let restored = routers.map(|one| one.router.snapshot().counters.addresses_restored);
        assert_eq!(restored.sum::<u64>(), 0, "nothing was removed externally");
        Ok(())
    })
}

/// Another thread opens the interface. Until the interface is open, the instance must not go into
/// Fault, and must not add the VIP without announcing it.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn reload_adds_a_vip_on_a_new_interface() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    command::run(host, "ip", &["link", "add", "unused", "type", "veth", "peer", "name", "routed"])?;
    for name in ["unused", "routed"] {
        command::run(host, "ip", &["link", "set", name, "up"])?;
    }
    host.run(|| {
        let with = |vips: &str| {
            let routes = "routes = [{ to = \"10.9.0.0/16\", dev = \"routed\", table = 100 }]\n";
            parsed(&format!("{}{routes}", text_with_vips(vips)))
        };
        let config = with("\"10.1.1.1/32\"");
        let mut bench = Bench::with_configuration(&config, 0)?;
        bench.turn_until("the router is master", |bench| bench.all_are(State::Master))?;
        bench.turn_until("its VIP is announced", |bench| !bench.engine.effects.is_busy())?;
        let before = running(&bench);
        let next = with(
            "\"10.1.1.1/32\", { address = \"10.1.2.1/32\", dev = \"unused\" }, \
             { address = \"10.1.3.1/32\", dev = \"routed\" }",
        );
        while bench.reported.try_recv().is_ok() {}
        let arps = bench.sum(|instance| instance.sent.gratuitous_arps);
        reload(&mut bench, Plan::new(&config, &next), &before)?;
        bench.serve_until("both VIPs are added and announced", |bench| {
            let routers = bench.engine.topology.routers.values();
            let is_complete = |one: &Instance| one.missing(&bench.engine.topology.links).next().is_none();
            routers.clone().all(is_complete)
                && bench.sum(|instance| instance.sent.gratuitous_arps) >= arps + 2
        })?;
        assert_eq!(running(&bench), before, "no transition and no priority-0 advert");
        while let Ok(report) = bench.reported.try_recv() {
            assert!(!matches!(report, Report::Router { .. }), "no event is reported");
        }
        Ok(())
    })
}

/// The number of links stays the same: the interface of the new route replaces that of the former.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn reload_moves_a_route_to_a_new_interface() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    command::run(host, "ip", &["link", "add", "former", "type", "veth", "peer", "name", "next"])?;
    for name in ["former", "next"] {
        command::run(host, "ip", &["link", "set", name, "up"])?;
    }
    host.run(|| {
        let with = |dev: &str| {
            let routes = format!("routes = [{{ to = \"10.9.0.0/16\", dev = \"{dev}\", table = 100 }}]\n");
            parsed(&format!("{}{routes}", text_with_vips("\"10.1.1.1/32\"")))
        };
        let goes_through = |dev: &str| {
            let shown = process::Command::new("ip").args(["route", "show", "table", "100"]).output();
            shown.is_ok_and(|shown| String::from_utf8_lossy(&shown.stdout).contains(&format!("dev {dev} ")))
        };
        let config = with("former");
        let mut bench = Bench::with_configuration(&config, 0)?;
        bench.turn_until("the route is present", |_| goes_through("former"))?;
        let before = running(&bench);
        reload(&mut bench, Plan::new(&config, &with("next")), &before)?;
        bench.serve_until("the route goes through the other interface", |_| goes_through("next"))?;
        assert!(!goes_through("former"));
        assert_eq!(running(&bench), before, "no transition and no priority-0 advert");
        Ok(())
    })
}

/// The instance that loses the VIP is changed first. Until the VIP's new instance is changed, no
/// instance uses the interface.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_on_another_interface_moves_between_masters_without_a_transition() -> Result<()> {
    let lab = Lab::new(1)?;
    let host = lab.host(NODE)?;
    add_other(host)?;
    host.run(|| {
        const MOVED: &str = "{ address = \"10.1.9.1/32\", dev = \"other\" }";
        let with = |holder: usize| {
            let mut text = String::from("realtime = \"off\"\n");
            for number in 1..=3 {
                let moved = if number == holder { MOVED } else { "" };
                let _ = write!(
                    text,
                    "[[instance]]\nname = \"{number}\"\ninterface = \"eth1\"\nvrid = {number}\n\
                     advert_interval = \"10ms\"\nvirtual_addresses = [\"10.1.{number}.1/32\", {moved}]\n"
                );
            }
            parsed(&text)
        };
        let mut config = with(1);
        let mut bench = Bench::with_configuration(&config, 0)?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        for holder in [2, 3, 1] {
            let before = running(&bench);
            let next = with(holder);
            reload(&mut bench, Plan::new(&config, &next), &before)?;
            let link = |bench: &Bench| bench.engine.topology.links.named("other").map(Link::is_opening);
            bench.serve_until("the VIP is present", |bench| {
                let mut routers = bench.engine.topology.routers.values();
                routers.all(|one| one.missing(&bench.engine.topology.links).next().is_none())
            })?;
            assert_eq!(link(&bench), Some(false));
            assert_eq!(running(&bench), before, "no transition and no priority-0 advert");
            config = next;
        }
        Ok(())
    })
}

/// Returns the configuration of `count` instances with `accept = false`. Instance `n` has the VIP
/// 10.1.9.x, where x is `(n + offset) % count`.
fn closed_vips(count: u8, offset: u8) -> Config {
    let mut text = String::from("realtime = \"off\"\n");
    for number in 0..count {
        let last = (number + offset) % count;
        let _ = write!(
            text,
            "[[instance]]\nname = \"{number}\"\ninterface = \"eth1\"\nvrid = {}\naccept = false\n\
             advert_interval = \"100ms\"\nvirtual_addresses = [\"10.1.9.{last}/32\"]\n",
            number + 1
        );
    }
    parsed(&text)
}

/// The VIP of each instance moves to the previous instance. For some of the VIPs, the new master is
/// changed in an earlier turn than the former master.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_that_move_between_masters_stay_present_and_closed() -> Result<()> {
    const COUNT: u8 = 40;
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let config = closed_vips(COUNT, 0);
        let mut bench = Bench::with_configuration(&config, 2 * u32::from(COUNT))?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        bench.turn_until("all VIPs are added", |bench| !bench.engine.effects.is_busy())?;
        let before = running(&bench);
        let next = closed_vips(COUNT, 1);
        reload(&mut bench, Plan::new(&config, &next), &before)?;
        bench.turn_until("no change is pending", |bench| !bench.engine.effects.is_busy())?;
        assert_eq!(present()?, configured(&next));
        assert_eq!(bench.engine.effects.covered_count(), usize::from(COUNT));
        assert_eq!(running(&bench), before);
        let restored = bench.sum(|instance| instance.router.snapshot().counters.addresses_restored);
        assert_eq!(restored, 0, "no VIP was missing");
        Ok(())
    })
}

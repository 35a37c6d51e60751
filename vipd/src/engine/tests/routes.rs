//! Takeovers with so many routes that adding or removing them takes several turns.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use vipd_tests::command;
use vipd_tests::namespace::Namespace;

use super::*;
use crate::vrrp::{Fault, Impediment};

const ROUTES: usize = 300;

fn configuration() -> String {
    let routes = (0..ROUTES).map(|number| {
        format!("{{ to = \"10.9.{}.{}/32\", type = \"blackhole\" }}", number / 256, number % 256)
    });
    format!(
        "realtime = \"off\"\n[[instance]]\nname = \"1\"\ninterface = \"eth1\"\nvrid = 1\nadvert_interval = \"10ms\"\n\
         virtual_addresses = [\"10.0.1.1/32\"]\ngarp = {{ delay = \"0s\", repeat = 1 }}\nroutes = [{}]\n",
        routes.collect::<Vec<_>>().join(", ")
    )
}

/// Returns the number of routes and rules with vipd's mark.
fn present() -> usize {
    let mut count = 0;
    let read = Requests::open().and_then(|mut requests| requests.dump_routing(|_| count += 1));
    read.map_or(0, |()| count)
}

/// A master adds its routes after its address, without delaying its adverts, and removes them at
/// shutdown.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn many_routes_take_several_turns() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::configured(&configuration())?;
        let adverts = |bench: &Bench| bench.sum(|instance| instance.sent.adverts);
        let (mut last, mut turns, mut first) = (0, 0, None);
        bench.turn_until("all routes are present", |bench| {
            let count = present();
            // One batch may have been completed, and the next one started, since the last turn.
            assert!(count <= last + 2 * BUDGET.routing, "{count} after {last}");
            if count > 0 {
                turns += 1;
                if first.is_none() {
                    first = Some(adverts(bench));
                    // Adverts become due while most routes have not been added yet.
                    thread::sleep(INTERVAL);
                }
                assert_eq!(bench.sum(|instance| instance.sent.gratuitous_arps), 1, "announced before");
            }
            last = count;
            count == ROUTES
        })?;
        assert!(turns >= ROUTES / (2 * BUDGET.routing), "{turns} turns");
        assert!(Some(adverts(&bench)) > first, "adverts that became due were sent in the meantime");
        assert_eq!(bench.sum(|instance| instance.sent.route_errors), 0);
        assert_eq!(bench.sum(|instance| instance.sent.routes_restored), 0);
        // Without changes, the engine makes no requests.
        bench.turn_until("no change is pending", |bench| !bench.engine.effects.is_busy())?;
        let before = bench.engine.effects.netlink().traffic();
        for _ in 0..5 {
            bench.engine.turn()?;
        }
        assert_eq!(bench.engine.effects.netlink().traffic(), before);
        bench.engine.shut_down(clock::now());
        assert_eq!(present(), 0);
        Ok(())
    })
}

/// The thread may be adding routes when their router leaves Master, and when the engine ends.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn routes_that_are_being_added_are_removed_when_their_router_leaves_master() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::configured(&configuration())?;
        let is_adding =
            |bench: &Bench| bench.all_are(State::Master) && bench.engine.effects.routing.has_removals();
        for _ in 0..20 {
            bench.turn_until("routes are being added", is_adding)?;
            let (id, _) = bench.engine.topology.routers.iter().next().expect("a router");
            bench.engine.dispatch(clock::now(), id, Input::Impede(Fault::Drained));
            bench.turn_until("no routes remain", |bench| !bench.engine.effects.routing.has_removals())?;
            assert_eq!(present(), 0);
            bench.engine.dispatch(clock::now(), id, Input::Clear(Impediment::Drained));
        }
        bench.turn_until("routes are being added", is_adding)?;
        bench.engine.shut_down(clock::now());
        assert_eq!(present(), 0);
        Ok(())
    })
}

/// Holds the rtnl lock for about 0.2 s: the kernel deletes the links of a group while holding the
/// lock, and waits for an RCU grace period for each bridge.
fn hold_rtnl(host: &Namespace) -> Result<()> {
    for number in 0..10 {
        let name = format!("held{number}");
        command::run(host, "ip", &["link", "add", &name, "group", "77", "type", "bridge"])?;
    }
    command::run(host, "ip", &["link", "delete", "group", "77"]).map(drop)
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn adverts_are_sent_while_a_check_of_routes_waits_for_the_rtnl_lock() -> Result<()> {
    const ADVERTS: u64 = 3;
    let lab = Lab::new(1)?;
    let client = lab.host(Station::Client)?;
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let holder = scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                hold_rtnl(client)?;
            }
            anyhow::Ok(())
        });
        let result = lab.host(NODE)?.run(|| {
            let mut bench = Bench::configured(&configuration())?;
            bench.turn_until("all routes are present", |_| present() == ROUTES)?;
            let start = Instant::now();
            let adverts = |bench: &Bench| bench.sum(|instance| instance.sent.adverts);
            let mut sent_before = adverts(&bench);
            // A check takes a few milliseconds, unless another process holds the lock.
            while adverts(&bench) < sent_before + ADVERTS {
                anyhow::ensure!(start.elapsed() < SOON, "no check during which {ADVERTS} adverts were sent");
                if !bench.engine.effects.routing.has_removals() {
                    bench.engine.effects.routing.verify_all();
                    sent_before = adverts(&bench);
                }
                bench.engine.turn()?;
            }
            assert_eq!(bench.sum(|instance| instance.sent.routes_restored), 0);
            Ok(())
        });
        is_done.store(true, Ordering::Relaxed);
        result.and(holder.join().expect("the lock holder does not panic"))
    })
}

/// After the thread has ended, it is unknown whether the last additions were made.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn routes_are_removed_after_the_routes_thread_has_ended() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::configured(&configuration())?;
        let (id, _) = bench.engine.topology.routers.iter().next().expect("a router");
        for added in [1, ROUTES] {
            bench.turn_until("routes are present", |_| present() >= added)?;
            bench.engine.effects.routing.end_thread();
            bench.engine.effects.routing.verify_all();
            bench.engine.dispatch(clock::now(), id, Input::Impede(Fault::Drained));
            bench.turn_until("routes are removed", |bench| {
                !bench.engine.effects.routing.has_removals() && present() == 0
            })?;
            bench.engine.dispatch(clock::now(), id, Input::Clear(Impediment::Drained));
        }
        bench.turn_until("all routes are present", |_| present() == ROUTES)?;
        bench.engine.effects.routing.end_thread();
        bench.engine.effects.routing.verify_all();
        bench.engine.shut_down(clock::now());
        assert_eq!(present(), 0);
        Ok(())
    })
}

/// The default route sorts before the route to its gateway.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn route_is_added_after_the_route_to_its_gateway() -> Result<()> {
    const ROUTES: &str = "routes = [{ to = \"203.0.113.1/32\", dev = \"eth1\", table = 100 }, \
                          { to = \"0.0.0.0/0\", via = \"203.0.113.1\", dev = \"eth1\", table = 100 }, \
                          { to = \"2001:db8:ffff::1/128\", dev = \"eth1\", table = 100 }, \
                          { to = \"::/0\", via = \"2001:db8:ffff::1\", dev = \"eth1\", table = 100 }]\n";
    let all = configuration();
    let text = format!("{}{ROUTES}", all.split("routes = ").next().expect("the rest"));
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(move || {
        let mut bench = Bench::configured(&text)?;
        bench.turn_until("all routes are present", |_| present() == 4)?;
        assert_eq!(bench.sum(|instance| instance.sent.route_errors), 0);
        Ok(())
    })
}

/// A resync checks all routes, and the new interface causes a check of the routes that use it. Both
/// checks are in the same batch.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn route_through_a_recreated_interface_is_removed_at_shutdown() -> Result<()> {
    let all = configuration();
    let text = format!(
        "{}routes = [{{ to = \"10.9.0.0/16\", dev = \"other\", table = 100 }}]\n",
        all.split("routes = ").next().expect("the rest")
    );
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(move || {
        let ip = |line: &str| {
            let status = process::Command::new("ip").args(line.split(' ')).status();
            assert!(status.is_ok_and(|status| status.success()), "ip {line}");
        };
        let create = || {
            ip("link add other type veth peer name peer");
            ip("link set peer up");
            ip("link set other up");
        };
        create();
        let mut bench = Bench::configured(&text)?;
        bench.turn_until("the route is present", |_| present() == 1)?;
        for _ in 0..3 {
            ip("link delete other");
            create();
            bench.turn_until("the route is present again", |bench| {
                present() == 1
                    && !bench.engine.effects.is_busy()
                    && !bench.engine.effects.routing.has_removals()
            })?;
        }
        bench.engine.shut_down(clock::now());
        assert_eq!(present(), 0);
        Ok(())
    })
}

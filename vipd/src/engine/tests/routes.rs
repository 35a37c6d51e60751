//! Routes that take several turns.

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

/// A master adds its routes after its address, and removes them, without delaying its adverts.
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
            // A batch may have been completed and the next one begun.
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
        bench.turn_until("all are done", |bench| !bench.engine.effects.is_busy())?;
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
            bench.turn_until("they are removed", |bench| !bench.engine.effects.routing.has_removals())?;
            assert_eq!(present(), 0);
            bench.engine.dispatch(clock::now(), id, Input::Clear(Impediment::Drained));
        }
        bench.turn_until("routes are being added", is_adding)?;
        bench.engine.shut_down(clock::now());
        assert_eq!(present(), 0);
        Ok(())
    })
}

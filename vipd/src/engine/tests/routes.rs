//! Routes that take several turns.

use super::*;

const ROUTES: usize = 300;

/// A master adds its routes after its address, and removes them, without delaying its adverts.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn many_routes_take_several_turns() -> Result<()> {
    let routes = (0..ROUTES).map(|number| {
        format!("{{ to = \"10.9.{}.{}/32\", type = \"blackhole\" }}", number / 256, number % 256)
    });
    let text = format!(
        "realtime = \"off\"\n[[instance]]\nname = \"1\"\ninterface = \"eth1\"\nvrid = 1\nadvert_interval = \"10ms\"\n\
         virtual_addresses = [\"10.0.1.1/32\"]\ngarp = {{ delay = \"0s\", repeat = 1 }}\nroutes = [{}]\n",
        routes.collect::<Vec<_>>().join(", ")
    );
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(move || {
        let mut bench = Bench::configured(&text)?;
        let present = || -> Result<usize> {
            let mut count = 0;
            Requests::open()?.dump_routing(|_| count += 1)?;
            Ok(count)
        };
        let adverts = |bench: &Bench| bench.sum(|instance| instance.sent.adverts);
        let (mut last, mut turns, mut first) = (0, 0, None);
        bench.turn_until("all routes are present", |bench| {
            let count = present().unwrap_or_default();
            assert!(count <= last + BUDGET.routing, "{count} after {last}");
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
        assert!(turns >= ROUTES / BUDGET.routing, "{turns} turns");
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
        assert_eq!(present()?, 0);
        Ok(())
    })
}

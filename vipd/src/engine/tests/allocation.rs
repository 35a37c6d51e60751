//! The engine must not allocate in its steady state: even with locked memory and real-time
//! scheduling, an allocator may take a lock or request pages from the kernel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn master_does_not_allocate_in_its_steady_state() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        // Each address is announced five times after a takeover.
        let announced = |bench: &Bench| bench.sum(|instance| instance.sent.gratuitous_arps);
        bench
            .turn_until("all addresses are announced", |bench| announced(bench) >= 5 * u64::from(ROUTERS))?;
        bench.allocations(20)?;
        let before = bench.sum(|instance| instance.sent.adverts);
        assert_eq!(bench.allocations(100)?, 0);
        let sent = bench.sum(|instance| instance.sent.adverts) - before;
        assert!(sent >= 100, "{sent} adverts in 100 turns");
        assert!(bench.all_are(State::Master));
        Ok(())
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_does_not_allocate_in_its_steady_state() -> Result<()> {
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    // This master sends unchanged adverts for all virtual routers except one, whose priority
    // changes with each advert.
    let master = thread::spawn(move || -> Result<()> {
        let frames: Vec<_> = (1..=2 * ROUTERS)
            .map(|turn| advert(1 + (turn - 1) % ROUTERS, if turn == 2 * ROUTERS { 201 } else { 200 }))
            .collect();
        while !is_done.load(Ordering::Relaxed) {
            injector.send_paced(&frames, frames.len(), 2 * INTERVAL)?;
        }
        Ok(())
    });
    let measured = lab.host(NODE)?.run(|| -> Result<()> {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are backups", |bench| bench.all_are(State::Backup))?;
        bench.turn_until("all routers are on the fast path", Bench::all_on_fast_path)?;
        bench.allocations(20)?;
        let changed = bench.last_router().router.peers()[0].last_arrival;
        // Covers 100 changed adverts per second, and a pass over the fast-path deadlines every half
        // second.
        assert_eq!(bench.allocations(200)?, 0);
        let peer = bench.last_router().router.peers()[0];
        assert!(peer.last_arrival > changed, "changed adverts were handled");
        assert!(bench.all_are(State::Backup), "no router took over");
        Ok(())
    });
    done.store(true, Ordering::Relaxed);
    master.join().expect("the master does not panic")?;
    measured
}

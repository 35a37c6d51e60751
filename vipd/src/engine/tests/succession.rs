//! The handover to a successor.

use super::*;
use crate::engine::succession::Recipient;

/// The adverts sent just before the handover restart the backups' master-down timers, so that no
/// backup takes over during the handover.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn each_master_sends_an_advert_before_the_handover() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        bench.turn_until("nothing is pending", |bench| bench.engine.effects.is_quiet())?;
        let sent = |bench: &Bench| bench.sum(|instance| instance.sent.adverts);
        let timers = |bench: &Bench| -> Vec<_> {
            bench.engine.topology.routers.values().map(|instance| instance.router.adver_timer()).collect()
        };
        let (before, timers_before, begin) = (sent(&bench), timers(&bench), clock::now());
        let deadline = bench.engine.suspend(Recipient::Running).expect("nothing is pending");
        assert_eq!(sent(&bench), before + u64::from(ROUTERS));
        assert_eq!(timers(&bench), timers_before, "the masters keep their phases");
        // A backup takes over after at least three intervals.
        assert!(deadline.nanos_since(begin) >= 20_000_000 && deadline < clock::now() + 20_000_000);
        Ok(())
    })
}

/// If the engine stalls just before the handover, another router may take over. This node must
/// yield, and must not send an advert first, which would hide the stall.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn master_that_was_replaced_sends_no_advert_before_the_handover() -> Result<()> {
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    lab.host(NODE)?.run(move || {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        bench.turn_until("nothing is pending", |bench| bench.engine.effects.is_quiet())?;
        let sent = bench.sum(|instance| instance.sent.adverts);
        // Longer than three intervals, after which a master counts as stalled.
        thread::sleep(INTERVAL * 5);
        let frames: Vec<_> = (1..=ROUTERS).map(|vrid| advert(vrid, 50)).collect();
        injector.send_paced(&frames, frames.len(), Duration::ZERO)?;
        assert_eq!(bench.engine.suspend(Recipient::Running), None, "adverts are pending");
        assert!(bench.all_are(State::Backup));
        assert_eq!(bench.sum(|instance| instance.sent.adverts), sent);
        Ok(())
    })
}

/// The kernel would not remove the VIPs of a former master, whose lifetimes are not limited.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn restart_is_refused_while_a_former_master_has_vips() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        let id = bench.engine.topology.routers.id_at(0).expect("a router");
        let instance = bench.engine.topology.routers.get(id).expect("a router");
        let (row, name) = (instance.row, instance.settings.name.clone());
        bench.engine.effects.keep_leaving(id, row);
        let defect = bench.engine.restart_defect().expect("a reason");
        assert!(defect.contains(&name) && defect.contains("have not been removed yet"), "{defect}");
        Ok(())
    })
}

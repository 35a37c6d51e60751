//! Leases of routers that change their state several times in a turn.

use vipd_tests::wait::wait_until;

use super::*;

/// Another router is master, then stops, while the engine does not run. The engine reads both
/// adverts in one turn, and its router becomes master again before its VIPs have been removed.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn router_that_loses_and_regains_mastership_in_a_turn_is_not_fenced() -> Result<()> {
    const SKEW_TIME: u64 = 10_000_000;
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    lab.host(NODE)?.run(move || -> Result<()> {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        bench.turn_until("their VIPs are announced", |bench| bench.engine.effects.next().is_none())?;
        let takeovers =
            |bench: &Bench| bench.sum(|instance| instance.router.snapshot().counters.master_transitions);
        let before = takeovers(&bench);
        let last: Vec<_> = (1..=ROUTERS).map(|vrid| advert(vrid, 0)).collect();
        injector.send_paced(&[masters(), last].concat(), 2 * usize::from(ROUTERS), Duration::ZERO)?;
        let sent = clock::now();
        wait_until("Skew_Time", SOON, || clock::now() > sent + 2 * SKEW_TIME)?;
        while takeovers(&bench) == before {
            anyhow::ensure!(bench.engine.turn()?, "the engine has ended");
        }
        assert_eq!(takeovers(&bench), before + u64::from(ROUTERS), "in one turn");
        assert!(bench.all_are(State::Master));
        assert!(!bench.engine.effects.any_fenced());
        Ok(())
    })
}

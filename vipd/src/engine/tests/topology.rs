//! Routers are added and removed while others run.

use std::sync::Arc;

use super::*;

/// Removes and adds one router repeatedly. The other routers stay master, and the router's row,
/// slot and link are reused.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn routers_are_added_and_removed_while_others_run() -> Result<()> {
    const ROUNDS: u32 = 500;
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        let transitions =
            |bench: &Bench| bench.sum(|instance| instance.router.snapshot().counters.master_transitions);
        for round in 0..ROUNDS {
            let (id, last) = bench.engine.topology.routers.iter().last().expect("there are routers");
            let (settings, row) = (Arc::clone(&last.settings), last.row);
            let removed = Changes { removed: vec![id], ..Changes::default() };
            assert!(bench.reload(removed)?.is_empty());
            assert!(bench.engine.topology.routers.get(id).is_none());
            bench.serve()?;
            bench.engine.take_commands(clock::now());
            let added = Changes {
                added: vec![Addition { settings, faults: Vec::new(), priority: 100 }],
                ..Changes::default()
            };
            assert_eq!(bench.reload(added)?.len(), 1);
            assert_eq!(bench.last_router().row, row, "the row is reused");
            bench.serve()?;
            assert!(bench.engine.turn()?, "round {round}");
        }
        bench.turn_until("the last router is master again", |bench| bench.all_are(State::Master))?;
        assert_eq!(bench.engine.topology.routers.slots(), usize::from(ROUTERS));
        assert_eq!(bench.engine.topology.links.slots(), 1);
        assert_eq!(transitions(&bench), u64::from(ROUTERS), "the others stayed master");
        Ok(())
    })
}

/// All rows are in use. The new router waits for the row of the router that it replaces.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn router_is_added_when_the_rows_of_removed_routers_are_released() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        let (id, last) = bench.engine.topology.routers.iter().last().expect("there are routers");
        let settings = Arc::clone(&last.settings);
        let added = vec![Addition { settings, faults: Vec::new(), priority: 100 }];
        let changes = Changes { removed: vec![id], added, ..Changes::default() };
        let (reply, mut answer) = oneshot::channel();
        bench.engine.reload(clock::now(), changes, reply);
        bench.turn_until("the router has been removed", |bench| {
            bench.engine.topology.routers.values().count() == usize::from(ROUTERS) - 1
        })?;
        assert!(answer.try_recv().is_err(), "the row is not free yet");
        bench.serve()?;
        bench.turn_until("the router has been added", |bench| {
            bench.engine.topology.routers.values().count() == usize::from(ROUTERS)
        })?;
        assert_eq!(answer.try_recv().expect("an answer").len(), 1);
        bench.serve()?;
        bench.turn_until("the last router is master", |bench| bench.all_are(State::Master))
    })
}

use super::*;
use crate::config::Config;
use crate::engine::id::Id as _;
use crate::engine::links::Links;

const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);
const SECOND: u64 = 1_000_000_000;

/// Returns two routes and a rule.
fn wanted() -> Vec<Wanted> {
    wanted_with(
        "routes = [{ to = \"10.2.0.0/16\", via = \"10.0.0.2\" }, { to = \"10.1.0.0/16\", dev = \"eth2\" }]\n\
         rules = [{ from = \"10.0.0.1\", table = 9, priority = 9 }]\n",
    )
}

fn wanted_with(routing: &str) -> Vec<Wanted> {
    let text = format!(
        "[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"10.0.0.1\"]\n{routing}"
    );
    let config = Config::parse(&text, "vipd.toml").expect("a valid configuration");
    Wanted::all(&config.instances[0], &mut Links::default())
}

fn router(number: u32) -> RouterId {
    RouterId::new(number, 0)
}

/// Records that all queued entries were added, and returns the entries in the order of addition.
fn add_all(routing: &mut Routing) -> Vec<Wanted> {
    let added: Vec<_> = std::iter::from_fn(|| routing.next_addition()).collect();
    for wanted in &added {
        routing.entries.get_mut(wanted).expect("an entry").added = Some(wanted.entry);
    }
    added
}

#[test]
fn rules_are_added_after_routes_and_removed_before_them() {
    let (all, mut routing) = (wanted(), Routing::default());
    routing.set(NOW, router(1), &all);
    assert_eq!(add_all(&mut routing), [all[1], all[0], all[2]]);
    routing.set(NOW, router(1), &[]);
    let removed: Vec<_> = std::iter::from_fn(|| routing.removals.pop_last()).collect();
    assert_eq!(removed, [all[2], all[0], all[1]]);
}

/// The default route sorts first, but the kernel refuses it until the gateway is reachable.
#[test]
fn routes_without_a_gateway_are_added_first() {
    let routes = "routes = [{ to = \"0.0.0.0/0\", via = \"203.0.113.1\", dev = \"eth1\" }, \
                  { to = \"203.0.113.1/32\", dev = \"eth1\" }]\n";
    let (all, mut routing) = (wanted_with(routes), Routing::default());
    routing.set(NOW, router(1), &all);
    assert_eq!(add_all(&mut routing), [all[1], all[0]]);
    routing.verify(router(1));
    assert_eq!(add_all(&mut routing), [all[1], all[0]]);
}

/// The result of a retry may take seconds, because the thread waits for the rtnl lock.
#[test]
fn retry_that_has_begun_does_not_wake_the_engine() {
    let (all, mut routing) = (wanted(), Routing::default());
    routing.set(NOW, router(1), &all);
    while routing.next_addition().is_some() {}
    routing.retries.refused(all[0], libc::ENETUNREACH, false, NOW);
    let due = routing.next().expect("a retry");
    assert_eq!(due, NOW + SECOND);
    routing.queue_due(due);
    assert_eq!(routing.next_addition(), Some(all[0]));
    assert!(routing.next().is_some_and(|next| next > due), "only the periodic check");
    // The engine also queues due changes in each turn until it receives the result.
    routing.queue_due(due);
    assert_eq!(routing.next_addition(), None);
}

#[test]
fn shared_entries_are_removed_with_their_last_holder() {
    let (all, mut routing) = (wanted(), Routing::default());
    routing.set(NOW, router(1), &all);
    add_all(&mut routing);
    routing.set(NOW, router(2), &all[..1]);
    assert!(routing.additions.is_empty(), "the entry is already present");
    routing.set(NOW, router(1), &[]);
    assert_eq!(routing.removals.iter().copied().collect::<Vec<_>>(), [all[1], all[2]]);
    assert_eq!(routing.missing(router(2)).count(), 0);
    routing.set(NOW, router(2), &[]);
    assert_eq!(routing.removals.len(), 3);
    // A router that becomes master again before the removal keeps the entry.
    routing.set(NOW, router(1), &all[..1]);
    assert_eq!((routing.removals.len(), routing.additions.len()), (2, 1));
}

#[test]
fn entries_that_were_not_added_need_no_removal() {
    let (all, mut routing) = (wanted(), Routing::default());
    routing.set(NOW, router(1), &all);
    assert_eq!(routing.missing(router(1)).collect::<Vec<_>>(), [(0, None), (1, None), (2, None)]);
    routing.set(NOW, router(1), &[]);
    assert!(!routing.is_busy() && routing.entries.is_empty());
}

#[test]
fn checks_after_external_removals_are_rate_limited() {
    let (all, mut routing) = (wanted(), Routing::default());
    routing.set(NOW, router(1), &all);
    add_all(&mut routing);
    for _ in 0..5 {
        routing.gone(NOW, all[0].entry);
        assert_eq!(add_all(&mut routing), [all[0]]);
    }
    routing.gone(NOW, all[0].entry);
    assert!(!routing.is_busy());
    assert_eq!(routing.retries.next(), Some(NOW + SECOND));
    routing.queue_due(NOW + SECOND);
    assert_eq!(add_all(&mut routing), [all[0]]);
    routing.gone(NOW, all[1].entry);
    assert_eq!(add_all(&mut routing), [all[1]], "each entry has its own limit");
}

#[test]
fn all_entries_are_checked_periodically() {
    let (all, mut routing) = (wanted(), Routing::default());
    assert_eq!(routing.next(), None);
    routing.set(NOW, router(1), &all);
    add_all(&mut routing);
    assert_eq!(routing.next(), Some(NOW + VERIFY_AFTER));
    routing.queue_due(NOW + VERIFY_AFTER);
    assert_eq!(add_all(&mut routing).len(), 3);
    assert_eq!(routing.next(), Some(NOW + 2 * VERIFY_AFTER));
    routing.set(NOW, router(1), &[]);
    routing.queue_due(NOW + 2 * VERIFY_AFTER);
    assert_eq!(routing.next(), None, "without entries, the engine is not woken");
}

#[test]
fn replaced_route_is_missing_and_not_removed() {
    let (all, mut routing) = (wanted(), Routing::default());
    routing.set(NOW, router(1), &all);
    add_all(&mut routing);
    let RoutingEntry::Route(replacement) = all[0].entry else { panic!("a route") };
    let other = Route { metric: 7, ..replacement };
    routing.replaced(other);
    assert_eq!(routing.missing(router(1)).count(), 0, "another metric");
    routing.replaced(Route { via: None, ..replacement });
    assert_eq!(routing.missing(router(1)).collect::<Vec<_>>(), [(0, None)]);
    assert_eq!(routing.next_addition(), Some(all[0]));
    routing.set(NOW, router(1), &[]);
    assert_eq!(routing.removals.iter().copied().collect::<Vec<_>>(), [all[1], all[2]]);
}

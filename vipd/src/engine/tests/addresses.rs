//! Takeovers with more addresses than fit into one turn, addresses with `accept = false`, and log
//! entries about removed addresses.

use super::*;
use crate::netlink::{Address, Attributes, Change, PROTO_VIPD};
use crate::vrrp::{Action, Addresses, Fault, Input};

/// Adverts that become due during the takeover are sent. Each address is added and announced once,
/// and shutdown removes all addresses.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn takeover_of_many_addresses_takes_several_turns() -> Result<()> {
    const ADDRESSES: usize = 250;
    let mut text = String::from("realtime = \"off\"\n");
    for vrid in 1..=4 {
        let addresses: Vec<_> = (1..=ADDRESSES).map(|last| format!("\"10.0.{vrid}.{last}/32\"")).collect();
        let _ = write!(
            text,
            "[[instance]]\nname = \"{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\nadvert_interval = \"10ms\"\n\
             virtual_addresses = [{}]\ngarp = {{ delay = \"0s\", repeat = 1 }}\n",
            addresses.join(", ")
        );
    }
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(move || {
        let mut bench = Bench::configured(&text)?;
        let present = |bench: &Bench| {
            let links = bench.engine.topology.links.iter();
            let ours = links.flat_map(|(_, link)| link.addresses.iter().filter(|found| found.prefix == 32));
            ours.count()
        };
        let adverts = |bench: &Bench| bench.sum(|instance| instance.sent.adverts);
        let (mut turns, mut first) = (0, None);
        bench.turn_until("all addresses are present", |bench| {
            let count = present(bench);
            turns += usize::from(count > 0);
            if count > 0 && first.is_none() {
                first = Some(adverts(bench));
                // Adverts become due while most addresses have not been added yet.
                thread::sleep(INTERVAL);
            }
            count == 4 * ADDRESSES
        })?;
        assert!(turns >= 4 * ADDRESSES / BUDGET.changes, "{turns} turns");
        assert!(Some(adverts(&bench)) > first, "adverts that became due were sent in the meantime");
        bench.turn_until("all addresses are announced", |bench| {
            bench.sum(|instance| instance.sent.gratuitous_arps) >= 4 * ADDRESSES as u64
        })?;
        assert_eq!(bench.sum(|instance| instance.sent.gratuitous_arps), 4 * ADDRESSES as u64);
        bench.engine.shut_down(clock::now());
        assert_eq!(present(&bench), 0);
        bench.engine.resync()?;
        assert_eq!(present(&bench), 0, "no address remains in the kernel");
        Ok(())
    })
}

/// Returns the configuration of one master with three addresses and `accept = false`.
fn closed() -> String {
    String::from(
        "realtime = \"off\"\n[[instance]]\nname = \"1\"\ninterface = \"eth1\"\nvrid = 1\n\
         advert_interval = \"10ms\"\naccept = false\n\
         virtual_addresses = [\"10.0.1.1/32\", \"10.0.1.2/32\", \"10.0.1.3/32\"]\n",
    )
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_stay_closed_when_mastership_returns_before_their_removal() -> Result<()> {
    const ONE: Budget = Budget { changes: 1, announcements: 1, routing: 1 };
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::with_room(&closed(), 8)?;
        bench.turn_until("the router is master", |bench| bench.all_are(State::Master))?;
        bench.turn_until("all VIPs are added", |bench| !bench.engine.effects.has_changes())?;
        let Engine { effects, topology, reports, .. } = &mut bench.engine;
        assert_eq!(effects.covered_count(), 3);
        let (id, _) = topology.routers.iter().next().expect("a router");
        effects.push(id, Action::RemoveAddresses);
        effects.flush(clock::now(), ONE, topology, reports);
        assert!(effects.has_changes(), "removals are pending");
        effects.push(id, Action::AddAddresses(Addresses::All));
        while effects.has_changes() || effects.has_actions() {
            effects.flush(clock::now(), ONE, topology, reports);
        }
        assert!(!effects.is_open(id, topology));
        effects.push(id, Action::RemoveAddresses);
        effects.flush(clock::now(), BUDGET, topology, reports);
        assert!(effects.is_open(id, topology));
        Ok(())
    })
}

/// The engine may flush twice in a turn, but reads adverts only once.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn late_announcements_wait_for_the_next_turn() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::with_room(&closed(), 8)?;
        bench.turn_until("the router is master", |bench| bench.all_are(State::Master))?;
        bench.turn_until("all VIPs are announced", |bench| bench.engine.effects.is_quiet())?;
        let announced = |bench: &Bench| bench.last_router().sent.gratuitous_arps;
        let before = announced(&bench);
        let flush = |bench: &mut Bench, now| {
            let Engine { effects, topology, reports, .. } = &mut bench.engine;
            effects.flush(now, BUDGET, topology, reports);
        };
        let now = clock::now();
        flush(&mut bench, now);
        bench.engine.effects.make_late();
        let (id, _) = bench.engine.topology.routers.iter().next().expect("a router");
        bench.engine.effects.push(id, Action::Announce { addresses: Addresses::All, rounds: 1 });
        flush(&mut bench, now);
        assert_eq!(announced(&bench), before);
        assert!(bench.engine.effects.is_busy(), "the next turn follows at once");
        flush(&mut bench, clock::now());
        assert_eq!(announced(&bench), before + 3);
        Ok(())
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_that_cannot_be_closed_are_reported_once_and_not_added() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::with_room(&closed(), 1)?;
        bench.turn_until("the second attempt", |bench| bench.last_router().sent.address_errors >= 2)?;
        let router = bench.last_router();
        assert_eq!(router.missing(&bench.engine.topology.links).count(), 2);
        assert_eq!(bench.engine.reconcile_at, None, "no resync is scheduled");
        let mut reports = 0;
        while let Ok(report) = bench.reported.try_recv() {
            reports += usize::from(matches!(report, Report::NotCovered { .. }));
        }
        assert_eq!(reports, 1);
        Ok(())
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn removals_are_logged_after_the_kernel_has_acknowledged_them() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        // A VIP added by another tool, and a stale VIP with vipd's mark.
        vipd_tests::links::add_address("eth1", Ipv4Addr::new(10, 0, 1, 1), 32)?;
        let mut requests = Requests::open()?;
        let ifindex = vipd_tests::links::index("eth1")?;
        let left = Address::vipd(ifindex, Ipv4Addr::new(10, 0, 1, 2).into(), 32);
        requests.apply(&[Change::Add(left, Attributes::default())], |_, error| panic!("{error}"))?;
        let mut bench = Bench::configured(&closed().replace("accept = false", "startup_delay = \"1000s\""))?;
        bench.engine.take_commands(clock::now());
        bench.engine.reconcile(clock::now());
        let removed = |bench: &mut Bench| {
            let reports = std::iter::from_fn(|| bench.reported.try_recv().ok());
            let mut removed: Vec<String> = reports
                .filter_map(|report| match report {
                    Report::VipRemoved { address, .. } => Some(format!("{} not master", address.address)),
                    Report::StaleVipRemoved(address) => Some(format!("{} stale", address.address)),
                    _ => None,
                })
                .collect();
            removed.sort();
            removed
        };
        assert!(bench.engine.effects.has_changes() && removed(&mut bench).is_empty(), "queued, not removed");
        bench.engine.flush(clock::now());
        assert_eq!(removed(&mut bench), ["10.0.1.1 not master", "10.0.1.2 stale"]);
        Ok(())
    })
}

/// All VIPs share a subnet, so the kernel removes the other two along with the primary address.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_removed_along_with_their_primary_address_are_added_again() -> Result<()> {
    let text = (1..=3).fold(String::from("realtime = \"off\"\n"), |text, vrid| {
        format!(
            "{text}[[instance]]\nname = \"{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\nadvert_interval = \"10ms\"\n\
             virtual_addresses = [\"10.5.5.{vrid}/24\"]\n"
        )
    });
    let present = || -> Result<Vec<String>> {
        let shown =
            std::process::Command::new("ip").args(["-4", "-o", "address", "show", "dev", "eth1"]).output()?;
        let shown = String::from_utf8(shown.stdout)?;
        let found = shown.split_whitespace().filter(|word| word.starts_with("10.5.5.") && word.contains('/'));
        let mut found: Vec<String> = found.map(str::to_owned).collect();
        found.sort();
        Ok(found)
    };
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(move || {
        let mut bench = Bench::configured(&text)?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        let on_link = |bench: &Bench, is_secondary: bool| -> Vec<IpAddr> {
            let addresses = bench.engine.topology.links.iter().flat_map(|(_, link)| link.addresses.iter());
            let vips = addresses.filter(|found| found.prefix == 24 && found.protocol == PROTO_VIPD);
            vips.filter(|found| found.secondary == is_secondary).map(|found| found.address).collect()
        };
        bench.turn_until("the kernel has reported all VIPs", |bench| {
            !bench.engine.effects.is_busy() && on_link(bench, true).len() == 2
        })?;
        let primary = on_link(&bench, false);
        let routers = bench.engine.topology.routers.iter();
        let first =
            routers.filter(|(_, one)| primary.contains(&one.addresses[0].address)).map(|(id, _)| id).next();
        let now = clock::now();
        bench.engine.dispatch(
            now,
            first.expect("the router of the primary VIP"),
            Input::Impede(Fault::Drained),
        );
        bench.engine.flush(now);
        assert_eq!(present()?.len(), 2, "the other VIPs are added again before any notification is read");
        bench.turn_until("the kernel has reported the two remaining VIPs", |bench| {
            on_link(bench, true).len() == 1 && on_link(bench, false).len() == 1
        })?;
        bench.turn_until("no change is pending", |bench| !bench.engine.effects.is_busy())?;
        assert_eq!(present()?.len(), 2);
        let restored = bench.sum(|one| one.router.snapshot().counters.addresses_restored);
        assert_eq!(restored, 0, "nothing was removed externally");
        Ok(())
    })
}

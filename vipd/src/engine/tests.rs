//! The engine on a LAN segment, run turn by turn: the order of adverts, and no allocations in the
//! steady state.
//!
//! Locked memory and real-time scheduling do not help where an allocator takes a lock or gets pages
//! from the kernel.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use vipd_common::address::to_words;
use vipd_common::parse::ChecksumForm;
use vipd_common::records::{AdvertRecord, BURST};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol;
use vipd_tests::station::Station;
use vipd_witness::Advert;

use super::*;
use crate::config::Config;
use crate::engine::instance::Instance;
use crate::netlink::Macvlans;
use crate::service::link_io::LinkOpener;
use crate::service::worker::LinkWork as _;
use crate::service::{bus, topology};
use crate::vrrp::{Action, Addresses, Family, State};
use crate::xdp::{Kernel, Loaded, OBJECT, Row, Sizes, Verbosity};

const NODE: Station = Station::Node(1);
const ROUTERS: u8 = 20;
const INTERVAL: Duration = Duration::from_millis(10);
const SOON: Duration = Duration::from_secs(30);
/// Missed adverts before a takeover: many, so that a busy machine does not cause one.
const MISSING: u32 = 50;

/// An engine whose interface is open, with the service's ends of its channels.
struct Bench {
    engine: Engine,
    handle: Handle,
    opener: LinkOpener,
    requested: mpsc::UnboundedReceiver<Request>,
    reported: mpsc::Receiver<Report>,
}

impl Bench {
    /// Opens an engine in the network namespace of this thread.
    fn new() -> Result<Self> {
        Self::configured(&configuration())
    }

    /// Starts a lab with another configuration.
    fn configured(text: &str) -> Result<Self> {
        Self::with_room(text, 0)
    }

    /// Starts a lab with room for this many VIPs with `accept = false`.
    fn with_room(text: &str, closed: u32) -> Result<Self> {
        let config = Config::parse(text, "vipd.toml").map_err(|found| anyhow::anyhow!("{found}"))?;
        let sizes = Sizes { routers: ROUTERS.into(), peers: 0, closed, senders: 4096, burst: BURST };
        let Loaded { kernel, feed, counters: _, closed, steady, log: _ } =
            Kernel::load(OBJECT, sizes, Verbosity::Quiet)?;
        let mut opener = LinkOpener::new(kernel, Macvlans::open("test")?);
        let (requests, requested) = mpsc::unbounded_channel();
        let (reports, reported) = mpsc::channel(4096);
        let (transitions, _) = bus::bus(ROUTERS.into());
        let outlets = Outlets { requests, reports, transitions };
        let kernel_side = KernelSide { feed, closed, steady };
        let topology = topology(&config, sizes)?;
        let (engine, handle) = Engine::new(topology, kernel_side, config.realtime, outlets)?;
        for spec in engine.present().into_iter().filter_map(|link| engine.topology().spec(link)) {
            let io = Ok(opener.open(&spec)?);
            handle.send(Command::Opened { link: spec.link, ifindex: spec.ifindex, io });
        }
        Ok(Self { engine, handle, opener, requested, reported })
    }

    /// Runs turns until the condition holds. Fails after a while, even if the engine sleeps.
    fn turn_until(&mut self, what: &str, mut is_met: impl FnMut(&Self) -> bool) -> Result<()> {
        let handle = self.handle.clone();
        let (done, over) = channel::<()>();
        let watchdog = thread::spawn(move || {
            if over.recv_timeout(SOON) == Err(RecvTimeoutError::Timeout) {
                handle.send(Command::Stop);
            }
        });
        while !is_met(self) {
            anyhow::ensure!(self.engine.turn()?, "not within {SOON:?}: {what}");
        }
        drop(done);
        watchdog.join().expect("the watchdog does not panic");
        Ok(())
    }

    /// Serves the engine's requests, as the service does.
    fn serve(&mut self) -> Result<()> {
        while let Ok(request) = self.requested.try_recv() {
            match request {
                Request::Open(spec) | Request::Reattach(spec) => {
                    let io = Ok(self.opener.open(&spec)?);
                    self.handle.send(Command::Opened { link: spec.link, ifindex: spec.ifindex, io });
                }
                Request::Forget { ifindex, entry, row } => {
                    self.opener.forget(ifindex, &entry, row);
                    self.handle.send(Command::RowReleased(row));
                }
                Request::Close { ifindex, io, .. } => {
                    drop(io);
                    self.opener.close(ifindex);
                }
                Request::Drop(io) => drop(io),
                Request::Down { .. } | Request::RenewGroups(_) => {}
            }
        }
        Ok(())
    }

    fn all_are(&self, state: State) -> bool {
        self.engine.topology.routers.values().all(|instance| instance.router.state() == state)
    }

    /// Returns whether all routers are on the fast path.
    fn all_on_fast_path(&self) -> bool {
        self.engine.topology.routers.values().all(|instance| instance.fast_path.published().is_some())
    }

    /// Returns the arrival of the last advert from this source that the first router was given.
    fn last_given(&self, source: Ipv4Addr) -> Option<Timestamp> {
        let peers = self.engine.topology.routers.values().next()?.router.peers();
        Some(peers.iter().find(|peer| peer.address == source)?.last_arrival)
    }

    /// Allocations in this number of turns.
    fn allocations(&mut self, turns: usize) -> Result<u64> {
        let mut result = Ok(());
        let counted = allocation_counter::measure(|| {
            for _ in 0..turns {
                result = self.engine.turn().map(drop);
            }
        });
        result?;
        Ok(counted.count_total)
    }

    fn last_router(&self) -> &Instance {
        self.engine.topology.routers.values().last().expect("there are routers")
    }

    fn sum(&self, counter: impl Fn(&Instance) -> u64) -> u64 {
        self.engine.topology.routers.values().map(counter).sum()
    }
}

fn configuration() -> String {
    let mut text = String::from("realtime = \"off\"\n");
    for vrid in 1..=ROUTERS {
        let _ = write!(
            text,
            "[[instance]]\nname = \"{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\nadvert_interval = \"10ms\"\n\
             down_after_adverts = {MISSING}\nvirtual_addresses = [\"10.0.{vrid}.1\"]\ngarp = {{ delay = \"0s\" }}\n"
        );
    }
    text
}

fn advert(vrid: u8, priority: u8) -> Vec<u8> {
    let addresses = vec![Ipv4Addr::new(10, 0, vrid, 1).into()];
    let valid = Station::Client.advert(protocol::Version::V3, vrid, priority);
    Advert { interval: 1, addresses, ..valid }.frame()
}

/// Adverts of the master, one for each router.
fn masters() -> Vec<Vec<u8>> {
    (1..=ROUTERS).map(|vrid| advert(vrid, 200)).collect()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unchanged_adverts_are_given_before_a_later_record_and_before_a_snapshot() -> Result<()> {
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 77);
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    lab.host(NODE)?.run(move || {
        let mut bench = Bench::new()?;
        bench.turn_until("all are backups", |bench| bench.all_are(State::Backup))?;
        injector.pace(&masters(), ROUTERS.into(), Duration::ZERO)?;
        bench.turn_until("all are on the fast path", Bench::all_on_fast_path)?;
        let master = Station::Client.ipv4();
        let begin = clock::now();
        injector.pace(&masters(), ROUTERS.into(), Duration::ZERO)?;
        let has_arrived =
            |bench: &Bench| bench.engine.steady.last_arrival(Row::new(1).expect("not 0")) > begin;
        while !has_arrived(&bench) {
            thread::yield_now();
        }
        assert!(bench.last_given(master) < Some(begin), "the router was not given it yet");
        // Another router, with a priority between the node's and the master's.
        let valid = Station::Client.advert(protocol::Version::V3, 1, 150);
        let addresses = vec![Ipv4Addr::new(10, 0, 1, 1).into()];
        injector.send(&Advert { source: OTHER.into(), interval: 1, addresses, ..valid }.frame())?;
        bench.turn_until("the other router's advert was given", |bench| bench.last_given(OTHER).is_some())?;
        assert!(bench.last_given(master) > Some(begin), "the unchanged advert arrived before the record");
        assert!(bench.last_given(master) < bench.last_given(OTHER));

        injector.pace(&masters(), ROUTERS.into(), Duration::ZERO)?;
        bench.turn_until("all are on the fast path again", Bench::all_on_fast_path)?;
        let begin = clock::now();
        injector.pace(&masters(), ROUTERS.into(), Duration::ZERO)?;
        while !has_arrived(&bench) {
            thread::yield_now();
        }
        bench.engine.snapshot(clock::now());
        assert!(bench.last_given(master) > Some(begin), "a snapshot includes the latest arrival");
        Ok(())
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_master_that_stops_is_replaced_on_and_off_the_fast_path() -> Result<()> {
    for (what, last) in [("on the fast path", None), ("its last advert had another priority", Some(50))] {
        let lab = Lab::new(1)?;
        let injector = Injector::open(lab.host(Station::Client)?)?;
        lab.host(NODE)?.run(move || -> Result<()> {
            let mut bench = Bench::new()?;
            bench.turn_until("all are backups", |bench| bench.all_are(State::Backup))?;
            injector.pace(&masters(), ROUTERS.into(), Duration::ZERO)?;
            bench.turn_until("all are on the fast path", Bench::all_on_fast_path)?;
            // The clock is read here because a turn ends by waiting for the next deadline.
            let begin = clock::now();
            injector.pace(&masters(), ROUTERS.into(), Duration::ZERO)?;
            if let Some(priority) = last {
                // Lower than the node's: it ends the fast path and does not move the deadline.
                let frames: Vec<_> = (1..=ROUTERS).map(|vrid| advert(vrid, priority)).collect();
                injector.pace(&frames, frames.len(), Duration::ZERO)?;
                bench.turn_until("none is on the fast path", |bench| {
                    bench
                        .engine
                        .topology
                        .routers
                        .values()
                        .all(|instance| instance.fast_path.published().is_none())
                })?;
            }
            bench.turn_until(what, |bench| bench.all_are(State::Master))?;
            assert!(clock::now() > begin + u64::from(MISSING / 2) * 10_000_000, "{what}: too early");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn the_steady_state_of_a_master_does_not_allocate() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all are masters", |bench| bench.all_are(State::Master))?;
        // Five announcements of each address at a takeover.
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
fn the_steady_state_of_a_backup_does_not_allocate() -> Result<()> {
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    // A master with unchanged adverts, but for one router, whose priority changes each time.
    let master = thread::spawn(move || -> Result<()> {
        let frames: Vec<_> = (1..=2 * ROUTERS)
            .map(|turn| advert(1 + (turn - 1) % ROUTERS, if turn == 2 * ROUTERS { 201 } else { 200 }))
            .collect();
        while !is_done.load(Ordering::Relaxed) {
            injector.pace(&frames, frames.len(), 2 * INTERVAL)?;
        }
        Ok(())
    });
    let measured = lab.host(NODE)?.run(|| -> Result<()> {
        let mut bench = Bench::new()?;
        bench.turn_until("all are backups", |bench| bench.all_are(State::Backup))?;
        bench.turn_until("all are on the fast path", Bench::all_on_fast_path)?;
        bench.allocations(20)?;
        let changed = bench.last_router().router.peers()[0].last_arrival;
        // A hundred changed adverts per second, and a pass over the fast-path deadlines every half
        // second.
        assert_eq!(bench.allocations(200)?, 0);
        let peer = bench.last_router().router.peers()[0];
        assert!(peer.last_arrival > changed, "changed adverts were given");
        assert!(bench.all_are(State::Backup), "the master is followed");
        Ok(())
    });
    done.store(true, Ordering::Relaxed);
    master.join().expect("the master does not panic")?;
    measured
}

/// One router is repeatedly removed and added: the others stay master, and its row, slot and link
/// are reused.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn routers_are_added_and_removed_while_others_run() -> Result<()> {
    const ROUNDS: u32 = 500;
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all are masters", |bench| bench.all_are(State::Master))?;
        let transitions =
            |bench: &Bench| bench.sum(|instance| instance.router.snapshot().counters.master_transitions);
        for round in 0..ROUNDS {
            let (id, last) = bench.engine.topology.routers.iter().last().expect("there are routers");
            let (settings, row) = (Arc::clone(&last.settings), last.row);
            bench.engine.remove_router(clock::now(), id);
            assert!(bench.engine.topology.routers.get(id).is_none());
            bench.serve()?;
            bench.engine.take_commands(clock::now());
            bench.engine.add_router(settings);
            assert_eq!(bench.last_router().row, row, "the row is given out again");
            bench.serve()?;
            assert!(bench.engine.turn()?, "round {round}");
        }
        bench.turn_until("the last one is master again", |bench| bench.all_are(State::Master))?;
        assert_eq!(bench.engine.topology.routers.slots(), usize::from(ROUTERS));
        assert_eq!(bench.engine.topology.links.slots(), 1);
        assert_eq!(transitions(&bench), u64::from(ROUTERS), "the others have stayed masters");
        Ok(())
    })
}

/// Records still in the ring when their router is removed contain its row, which may have been
/// reused.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_record_of_a_former_router_is_not_given_to_the_next_one_with_its_row() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all are backups", |bench| bench.all_are(State::Backup))?;
        let first = bench.engine.topology.routers.values().next().expect("there are routers");
        let (row, link) = (first.row.number(), first.link);
        let ifindex = bench.engine.topology.links.get(link).and_then(|link| link.ifindex).unwrap_or_default();
        let record = AdvertRecord {
            row,
            ifindex,
            vrid: 1,
            family: Family::V4.number(),
            version: 3,
            checksum: ChecksumForm::Rfc5798 as u8,
            priority: 200,
            interval: 1,
            source: to_words(Station::Client.ipv4().into()),
            ..bytemuck::Zeroable::zeroed()
        };
        for (stale, given) in [
            (AdvertRecord { vrid: 99, ..record }, false),
            (AdvertRecord { family: Family::V6.number(), ..record }, false),
            (AdvertRecord { ifindex: ifindex + 1, ..record }, false),
            (record, true),
        ] {
            bench.engine.dispatch_record(clock::now(), &stale);
            assert_eq!(bench.last_given(Station::Client.ipv4()).is_some(), given, "{stale:?}");
        }
        Ok(())
    })
}

/// More addresses than one turn may change: adverts that are due are sent in between, each address
/// is added and announced, and a shutdown removes them all.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_takeover_of_many_addresses_takes_several_turns() -> Result<()> {
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
        bench.turn_until("all addresses are there", |bench| {
            let count = present(bench);
            turns += usize::from(count > 0);
            if count > 0 && first.is_none() {
                first = Some(adverts(bench));
                // From here on adverts are due, while most addresses are still to be added.
                thread::sleep(INTERVAL);
            }
            count == 4 * ADDRESSES
        })?;
        assert!(turns >= 4 * ADDRESSES / BUDGET.changes, "{turns} turns");
        assert!(Some(adverts(&bench)) > first, "adverts that were due were sent between the turns");
        bench.turn_until("all are announced", |bench| {
            bench.sum(|instance| instance.sent.gratuitous_arps) >= 4 * ADDRESSES as u64
        })?;
        assert_eq!(bench.sum(|instance| instance.sent.gratuitous_arps), 4 * ADDRESSES as u64);
        bench.engine.shut_down(clock::now());
        assert_eq!(present(&bench), 0);
        bench.engine.resync()?;
        assert_eq!(present(&bench), 0, "in the kernel, too");
        Ok(())
    })
}

/// Replaces the attachment of the only link with one whose probes block until the sender is used or
/// dropped.
fn block_probes(bench: &mut Bench) -> Sender<()> {
    let (release, released) = channel();
    let attachment = bench.engine.prober.watch(move || {
        let _ = released.recv();
        true
    });
    let (_, link) = bench.engine.topology.links.iter_mut().next().expect("there is a link");
    link.io.as_mut().expect("it is open").attachment = Some(attachment);
    release
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_master_sends_adverts_while_a_probe_is_blocked() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all are masters", |bench| bench.all_are(State::Master))?;
        let _blocked = block_probes(&mut bench);
        let sent = |bench: &Bench| bench.sum(|instance| instance.sent.adverts);
        let before = sent(&bench);
        bench.turn_until("adverts are sent", |bench| sent(bench) >= before + 50 * u64::from(ROUTERS))?;
        assert!(bench.all_are(State::Master));
        Ok(())
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn an_election_waits_for_a_probe_that_began_in_the_silence() -> Result<()> {
    for was_followed in [true, false] {
        let lab = Lab::new(1)?;
        let injector = Injector::open(lab.host(Station::Client)?)?;
        lab.host(NODE)?.run(move || -> Result<()> {
            let mut bench = Bench::new()?;
            bench.turn_until("all are backups", |bench| bench.all_are(State::Backup))?;
            let release = block_probes(&mut bench);
            if was_followed {
                injector.pace(&masters(), ROUTERS.into(), Duration::ZERO)?;
                bench.turn_until("all are on the fast path", Bench::all_on_fast_path)?;
            }
            let waiting = |bench: &Bench| bench.engine.waiting.len() == usize::from(ROUTERS);
            bench.turn_until("all elections wait", waiting)?;
            let wakeups = bench.engine.wakeups;
            for _ in 0..20 {
                bench.engine.turn()?;
            }
            assert!(bench.engine.wakeups >= wakeups + 5, "it does not spin");
            assert!(bench.all_are(State::Backup) && waiting(&bench));
            drop(release);
            bench.turn_until("all are masters", |bench| bench.all_are(State::Master))?;
            assert!(bench.engine.waiting.is_empty());
            Ok(())
        })?;
    }
    Ok(())
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
fn addresses_stay_closed_when_their_router_is_master_again_before_they_are_removed() -> Result<()> {
    const ONE: Budget = Budget { changes: 1, announcements: 1 };
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::with_room(&closed(), 8)?;
        bench.turn_until("it is master", |bench| bench.all_are(State::Master))?;
        bench.turn_until("all are added", |bench| !bench.engine.effects.has_changes())?;
        let Engine { effects, topology, reports, .. } = &mut bench.engine;
        assert_eq!(effects.closed_count(), 3);
        let (id, _) = topology.routers.iter().next().expect("a router");
        effects.push(id, Action::RemoveAddresses);
        effects.flush(clock::now(), ONE, topology, reports);
        assert!(effects.has_changes(), "removals are pending");
        effects.push(id, Action::AddAddresses(Addresses::All));
        while effects.has_changes() || effects.has_actions() {
            effects.flush(clock::now(), ONE, topology, reports);
        }
        assert_eq!(effects.closed_count(), 3);
        effects.push(id, Action::RemoveAddresses);
        effects.flush(clock::now(), BUDGET, topology, reports);
        assert_eq!(effects.closed_count(), 0);
        Ok(())
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn addresses_that_cannot_be_closed_are_reported_once_and_not_added() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::with_room(&closed(), 1)?;
        bench.turn_until("the second attempt", |bench| bench.last_router().sent.address_errors >= 2)?;
        let router = bench.last_router();
        assert_eq!(router.missing(&bench.engine.topology.links).count(), 2);
        assert_eq!(bench.engine.reconcile_at, None, "nothing to read again");
        let mut reports = 0;
        while let Ok(report) = bench.reported.try_recv() {
            reports += usize::from(matches!(report, Report::NotClosed { .. }));
        }
        assert_eq!(reports, 1);
        Ok(())
    })
}

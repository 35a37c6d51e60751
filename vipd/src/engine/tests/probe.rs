//! Probes of the XDP attachment: the conditions for a request, and probes that block.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vipd_common::records::SIGNED_BURST;
use vipd_common::wire::trailer::Trailer;
use vipd_tests::wait::wait_until;

use super::*;
use crate::xdp::{Position, Row};

/// Replaces the attachment of the first link with an attachment whose probes block until the
/// returned sender is used or dropped.
pub(super) fn block_probes(bench: &mut Bench) -> Sender<()> {
    let (release, released) = channel();
    let attachment = bench.engine.prober.watch(move || {
        let _ = released.recv();
        Position::First
    });
    let (_, link) = bench.engine.topology.links.iter_mut().next().expect("there is a link");
    link.io.as_mut().expect("it is open").attachment = Some(attachment);
    release
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_that_receives_adverts_is_not_probed() -> Result<()> {
    const WITHOUT_PROBE: u64 = 3_000_000_000;
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    let done = Arc::new(AtomicBool::new(false));
    let is_done = Arc::clone(&done);
    let master = thread::spawn(move || -> Result<()> {
        while !is_done.load(Ordering::Relaxed) {
            injector.send_paced(&masters(), ROUTERS.into(), INTERVAL)?;
        }
        Ok(())
    });
    let result = lab.host(NODE)?.run(|| -> Result<()> {
        let mut bench = Bench::new()?;
        let probes = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&probes);
        let attachment = bench.engine.prober.watch(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            Position::First
        });
        bench.turn_until("all routers are on the fast path", Bench::all_on_fast_path)?;
        let (_, link) = bench.engine.topology.links.iter_mut().next().expect("there is a link");
        link.io.as_mut().expect("it is open").attachment = Some(attachment);
        // A gap between adverts, for example on a busy machine, causes a probe, as intended.
        let (mut count, mut since) = (0, Timestamp::ZERO);
        bench.turn_until("adverts arrive without a probe", |bench| {
            let arrival = bench.engine.steady.last_arrival(Row::new(1).expect("not 0"));
            let now = probes.load(Ordering::Relaxed);
            if std::mem::replace(&mut count, now) != now || since == Timestamp::ZERO {
                since = arrival;
            }
            arrival > since + WITHOUT_PROBE
        })
    });
    done.store(true, Ordering::Relaxed);
    master.join().expect("the master does not panic")?;
    result
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn master_sends_adverts_while_a_probe_is_blocked() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
        let _blocked = block_probes(&mut bench);
        let sent = |bench: &Bench| bench.sum(|instance| instance.sent.adverts);
        let before = sent(&bench);
        bench.turn_until("adverts are sent", |bench| sent(bench) >= before + 50 * u64::from(ROUTERS))?;
        assert!(bench.all_are(State::Master));
        Ok(())
    })
}

/// The priority-0 advert proves that the program is attached.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn election_after_priority_zero_does_not_wait_for_a_probe() -> Result<()> {
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    lab.host(NODE)?.run(move || -> Result<()> {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are backups", |bench| bench.all_are(State::Backup))?;
        let _blocked = block_probes(&mut bench);
        injector.send_paced(&masters(), ROUTERS.into(), Duration::ZERO)?;
        bench.turn_until("all routers are on the fast path", Bench::all_on_fast_path)?;
        let last: Vec<_> = (1..=ROUTERS).map(|vrid| advert(vrid, 0)).collect();
        injector.send_paced(&last, ROUTERS.into(), Duration::ZERO)?;
        bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn election_waits_for_a_probe_that_began_after_adverts_were_missed() -> Result<()> {
    for was_followed in [true, false] {
        let lab = Lab::new(1)?;
        let injector = Injector::open(lab.host(Station::Client)?)?;
        lab.host(NODE)?.run(move || -> Result<()> {
            let mut bench = Bench::new()?;
            bench.turn_until("all routers are backups", |bench| bench.all_are(State::Backup))?;
            let release = block_probes(&mut bench);
            if was_followed {
                injector.send_paced(&masters(), ROUTERS.into(), Duration::ZERO)?;
                bench.turn_until("all routers are on the fast path", Bench::all_on_fast_path)?;
            }
            let waiting = |bench: &Bench| bench.engine.waiting.len() == usize::from(ROUTERS);
            bench.turn_until("all elections wait", waiting)?;
            let wakeups = bench.engine.wakeups;
            for _ in 0..20 {
                bench.engine.turn()?;
            }
            assert!(bench.engine.wakeups >= wakeups + 5, "the engine sleeps between retries");
            assert!(bench.all_are(State::Backup) && waiting(&bench));
            drop(release);
            bench.turn_until("all routers are masters", |bench| bench.all_are(State::Master))?;
            assert!(bench.engine.waiting.is_empty());
            Ok(())
        })?;
    }
    Ok(())
}

/// Adverts of the master may be among the dropped ones.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn election_that_waited_for_a_probe_is_postponed_if_signed_adverts_were_dropped() -> Result<()> {
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    lab.host(NODE)?.run(move || -> Result<()> {
        let key = "5a01".repeat(16);
        let mut bench = Bench::configured(&format!(
            "realtime = \"off\"\n[[instance]]\nname = \"1\"\ninterface = \"eth1\"\nvrid = 1\nadvert_interval = \"10ms\"\n\
             down_after_adverts = {MISSING}\nvirtual_addresses = [\"10.0.1.1\"]\n\
             hmac = {{ keys = [{{ id = 1, hex = \"{key}\" }}], anti_replay = \"monotonic\" }}\n"
        ))?;
        bench.turn_until("the router is backup", |bench| bench.all_are(State::Backup))?;
        let release = block_probes(&mut bench);
        bench.turn_until("the election waits", |bench| !bench.engine.waiting.is_empty())?;
        let valid = Station::Client.advert(protocol::Version::V3, 1, 200);
        let trailer = Trailer { key_id: 1, sequence: 1, hmac: [0; _] }.encode().to_vec();
        let forged =
            Advert { interval: 1, addresses: vec![Ipv4Addr::new(10, 0, 1, 1).into()], trailer, ..valid };
        let count = usize::try_from(2 * SIGNED_BURST)?;
        let row = bench.engine.topology.routers.values().next().expect("a router").row;
        let has_dropped = |bench: &Bench| bench.engine.signers.last_drop(row) > Timestamp::ZERO;
        // A pause between frames, for example on a busy machine, refills the budget.
        wait_until("adverts are dropped", SOON, || {
            injector.send_paced(&[forged.frame()], count, Duration::ZERO).expect("sent");
            has_dropped(&bench)
        })?;
        drop(release);
        bench.turn_until("the election no longer waits", |bench| bench.engine.waiting.is_empty())?;
        assert!(bench.all_are(State::Backup));
        Ok(())
    })
}

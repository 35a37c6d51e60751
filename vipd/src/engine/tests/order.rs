//! Adverts are passed to their router in the order of arrival.

use vipd_common::address::to_words;
use vipd_common::parse::ChecksumForm;
use vipd_common::records::AdvertRecord;

use super::*;
use crate::vrrp::Family;
use crate::xdp::Row;

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unchanged_adverts_are_handled_before_later_records_and_snapshots() -> Result<()> {
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 168, 122, 77);
    let lab = Lab::new(1)?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    lab.host(NODE)?.run(move || {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are backups", |bench| bench.all_are(State::Backup))?;
        injector.send_paced(&masters(), ROUTERS.into(), Duration::ZERO)?;
        bench.turn_until("all routers are on the fast path", Bench::all_on_fast_path)?;
        let master = Station::Client.ipv4();
        let begin = clock::now();
        injector.send_paced(&masters(), ROUTERS.into(), Duration::ZERO)?;
        let has_arrived =
            |bench: &Bench| bench.engine.steady.last_arrival(Row::new(1).expect("not 0")) > begin;
        while !has_arrived(&bench) {
            thread::yield_now();
        }
        assert!(bench.last_handled(master) < Some(begin), "the router has not handled the advert yet");
        // The advert of a third router, whose priority is between the node's and the master's.
        let valid = Station::Client.advert(protocol::Version::V3, 1, 150);
        let addresses = vec![Ipv4Addr::new(10, 0, 1, 1).into()];
        injector.send(&Advert { source: OTHER.into(), interval: 1, addresses, ..valid }.frame())?;
        bench.turn_until("the third router's advert was handled", |bench| {
            bench.last_handled(OTHER).is_some()
        })?;
        assert!(bench.last_handled(master) > Some(begin), "the unchanged advert arrived before the record");
        assert!(bench.last_handled(master) < bench.last_handled(OTHER));

        injector.send_paced(&masters(), ROUTERS.into(), Duration::ZERO)?;
        bench.turn_until("all routers are on the fast path again", Bench::all_on_fast_path)?;
        let begin = clock::now();
        injector.send_paced(&masters(), ROUTERS.into(), Duration::ZERO)?;
        while !has_arrived(&bench) {
            thread::yield_now();
        }
        bench.engine.snapshot(clock::now());
        assert!(bench.last_handled(master) > Some(begin), "a snapshot includes the latest arrival");
        Ok(())
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn stopped_master_is_replaced_on_and_off_the_fast_path() -> Result<()> {
    for (what, last) in [("takeover on the fast path", None), ("takeover after a changed priority", Some(50))]
    {
        let lab = Lab::new(1)?;
        let injector = Injector::open(lab.host(Station::Client)?)?;
        lab.host(NODE)?.run(move || -> Result<()> {
            let mut bench = Bench::new()?;
            bench.turn_until("all routers are backups", |bench| bench.all_are(State::Backup))?;
            injector.send_paced(&masters(), ROUTERS.into(), Duration::ZERO)?;
            bench.turn_until("all routers are on the fast path", Bench::all_on_fast_path)?;
            // The clock is read before the adverts are sent, because the next turn waits for the
            // deadline.
            let begin = clock::now();
            injector.send_paced(&masters(), ROUTERS.into(), Duration::ZERO)?;
            if let Some(priority) = last {
                // The priority is lower than the node's, so that the advert ends the fast path
                // without moving the deadline.
                let frames: Vec<_> = (1..=ROUTERS).map(|vrid| advert(vrid, priority)).collect();
                injector.send_paced(&frames, frames.len(), Duration::ZERO)?;
                bench.turn_until("no router is on the fast path", |bench| {
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

/// A record may still be in the ring when its router is removed, and the router's row may have been
/// reused by the time the record is read.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn record_of_a_removed_router_is_not_passed_to_the_next_router_with_its_row() -> Result<()> {
    let lab = Lab::new(1)?;
    lab.host(NODE)?.run(|| {
        let mut bench = Bench::new()?;
        bench.turn_until("all routers are backups", |bench| bench.all_are(State::Backup))?;
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
        for (record, is_handled) in [
            (AdvertRecord { vrid: 99, ..record }, false),
            (AdvertRecord { family: Family::V6.number(), ..record }, false),
            (AdvertRecord { ifindex: ifindex + 1, ..record }, false),
            (record, true),
        ] {
            bench.engine.dispatch_record(clock::now(), &record);
            assert_eq!(bench.last_handled(Station::Client.ipv4()).is_some(), is_handled, "{record:?}");
        }
        Ok(())
    })
}

//! Measures the system calls that a master needs, made one after the other without an agent. Their
//! times are the floors of the targets. A program that overlaps the calls can be faster.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{cpu, micros, routers};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::protocol::Version;
use vipd_tests::station::{INTERFACE, Mac, PREFIX, Station};
use vipd_tests::time::millis;

use crate::figure::Figure;
use crate::metric::Metric;

const NODE: Station = Station::Node(1);
/// Adverts per system call. Gratuitous ARPs are all sent in one call.
const BATCH: usize = 64;
/// Number of times that adding and announcing addresses is measured.
const REPEATS: u32 = 100;

/// Measures the floors for sending adverts and for adding and announcing addresses. Frames are
/// captured, as they are when agents are measured.
///
/// # Errors
/// Returns an error if the lab fails.
pub(crate) fn all(count: u8, interval: Duration, length: Duration) -> Result<Vec<Figure>> {
    let lab = Lab::new(1)?;
    let capture = lab.capture()?;
    let injector = Injector::open(lab.host(NODE)?)?;
    let adverts = sending(&injector, count, interval, length)?;
    let one = announcing(&lab, &injector, 1)?;
    let many = announcing(&lab, &injector, 100)?;
    capture.stop()?;
    Ok(vec![
        Figure::new(Metric::SendFloor, adverts),
        Figure::samples(Metric::AddressFloor, one.netlink),
        Figure::samples(Metric::TakeoverFloor, one.both),
        Figure::samples(Metric::AddressesFloor, many.netlink),
        Figure::samples(Metric::GarpsFloor, many.sending),
        Figure::samples(Metric::TakeoversFloor, many.both),
    ])
}

/// Sends the adverts of each interval with a few system calls, and returns the CPU time per advert
/// in microseconds.
fn sending(injector: &Injector, count: u8, interval: Duration, length: Duration) -> Result<f64> {
    let frames: Vec<_> = routers(count, 200, interval)
        .iter()
        .map(|instance| NODE.advert(Version::V3, instance.vrid, 200).frame())
        .collect();
    let frames: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    let rounds = u32::try_from(length.as_nanos() / interval.as_nanos())?;
    let (start, before) = (Instant::now(), cpu::of_thread());
    for round in 0..rounds {
        frames.chunks(BATCH).try_for_each(|batch| injector.send_all(batch))?;
        thread::sleep((start + interval * (round + 1)).saturating_duration_since(Instant::now()));
    }
    Ok(micros(cpu::of_thread().saturating_sub(before)) / f64::from(rounds * u32::from(count)))
}

/// Milliseconds for adding addresses, for announcing them, and for both together.
#[derive(Default)]
struct Announcing {
    netlink: Vec<f64>,
    sending: Vec<f64>,
    both: Vec<f64>,
}

fn announcing(lab: &Lab, injector: &Injector, count: u8) -> Result<Announcing> {
    // One subnet, as in the scenario `addresses`: all addresses except the first are secondary,
    // which makes them cheaper to add.
    let addresses: Vec<_> = (1..=count).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    let garps: Vec<_> = addresses.iter().map(|address| garp(NODE.mac(), *address)).collect();
    let garps: Vec<&[u8]> = garps.iter().map(Vec::as_slice).collect();
    let host = lab.host(NODE)?;
    let mut found = Announcing::default();
    for _ in 0..REPEATS {
        let added = addresses.clone();
        let netlink = host.run(move || -> Result<Duration> {
            let batch = links::address_batch(INTERFACE, &added, PREFIX)?;
            let start = Instant::now();
            batch.send().context("adding addresses")?;
            Ok(start.elapsed())
        })?;
        let start = Instant::now();
        injector.send_all(&garps)?;
        let sending = start.elapsed();
        found.netlink.push(millis(netlink));
        found.sending.push(millis(sending));
        found.both.push(millis(netlink + sending));
        // In reverse order, because removing the primary address would also remove the secondary
        // addresses.
        let added = addresses.clone();
        host.run(move || {
            added.iter().rev().try_for_each(|address| links::remove_address(INTERFACE, *address, PREFIX))
        })?;
    }
    Ok(found)
}

/// Returns a gratuitous ARP request (RFC 826, RFC 5227), with `address` as sender and target.
fn garp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend(Mac::BROADCAST.0);
    frame.extend(mac.0);
    frame.extend(0x0806_u16.to_be_bytes());
    // Hardware type Ethernet, protocol type IPv4, the length of each address type, operation
    // request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(address.octets());
    frame.extend([0; 6]);
    frame.extend(address.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use vipd_tests::frame::Frame;
    use vipd_tests::station::VIP;
    use vipd_tests::time::WallTime;

    #[test]
    fn decoder_recognizes_gratuitous_arp() {
        let bytes = garp(NODE.mac(), VIP);
        let frame = Frame { time: WallTime::now(), from: NODE, bytes };
        assert!(frame.gratuitous_arp(VIP).is_some());
    }
}

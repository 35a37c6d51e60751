//! A pair of routers under a flood of invalid and low-priority adverts, or of forged signed
//! adverts.

use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Result, ensure};

use super::{REST, adverts, cpu, wait_for_masters};
use vipd_tests::capture::Capture;
use vipd_tests::configuration::Instance;
use vipd_tests::frame::Frame;
use vipd_tests::hmac::{Hmac, key};
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol::Version;
use vipd_tests::station::{Station, VIP};
use vipd_tests::time::{WallTime, millis};
use vipd_witness::{Advert, Checksum, Trailer, sequence_at};

use crate::figure::Figure;
use crate::metric::Metric;
use crate::subject::Subject;

const MASTER: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);
/// Pause between floods.
const PAUSE: Duration = Duration::from_millis(300);
/// Flood rates in adverts per second; `None` is as many as one thread can send.
pub(crate) const RATES: [Option<u32>; 6] =
    [Some(4_000), Some(16_000), Some(30_000), Some(60_000), Some(120_000), None];

/// The adverts of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Invalid and low-priority adverts.
    Invalid,
    /// Adverts in the master's name with a wrong HMAC. At any time, some of them have a fresh
    /// sequence. The routers sign their adverts.
    Forged,
}

/// Measures a pair of routers with this interval under floods, one at each of `rates`, for `length`
/// each.
///
/// # Errors
/// Returns an error if the lab fails, a capture lost frames, or the master sends no adverts during
/// a flood.
pub(crate) fn pair(
    subject: &Subject,
    kind: Kind,
    interval: Duration,
    rates: &[Option<u32>],
    length: Duration,
) -> Result<Vec<Figure>> {
    let lab = Lab::new(2)?;
    let hmac = (kind == Kind::Forged).then(Hmac::enforce);
    let node = |priority| [Instance { priority, interval, hmac: hmac.clone(), ..Instance::default() }];
    let mut master = subject.agent(&lab, MASTER, &node(200))?;
    let mut backup = subject.agent(&lab, BACKUP, &node(100))?;
    let capture = Capture::of_station(lab.switch(), MASTER)?;
    let began = WallTime::now();
    master.start()?;
    wait_for_masters(&capture, began, 1)?;
    capture.stop()?;
    backup.start()?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    let mut figures = Vec::new();
    let mut pause = REST;
    for rate in rates {
        thread::sleep(pause);
        let captures =
            [Capture::of_station(lab.switch(), MASTER)?, Capture::of_station(lab.switch(), BACKUP)?];
        let frames = match kind {
            Kind::Invalid => flood_frames(interval)?,
            Kind::Forged => forged_frames(interval)?,
        };
        let used = cpu::of_process(backup.pid()?)?;
        let start = WallTime::now();
        let sent = injector.flood(&frames, *rate, length)?;
        let end = WallTime::now();
        let used = cpu::of_process(backup.pid()?)?.saturating_sub(used);
        let [of_master, of_backup] = captures.map(|capture| -> Result<Vec<Frame>> {
            let mut frames = capture.stop()?;
            frames.retain(|frame| frame.time >= start);
            Ok(frames)
        });
        let seen = Seen::in_frames(&of_master?, &of_backup?, interval, end)?;
        // Announcements that follow a false takeover must not be counted at the next rate.
        pause = if seen.takeovers + seen.garps > 0.0 { REST } else { PAUSE };
        let reached = sent.rate();
        let of_point = [
            Figure::new(Metric::FloodRate, reached),
            Figure::new(Metric::FalseTakeovers, seen.takeovers),
            Figure::new(Metric::StrayGarps, seen.garps),
            Figure::new(Metric::BackupGarps, seen.misleading),
            Figure::new(Metric::MasterGap, seen.gap),
            Figure::new(Metric::ProcessShare, 100.0 * used.as_secs_f64() / length.as_secs_f64()),
        ];
        figures.extend(of_point.map(|figure| figure.at(rate.unwrap_or(0), reached)));
    }
    Ok(figures)
}

/// Observations of the pair during a flood.
struct Seen {
    takeovers: f64,
    garps: f64,
    /// GARPs from the backup, which divert traffic from the master.
    misleading: f64,
    /// Longest gap between adverts from the master, in milliseconds.
    gap: f64,
}

impl Seen {
    /// Evaluates captured frames. A gap in the master's adverts that lasts until `end`, the end of
    /// the flood, also counts.
    fn in_frames(
        of_master: &[Frame],
        of_backup: &[Frame],
        interval: Duration,
        end: WallTime,
    ) -> Result<Self> {
        let adverts = |frames: &[Frame]| -> Vec<WallTime> {
            let ours = adverts(frames).remove(&Instance::default().vrid).unwrap_or_default();
            ours.iter().map(|(_, time)| *time).collect()
        };
        let mut times = adverts(of_master);
        ensure!(!times.is_empty(), "the master sent no adverts");
        times.extend(times.last().is_some_and(|last| *last < end).then_some(end));
        let gap = times.windows(2).map(|pair| pair[1].saturating_since(pair[0])).max().unwrap_or_default();
        // An advert from the backup counts as a takeover if it is the first in more than three
        // intervals.
        let mut takeovers = 0;
        let mut last: Option<WallTime> = None;
        for time in adverts(of_backup) {
            takeovers += u32::from(last.is_none_or(|last| time.saturating_since(last) > interval * 3));
            last = Some(time);
        }
        let announced = |frames: &[Frame]| {
            u32::try_from(frames.iter().filter(|frame| frame.gratuitous_arp(VIP).is_some()).count())
        };
        let misleading = announced(of_backup)?;
        let garps = announced(of_master)? + misleading;
        let (takeovers, garps, misleading) = (takeovers.into(), garps.into(), misleading.into());
        Ok(Self { takeovers, garps, misleading, gap: millis(gap) })
    }
}

/// Returns the adverts of the flood: one with a wrong TTL, one with a wrong checksum, one with a
/// VRID that is not configured, and a valid one with low priority.
fn flood_frames(interval: Duration) -> Result<Vec<Vec<u8>>> {
    let interval = u16::try_from(interval.as_millis() / 10)?;
    let valid = Advert { interval, ..Station::Client.advert(Version::V3, 51, 250) };
    let all = [
        Advert { ttl: 64, ..valid.clone() },
        Advert { checksum: Checksum::Bad, ..valid.clone() },
        Advert { vrid: 99, ..valid.clone() },
        Advert { priority: 1, ..valid },
    ];
    Ok(all.iter().map(Advert::frame).collect())
}

/// Returns adverts in the master's name, signed with another key. Their sequences are ahead of the
/// current time by up to twice the window, so that some are fresh throughout the flood.
fn forged_frames(interval: Duration) -> Result<Vec<Vec<u8>>> {
    let interval = u16::try_from(interval.as_millis() / 10)?;
    let advert =
        Advert { interval, source: MASTER.ipv4().into(), ..Station::Client.advert(Version::V3, 51, 200) };
    let forged = |step: u32| {
        let sequence = sequence_at(SystemTime::now() + Duration::from_millis(156) * step);
        Advert { signed: Some(Trailer { sequence, ..Trailer::new(&key(2), 1) }), ..advert.clone() }
    };
    Ok((0..64).map(|step| forged(step).frame()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backup_advert_after_three_silent_intervals_is_a_takeover() {
        let frame = |from: Station, millis: i64, bytes: &[u8]| Frame {
            time: WallTime::from_parts(1, millis * 1_000_000),
            from,
            bytes: bytes.to_vec(),
        };
        let advert = |from, millis| frame(from, millis, &from.advert(Version::V3, 51, 200).frame());
        let of_master = [0, 10, 25, 35].map(|time| advert(MASTER, time));
        // Two takeovers: the second after 40 ms without an advert.
        let of_backup = [100, 110, 150].map(|time| advert(BACKUP, time));
        let until = |of_master: &[Frame], millis: i64| {
            let end = WallTime::from_parts(1, millis * 1_000_000);
            Seen::in_frames(of_master, &of_backup, Duration::from_millis(10), end)
        };
        let seen = until(&of_master, 40).unwrap();
        assert_eq!((seen.takeovers, seen.garps, seen.gap), (2.0, 0.0, 15.0));
        let silent = until(&of_master, 65).unwrap();
        assert_eq!((silent.takeovers, silent.gap), (2.0, 30.0), "a gap at the end counts");
        assert!(until(&[], 40).is_err());
    }
}

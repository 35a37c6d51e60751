//! A healthy pair, and somebody who sends junk.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Figure, REST, adverts, thousands, wait_for_masters};
use crate::agent::{Agent, AgentKind};
use crate::capture::Capture;
use crate::configuration::Instance;
use crate::craft::{Advert, Checksum};
use crate::frame::Frame;
use crate::inject::Injector;
use crate::lab::Lab;
use crate::protocol::Version;
use crate::station::{Station, VIP};
use crate::time::{WallTime, millis};

const MASTER: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);
/// Between two floods: the last of the junk has been dealt with.
const PAUSE: Duration = Duration::from_millis(300);
/// Junk adverts a second that are asked for; the last time as many as one thread can send.
pub const RATES: [Option<u32>; 6] =
    [Some(4_000), Some(16_000), Some(30_000), Some(60_000), Some(120_000), None];

/// A pair at this interval under junk at these rates, so long each.
///
/// # Errors
/// When the lab fails, or a capture has holes.
pub fn pair(
    kind: &AgentKind,
    interval: Duration,
    rates: &[Option<u32>],
    length: Duration,
) -> Result<Vec<Figure>> {
    let lab = Lab::new(2)?;
    let node = |priority| [Instance { priority, interval, ..Instance::default() }];
    let mut master = Agent::new(&lab, MASTER, kind.clone(), &node(200))?;
    let mut backup = Agent::new(&lab, BACKUP, kind.clone(), &node(100))?;
    let capture = Capture::of(lab.switch(), MASTER)?;
    let began = WallTime::now();
    master.start()?;
    wait_for_masters(&capture, began, 1)?;
    capture.stop()?;
    backup.start()?;
    let injector = Injector::open(lab.host(Station::Client)?)?;
    let junk = junk(interval)?;
    let mut figures = Vec::new();
    let mut pause = REST;
    for rate in rates {
        let point = rate.map_or("as many as go".to_owned(), |rate| format!("{} a second", thousands(rate)));
        thread::sleep(pause);
        let captures = [Capture::of(lab.switch(), MASTER)?, Capture::of(lab.switch(), BACKUP)?];
        let start = WallTime::now();
        let sent = injector.flood(&junk, *rate, length)?;
        let end = WallTime::now();
        let [of_master, of_backup] = captures.map(|capture| -> Result<Vec<Frame>> {
            let mut frames = capture.stop()?;
            frames.retain(|frame| frame.time >= start);
            Ok(frames)
        });
        let seen = Seen::in_frames(&of_master?, &of_backup?, interval, end)?;
        // What a shaken pair announces after its flood is no later flood's.
        pause = if seen.takeovers + seen.garps > 0.0 { REST } else { PAUSE };
        let reached = sent.rate();
        let of_point = [
            Figure::new("junk adverts a second reached", "", reached),
            Figure::new("false takeovers", "", seen.takeovers),
            Figure::new("stray GARPs", "", seen.garps),
            Figure::new("of them the backup's", "", seen.misleading),
            Figure::new("longest gap between adverts of the master", "ms", seen.gap),
        ];
        figures.extend(of_point.map(|figure| figure.at(&point, reached)));
    }
    Ok(figures)
}

/// What the pair said meanwhile.
struct Seen {
    takeovers: f64,
    garps: f64,
    /// GARPs of the backup, which take the address away from the master.
    misleading: f64,
    /// Milliseconds.
    gap: f64,
}

impl Seen {
    /// Until `end`, at which the master should still be heard.
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
        ensure!(!times.is_empty(), "the master was silent all the time");
        times.extend(times.last().is_some_and(|last| *last < end).then_some(end));
        let gap = times.windows(2).map(|pair| pair[1].saturating_since(pair[0])).max().unwrap_or_default();
        // A takeover is adverts of the backup after a silence of its own.
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

/// Bad TTL, bad checksum, another VRID, and valid ones of a low priority.
fn junk(interval: Duration) -> Result<Vec<Vec<u8>>> {
    let interval = u16::try_from(interval.as_millis() / 10)?;
    let valid = Advert { interval, ..Advert::new(Version::V3, 51, 250, Station::Client) };
    let all = [
        Advert { ttl: 64, ..valid.clone() },
        Advert { checksum: Checksum::Bad, ..valid.clone() },
        Advert { vrid: 99, ..valid.clone() },
        Advert { priority: 1, ..valid },
    ];
    Ok(all.iter().map(Advert::frame).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_takeover_is_adverts_after_a_silence() {
        let frame = |from: Station, millis: i64, bytes: &[u8]| Frame {
            time: WallTime::from_parts(1, millis * 1_000_000),
            from,
            bytes: bytes.to_vec(),
        };
        let advert = |from, millis| frame(from, millis, &Advert::new(Version::V3, 51, 200, from).frame());
        let of_master = [0, 10, 25, 35].map(|time| advert(MASTER, time));
        // Twice, with 40 ms between.
        let of_backup = [100, 110, 150].map(|time| advert(BACKUP, time));
        let until = |of_master: &[Frame], millis: i64| {
            let end = WallTime::from_parts(1, millis * 1_000_000);
            Seen::in_frames(of_master, &of_backup, Duration::from_millis(10), end)
        };
        let seen = until(&of_master, 40).unwrap();
        assert_eq!((seen.takeovers, seen.garps, seen.gap), (2.0, 0.0, 15.0));
        let silent = until(&of_master, 65).unwrap();
        assert_eq!((silent.takeovers, silent.gap), (2.0, 30.0), "it was silent at the end");
        assert!(until(&[], 40).is_err());
    }
}

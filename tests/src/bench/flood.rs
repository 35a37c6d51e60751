//! A healthy pair, and somebody who sends junk as fast as the machine lets him.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{Figure, REST, adverts, wait_for_masters};
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
/// A pair at this interval under as many junk adverts as the machine makes.
///
/// # Errors
/// When the lab fails, or the capture has holes.
pub fn pair(kind: &AgentKind, interval: Duration, length: Duration) -> Result<Vec<Figure>> {
    let lab = Lab::new(2)?;
    let node = |priority| [Instance { priority, interval, ..Instance::default() }];
    let mut master = Agent::new(&lab, MASTER, kind.clone(), &node(200))?;
    let mut backup = Agent::new(&lab, BACKUP, kind.clone(), &node(100))?;
    let captures = [Capture::of(lab.switch(), MASTER)?, Capture::of(lab.switch(), BACKUP)?];
    let began = WallTime::now();
    master.start()?;
    wait_for_masters(&captures[0], began, 1)?;
    backup.start()?;
    thread::sleep(REST);
    let injector = Injector::open(lab.host(Station::Client)?)?;
    let junk = junk(interval)?;
    let start = WallTime::now();
    let (mut sent, until) = (0, Instant::now() + length);
    while Instant::now() < until {
        // Not a system call for the clock between any two.
        for frame in junk.iter().cycle().take(32) {
            injector.send(frame)?;
            sent += 1;
        }
    }
    let elapsed = WallTime::now().saturating_since(start);
    let [of_master, of_backup] = captures.map(|capture| -> Result<Vec<Frame>> {
        let mut frames = capture.stop()?;
        frames.retain(|frame| frame.time >= start);
        Ok(frames)
    });
    let (of_master, of_backup) = (of_master?, of_backup?);
    let adverts = |frames: &[Frame]| -> Vec<WallTime> {
        let ours = adverts(frames).remove(&Instance::default().vrid).unwrap_or_default();
        ours.iter().map(|(_, time)| *time).collect()
    };
    let gap = adverts(&of_master).windows(2).map(|pair| pair[1].saturating_since(pair[0])).max();
    ensure!(gap.is_some(), "the master is silent");
    // A takeover is adverts of the backup after a silence of its own.
    let mut takeovers = 0;
    let mut last: Option<WallTime> = None;
    for time in adverts(&of_backup) {
        takeovers += u32::from(last.is_none_or(|last| time.saturating_since(last) > interval * 3));
        last = Some(time);
    }
    let garps =
        of_master.iter().chain(&of_backup).filter(|frame| frame.gratuitous_arp(VIP).is_some()).count();
    #[expect(clippy::cast_precision_loss, reason = "frames of seconds")]
    let (garps, sent) = (garps as f64, f64::from(sent));
    Ok(vec![
        Figure::new("junk adverts a second", "", sent / elapsed.as_secs_f64()),
        Figure::new("false takeovers", "", takeovers.into()),
        Figure::new("stray GARPs", "", garps),
        Figure::new("longest gap between adverts of the master", "ms", gap.map_or(0.0, millis)),
    ])
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

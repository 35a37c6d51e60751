//! Signed adverts: a master and a backup with keys.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::{REST, cpu, micros, routers, wait_for_masters};
use vipd_tests::agent::Instance;
use vipd_tests::hmac::Hmac;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;

use crate::figure::Figure;
use crate::metric::Metric;
use crate::subject::Subject;

const MASTER: Station = Station::Node(1);
const BACKUP: Station = Station::Node(2);

/// Measures the CPU cost of a master and of a backup with `count` virtual routers, whose adverts
/// are signed and verified.
///
/// # Errors
/// Returns an error if the lab fails, or if the backup sends 10 frames or more, which shows that
/// routers have become master.
pub(crate) fn pair(
    subject: &Subject,
    count: u8,
    interval: Duration,
    length: Duration,
) -> Result<Vec<Figure>> {
    let lab = Lab::new(2)?;
    let signed = |priority| -> Vec<Instance> {
        let routers = routers(count, priority, interval).into_iter();
        routers.map(|router| Instance { hmac: Some(Hmac::enforce()), ..router }).collect()
    };
    let mut master = subject.agent(&lab, MASTER, &signed(200))?;
    let mut backup = subject.agent(&lab, BACKUP, &signed(1))?;
    let capture = lab.capture()?;
    let began = WallTime::now();
    master.start()?;
    wait_for_masters(&capture, began, count.into())?;
    capture.stop()?;
    backup.start()?;
    thread::sleep(REST);
    let read = || {
        let processes = [cpu::of_process(master.pid()?)?, cpu::of_process(backup.pid()?)?];
        Ok::<_, anyhow::Error>((processes, lab.frames_sent(MASTER)?, lab.frames_sent(BACKUP)?))
    };
    let (before, frames, backup_before) = read()?;
    thread::sleep(length);
    let (after, sent, backup_after) = read()?;
    let of_backup = backup_after - backup_before;
    ensure!(of_backup < 10, "the backup sent {of_backup} frames; the machine is too busy for this load");
    let adverts = f64::from(u32::try_from(sent - frames)?);
    let [sending, receiving] = [0, 1].map(|node| after[node].saturating_sub(before[node]));
    Ok(vec![
        Figure::new(Metric::ProcessPerAdvert, micros(receiving) / adverts),
        Figure::new(Metric::ProcessPerAdvertSent, micros(sending) / adverts),
        Figure::new(Metric::ProcessShare, 100.0 * receiving.as_secs_f64() / length.as_secs_f64()),
    ])
}

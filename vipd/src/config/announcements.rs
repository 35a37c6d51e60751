//! `garp`: how often a master tells the segment where its addresses are.

use super::duration;
use super::keys;
use super::problem::Collector;
use super::table::Table;
use crate::vrrp::config::Announcements;

const SECOND: u64 = 1_000_000_000;
/// Longest second burst's delay in nanoseconds.
const MAX_DELAY: u64 = 1000 * SECOND;
/// Longest refresh in nanoseconds: a day.
const MAX_REFRESH: u64 = 86_400 * SECOND;

/// The announcements, and the nanoseconds between two of their packets.
pub(super) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> (Announcements, u64) {
    let usual = Announcements::default();
    let garp = table.optional(&keys::GARP, problems, |value| value.table("in `garp`")).flatten();
    let Some(garp) = garp else { return (usual, 0) };
    garp.refuse_unknown(keys::IN_GARP, problems);
    let repeat = garp.optional(&keys::GARP_REPEAT, problems, |value| value.integer(1)).flatten();
    let delay =
        garp.optional(&keys::GARP_DELAY, problems, |value| duration::read(value, &(0..=MAX_DELAY))).flatten();
    let refresh = garp
        .optional(&keys::GARP_REFRESH, problems, |value| match duration::read(value, &(0..=MAX_REFRESH))? {
            nanos @ (0 | SECOND..) => Ok(nanos),
            _ => Err(value.refused(format!("{:?}", value.string()?), "choose another duration")),
        })
        .flatten();
    let refresh_repeat =
        garp.optional(&keys::GARP_REFRESH_REPEAT, problems, |value| value.integer(1)).flatten();
    let interval =
        garp.optional(&keys::GARP_INTERVAL, problems, |value| duration::read(value, &(0..=SECOND))).flatten();
    let announcements = Announcements {
        repeat: repeat.unwrap_or(usual.repeat),
        delay: delay.unwrap_or(usual.delay),
        refresh: refresh.unwrap_or(usual.refresh),
        refresh_repeat: refresh_repeat.unwrap_or(usual.refresh_repeat),
    };
    (announcements, interval.unwrap_or(0))
}

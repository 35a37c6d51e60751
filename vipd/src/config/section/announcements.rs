//! `garp`: settings for the announcements of a master's VIPs.

use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::table::{Table, Value};
use crate::vrrp::config::Announcements;

/// Reads `garp`. Returns the settings of announcements, and the pause between packets in
/// nanoseconds.
pub(in crate::config) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> (Announcements, u64) {
    let usual = Announcements::default();
    let garp = table.optional(&schema::GARP, problems, |value| value.table("in `garp`")).flatten();
    let Some(garp) = garp else { return (usual, 0) };
    garp.reject_unknown(schema::Section::Garp, problems);
    let repeat = garp.optional(&schema::GARP_REPEAT, problems, Value::integer).flatten();
    let delay = garp.optional(&schema::GARP_DELAY, problems, Value::duration).flatten();
    let refresh = garp.optional(&schema::GARP_REFRESH, problems, Value::duration).flatten();
    let refresh_repeat = garp.optional(&schema::GARP_REFRESH_REPEAT, problems, Value::integer).flatten();
    let interval = garp.optional(&schema::GARP_INTERVAL, problems, Value::duration).flatten();
    let announcements = Announcements {
        repeat: repeat.unwrap_or(usual.repeat),
        delay: delay.unwrap_or(usual.delay),
        refresh: refresh.unwrap_or(usual.refresh),
        refresh_repeat: refresh_repeat.unwrap_or(usual.refresh_repeat),
    };
    (announcements, interval.unwrap_or(0))
}

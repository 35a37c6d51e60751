//! `advert_interval`: rejected if it cannot be encoded, never rounded.

use crate::config::duration;

use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::table::Table;
use crate::vrrp::interval::{Interval, IntervalError, Version};

/// Reads the interval. If the version is `None` because it is invalid, only the interval's syntax
/// is checked.
pub(in crate::config) fn read(
    table: &Table<'_>,
    version: Option<Version>,
    problems: &mut Collector<'_>,
) -> Option<Interval> {
    let found = table.optional(&schema::ADVERT_INTERVAL, problems, |value| {
        let text = value.string()?;
        let nanos = duration::parse(text)
            .map_err(|error| value.rejected(format!("{text:?}"), &duration::remedy(text, error)))?;
        let Some(version) = version else { return Ok(None) };
        Interval::from_nanos(version, nanos).map(Some).map_err(|error| {
            let remedy = encodable(version, nanos);
            value.rejected_because(format!("advert_interval is {text:?}; {error}; {remedy}"))
        })
    })?;
    match found {
        Some(interval) => interval,
        None => version.and_then(|version| Interval::from_nanos(version, 1_000_000_000).ok()),
    }
}

/// Returns a remedy that suggests the valid intervals nearest to `nanos`, which cannot be encoded.
fn encodable(version: Version, nanos: u64) -> String {
    let (unit, max) = match version {
        Version::V2 => (1_000_000_000, 255),
        Version::V3 => (10_000_000, 4095),
    };
    let neighbor = |units: u64| {
        u16::try_from(units.clamp(1, max)).ok().and_then(|units| Interval::from_wire(version, units))
    };
    let (below, above) = (neighbor(nanos / unit), neighbor(nanos.div_ceil(unit)));
    let mut remedy = match (below, above) {
        (Some(below), Some(above)) if below != above => format!("use \"{below}\" or \"{above}\""),
        (Some(only), _) | (_, Some(only)) => format!("use \"{only}\""),
        (None, None) => "use \"1s\"".to_owned(),
    };
    if version == Version::V2 && Interval::from_nanos(Version::V3, nanos) != Err(IntervalError::V3) {
        remedy.push_str(", or set `version = 3`");
    }
    remedy
}

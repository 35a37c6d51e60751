//! Descriptions of values in reports and events, for the commands and the status page.

use super::model::{HmacStatus, InstanceStatus, TrackedObject};

/// Returns whether a tracked object with a weight changes the priority, has not been read yet, or
/// is a file that cannot be read. An object without a weight causes a fault, which has a note of
/// its own.
pub(crate) fn is_noteworthy(object: &TrackedObject) -> bool {
    let is_zero = object.state == "0" && object.detail.is_none();
    object.weight.is_some_and(|weight| match object.state.as_str() {
        "down" => weight < 0,
        "up" => weight > 0,
        _ => !is_zero,
    })
}

/// Describes the number of state changes that have no event of their own.
pub(crate) fn unrecorded(missed: u64) -> String {
    let plural = if missed == 1 { "" } else { "s" };
    format!("{missed} earlier change{plural} not recorded")
}

/// Explains why the effective priority is not the configured one; `None` if it is.
pub(crate) fn priority(status: &InstanceStatus) -> Option<String> {
    if status.effective_priority == status.priority {
        return None;
    }
    let weight = |object: &TrackedObject| {
        let TrackedObject { kind, name, state, weight, .. } = object;
        format!("{kind} {name} {state} ({:+})", weight.unwrap_or_default())
    };
    let weights: Vec<_> = status.track.iter().filter(|object| is_noteworthy(object)).map(weight).collect();
    Some(match (weights.is_empty(), &status.group) {
        (false, _) => weights.join(", "),
        (true, Some(group)) => format!("lowest priority of the sync group {group}"),
        (true, None) => "set by `vipd priority`".to_owned(),
    })
}

/// Formats an interval as `10ms`, `30.07ms` or `3.609s`: up to two decimals below a second, three
/// above, truncated.
pub(crate) fn seconds(nanos: u64) -> String {
    let (whole, fraction, unit) = if nanos < 1_000_000_000 {
        (nanos / 1_000_000, format!("{:02}", nanos % 1_000_000 / 10_000), "ms")
    } else {
        (nanos / 1_000_000_000, format!("{:03}", nanos % 1_000_000_000 / 1_000_000), "s")
    };
    match fraction.trim_end_matches('0') {
        "" => format!("{whole}{unit}"),
        fraction => format!("{whole}.{fraction}{unit}"),
    }
}

/// Formats an age in at most two units: `850ms`, `12.3s`, `4m05s`, `3h07m` or `12d04h`.
pub(crate) fn age(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis}ms"),
        1..60 => format!("{seconds}.{}s", millis % 1000 / 100),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// Describes the authentication of adverts, for example
/// `hmac: enforce, signs with key 2, accepts keys 1, 2, clocks within 5s`. The text identifies keys
/// by their IDs, and never contains key material or a password.
pub(crate) fn authentication(one: &InstanceStatus) -> String {
    one.hmac.as_ref().map_or_else(|| one.authentication.clone(), hmac)
}

/// Describes the keys and rules for signed adverts.
pub(crate) fn hmac(hmac: &HmacStatus) -> String {
    let HmacStatus { mode, active_key, keys, anti_replay, window_ns } = hmac;
    let signs = active_key.map_or_else(|| "signs nothing".to_owned(), |key| format!("signs with key {key}"));
    let plural = if keys.len() == 1 { "" } else { "s" };
    let keys = keys.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    let replays = match window_ns {
        Some(window) => format!("clocks within {}", seconds(*window)),
        None => anti_replay.clone(),
    };
    format!("hmac: {mode}, {signs}, accepts key{plural} {keys}, {replays}")
}

/// Describes the clock of another router: `3 ms ahead`. `millis` is that clock minus this host's,
/// in milliseconds.
pub(crate) fn clock_offset(millis: i64) -> String {
    let order = if millis < 0 { "behind" } else { "ahead" };
    match millis.unsigned_abs() {
        millis @ ..10_000 => format!("{millis} ms {order}"),
        millis => format!("{} {order}", age(millis)),
    }
}

#[cfg(test)]
mod tests {
    use super::{age, is_noteworthy, seconds};
    use crate::control::model::TrackedObject;

    #[test]
    fn tracked_objects_that_change_the_priority_are_noteworthy() {
        for (state, weight, expected) in [
            ("down", Some(-60), true),
            ("up", Some(-60), false),
            ("up", Some(20), true),
            ("down", Some(20), false),
            ("0", Some(1), false),
            ("-5", Some(1), true),
            ("down", None, false),
        ] {
            let object = TrackedObject {
                kind: "script".to_owned(),
                name: "web".to_owned(),
                state: state.to_owned(),
                weight,
                detail: None,
                since_ms: 0,
                changes: 0,
            };
            assert_eq!(is_noteworthy(&object), expected, "{state}, {weight:?}");
        }
    }

    #[test]
    fn durations_are_short_and_contain_no_white_space() {
        assert_eq!(
            [10_000_000, 30_078_125, 999_999_999, 1_000_000_000, 3_609_375_000].map(seconds),
            ["10ms", "30.07ms", "999.99ms", "1s", "3.609s"]
        );
        assert_eq!(
            [0, 999, 1000, 59_999, 60_000, 245_000, 3_600_000, 86_399_999, 86_400_000].map(age),
            ["0ms", "999ms", "1.0s", "59.9s", "1m00s", "4m05s", "1h00m", "23h59m", "1d00h"]
        );
    }
}

//! Durations as text: a decimal number and a unit.

/// The reason why a string is not a valid duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DurationError {
    /// The number is missing, or does not consist of digits with at most one decimal point between
    /// them.
    Number,
    /// No unit after the number, or an unknown unit.
    Unit,
    /// The number of nanoseconds does not fit in 64 bits, or is not a whole number.
    Range,
}

/// Parses a duration such as `5m`, `1.5s`, `10ms` or `500us` and returns nanoseconds. Never rounds;
/// rejects signs and exponents.
pub(super) fn parse(text: &str) -> Result<u64, DurationError> {
    let unit_start = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_start);
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) => return Err(DurationError::Number),
        Some(parts) => parts,
        None => (number, ""),
    };
    if whole.is_empty() || fraction.contains('.') {
        return Err(DurationError::Number);
    }
    let unit: u128 = match unit {
        "m" => 60_000_000_000,
        "s" => 1_000_000_000,
        "ms" => 1_000_000,
        "us" => 1_000,
        _ => return Err(DurationError::Unit),
    };
    // "1.5" is 15 tenths. A remainder would have to be rounded, so it is rejected.
    let fraction = fraction.trim_end_matches('0');
    let exact = || {
        let parts = format!("{whole}{fraction}").parse::<u128>().ok()?.checked_mul(unit)?;
        let part = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        if parts.is_multiple_of(part) { u64::try_from(parts / part).ok() } else { None }
    };
    exact().ok_or(DurationError::Range)
}

/// Returns the remedy for an invalid duration.
pub(super) fn remedy(text: &str, error: DurationError) -> String {
    match error {
        DurationError::Unit if text.bytes().all(|c| c.is_ascii_digit() || c == b'.') => {
            format!("use \"{text}s\" or \"{text}ms\"")
        }
        DurationError::Number | DurationError::Unit => "use e.g. \"1s\", \"1.5s\" or \"10ms\"".to_owned(),
        DurationError::Range => "use e.g. \"1s\"".to_owned(),
    }
}

/// Formats a duration of whole milliseconds: in seconds (`1s`) if it has no fraction of a second,
/// otherwise in milliseconds (`10ms`).
pub(super) fn text(nanos: u64) -> String {
    if nanos.is_multiple_of(1_000_000_000) {
        format!("{}s", nanos / 1_000_000_000)
    } else {
        format!("{}ms", nanos / 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::{DurationError, parse};

    #[test]
    fn durations_are_parsed_exactly_or_rejected() {
        let rows: &[(&str, Result<u64, DurationError>)] = &[
            ("1s", Ok(1_000_000_000)),
            ("1.5s", Ok(1_500_000_000)),
            ("40.95s", Ok(40_950_000_000)),
            ("10ms", Ok(10_000_000)),
            ("0.01s", Ok(10_000_000)),
            ("0s", Ok(0)),
            ("5m", Ok(300_000_000_000)),
            ("0.5m", Ok(30_000_000_000)),
            ("500us", Ok(500_000)),
            ("0.001us", Ok(1)),
            ("1.50000000000000s", Ok(1_500_000_000)),
            ("0.000001ms", Ok(1)),
            ("18446744073.709551615s", Ok(u64::MAX)),
            ("18446744073.709551616s", Err(DurationError::Range)),
            ("0.0000001ms", Err(DurationError::Range)),
            ("0.0001us", Err(DurationError::Range)),
            ("99999999999999999999s", Err(DurationError::Range)),
            ("9999999999999999999999999999999999999999s", Err(DurationError::Range)),
            ("0.00000000000000000000000000000000000000001s", Err(DurationError::Range)),
            ("", Err(DurationError::Number)),
            ("s", Err(DurationError::Number)),
            (".5s", Err(DurationError::Number)),
            ("1.s", Err(DurationError::Number)),
            ("1.2.3s", Err(DurationError::Number)),
            ("-1s", Err(DurationError::Number)),
            ("1", Err(DurationError::Unit)),
            ("1 s", Err(DurationError::Unit)),
            ("1e3ms", Err(DurationError::Unit)),
            ("1h", Err(DurationError::Unit)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), *expected, "{text:?}");
        }
    }
}

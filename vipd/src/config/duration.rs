//! Durations as a person writes them: a decimal number and its unit, exactly.

/// What is wrong with the text of a duration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DurationError {
    /// No number, or something else than digits and one point in it.
    Number,
    /// No unit after the number, or one that is not known.
    Unit,
    /// More than 64 bits of nanoseconds, or finer than one.
    Range,
}

/// Nanoseconds of `1s`, `1.5s` or `10ms`; no rounding, no exponent, no sign.
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
    let decimals = match unit {
        "s" => 9,
        "ms" => 6,
        _ => return Err(DurationError::Unit),
    };
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals {
        return Err(DurationError::Range);
    }
    // "1.5" s is the digits 1 and 500000000 read as one number.
    format!("{whole}{fraction:0<decimals$}").parse().map_err(|_| DurationError::Range)
}

#[cfg(test)]
mod tests {
    use super::{DurationError, parse};

    #[test]
    fn exact_nanoseconds_or_the_reason() {
        let rows: &[(&str, Result<u64, DurationError>)] = &[
            ("1s", Ok(1_000_000_000)),
            ("1.5s", Ok(1_500_000_000)),
            ("40.95s", Ok(40_950_000_000)),
            ("10ms", Ok(10_000_000)),
            ("0.01s", Ok(10_000_000)),
            ("0s", Ok(0)),
            ("1.50000000000000s", Ok(1_500_000_000)),
            ("0.000001ms", Ok(1)),
            ("0.0000001ms", Err(DurationError::Range)),
            ("99999999999999999999s", Err(DurationError::Range)),
            ("", Err(DurationError::Number)),
            ("s", Err(DurationError::Number)),
            (".5s", Err(DurationError::Number)),
            ("1.s", Err(DurationError::Number)),
            ("1.2.3s", Err(DurationError::Number)),
            ("-1s", Err(DurationError::Number)),
            ("1", Err(DurationError::Unit)),
            ("1 s", Err(DurationError::Unit)),
            ("1e3ms", Err(DurationError::Unit)),
            ("1us", Err(DurationError::Unit)),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text), *expected, "{text:?}");
        }
    }
}

//! Values in keepalived's notation.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Nanoseconds per second.
pub(super) const SECOND: u64 = 1_000_000_000;
/// keepalived's resolution of time, in nanoseconds.
const MICROSECOND: u64 = 1_000;

/// Parses a decimal number of seconds and returns nanoseconds. As in keepalived, the result is
/// truncated to whole microseconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |digits: &str| digits.bytes().all(|digit| digit.is_ascii_digit());
    if !is_number(whole) || !is_number(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let micros: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let micros: u64 = micros.parse().ok()?;
    whole.checked_mul(SECOND)?.checked_add(micros * MICROSECOND)
}

/// Formats a duration as vipd reads it: in seconds if that needs no fraction, otherwise in
/// milliseconds or microseconds.
pub(super) fn duration(nanos: u64) -> String {
    for (unit, name) in [(SECOND, "s"), (1_000_000, "ms")] {
        if nanos.is_multiple_of(unit) {
            return format!("{}{name}", nanos / unit);
        }
    }
    format!("{}us", nanos / MICROSECOND)
}

/// Parses a boolean.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "on" | "true" | "yes" => Some(true),
        "off" | "false" | "no" => Some(false),
        _ => None,
    }
}

/// Parses an unsigned number: decimal, hexadecimal with `0x` or octal with `0`.
pub(super) fn number(text: &str) -> Option<u32> {
    let (digits, radix) = match text {
        "0" => (text, 10),
        _ if text.starts_with("0x") || text.starts_with("0X") => (&text[2..], 16),
        _ => text.strip_prefix('0').map_or((text, 10), |digits| (digits, 8)),
    };
    // `from_str_radix` accepts a sign.
    let is_plain = digits.starts_with(|c: char| c.is_ascii_hexdigit());
    u32::from_str_radix(digits, radix).ok().filter(|_| is_plain)
}

/// Parses an address with an optional prefix length.
pub(super) fn network(text: &str) -> Option<(IpAddr, Option<u8>)> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => Some(length.parse::<u8>().ok().filter(|length| *length <= longest)?),
        None => None,
    };
    Some((address, length))
}

/// Returns an address without its host bits.
pub(super) fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => Ipv4Addr::from_bits(address.to_bits() & mask4(length)).into(),
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & mask).into()
        }
    }
}

/// Returns the broadcast address of a subnet; `None` for a prefix length of 31 or 32.
pub(super) fn broadcast(address: Ipv4Addr, length: u8) -> Option<Ipv4Addr> {
    (length <= 30).then(|| Ipv4Addr::from_bits(address.to_bits() | !mask4(length)))
}

fn mask4(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_to_the_microsecond() {
        for (text, expected) in [
            ("1", Some("1s")),
            ("0.5", Some("500ms")),
            (".25", Some("250ms")),
            ("1.", Some("1s")),
            ("1.5", Some("1500ms")),
            ("0.000001", Some("1us")),
            ("0.0000019", Some("1us")),
            ("0", Some("0s")),
            ("", None),
            (".", None),
            ("-1", None),
            ("1e3", None),
            ("99999999999999999999", None),
            ("18446744074", None),
        ] {
            assert_eq!(seconds(text).map(duration).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn numbers_are_parsed_as_in_c() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10", Some(10)),
            ("010", Some(8)),
            ("0x1F", Some(31)),
            ("4294967295", Some(u32::MAX)),
            ("4294967296", None),
            ("+1", None),
            ("-1", None),
            ("0x", None),
            ("0x+1", None),
            ("", None),
        ] {
            assert_eq!(number(text), expected, "{text}");
        }
    }

    #[test]
    fn networks_are_masked_and_have_broadcast_addresses() {
        for (text, expected) in [
            ("10.1.2.3/16", Some(("10.1.0.0", Some("10.1.255.255")))),
            ("10.1.2.3/31", Some(("10.1.2.2", None))),
            ("10.1.2.3/0", Some(("0.0.0.0", Some("255.255.255.255")))),
            ("2001:db8::1/32", Some(("2001:db8::", None))),
            ("2001:db8::1/0", Some(("::", None))),
            ("10.1.2.3", Some(("10.1.2.3", None))),
            ("10.1.2.3/33", None),
            ("10.1.2./24", None),
            ("10.1.2.3/", None),
        ] {
            let found = network(text).map(|(address, length)| {
                let masked = masked(address, length.unwrap_or(if address.is_ipv4() { 32 } else { 128 }));
                let broadcast = match (address, length) {
                    (IpAddr::V4(address), Some(length)) => broadcast(address, length),
                    _ => None,
                };
                (masked.to_string(), broadcast.map(|found| found.to_string()))
            });
            let expected = expected.map(|(masked, broadcast): (&str, Option<&str>)| {
                (masked.to_owned(), broadcast.map(str::to_owned))
            });
            assert_eq!(found, expected, "{text}");
        }
    }
}

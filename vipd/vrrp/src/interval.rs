//! Advertisement intervals and the times derived from them (RFC 9568 section 6.1, RFC 3768 section
//! 6.1).
//!
//! All arithmetic is in nanoseconds and multiplies before it divides (M3): at 10 ms and priority
//! 254, Skew_Time is 78,125 ns rather than 0, and timers of different priorities never fire
//! together.

use core::error::Error;
use core::fmt;

/// A duration in nanoseconds, as used in [`Timestamp`](vipd_common::Timestamp) arithmetic.
pub type Nanos = u64;

/// VRRP version of a virtual router, which determines the wire format and the unit of the interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// VRRPv2, RFC 3768: whole seconds, IPv4 only.
    V2,
    /// VRRPv3, RFC 9568: centiseconds.
    V3,
}

impl Version {
    /// Returns the version field on the wire: 2 or 3.
    pub const fn number(self) -> u8 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.number())
    }
}

/// An advertisement interval in the wire unit of its VRRP version, never 0: 1 to 4095 centiseconds
/// (10 ms to 40.95 s) in VRRPv3, 1 to 255 seconds in VRRPv2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    version: Version,
    units: u16,
}

/// An interval that cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntervalError {
    /// Zero, too long, or not a multiple of 10 ms.
    V3,
    /// Zero, too long, or not a whole number of seconds.
    V2,
}

impl fmt::Display for IntervalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3 => "VRRPv3 intervals are multiples of 10 ms from 10 ms to 40.95 s",
            Self::V2 => "VRRPv2 intervals are whole seconds from 1 s to 255 s",
        })
    }
}

impl Error for IntervalError {}

const NANOS_PER_CENTISECOND: Nanos = 10_000_000;
const NANOS_PER_SECOND: Nanos = 1_000_000_000;

impl Interval {
    /// Converts a duration without rounding.
    ///
    /// # Errors
    /// Returns an error if the duration cannot be encoded exactly.
    pub fn from_nanos(version: Version, nanos: Nanos) -> Result<Self, IntervalError> {
        let (unit, max, error) = match version {
            Version::V2 => (NANOS_PER_SECOND, 255, IntervalError::V2),
            Version::V3 => (NANOS_PER_CENTISECOND, 4095, IntervalError::V3),
        };
        let units = nanos / unit;
        if !nanos.is_multiple_of(unit) || units == 0 || units > max {
            return Err(error);
        }
        Ok(Self { version, units: u16::try_from(units).map_err(|_| error)? })
    }

    /// Converts a wire field; `None` for 0 and for values above the version's maximum.
    pub fn from_wire(version: Version, units: u16) -> Option<Self> {
        let max = match version {
            Version::V2 => 255,
            Version::V3 => 4095,
        };
        (1..=max).contains(&units).then_some(Self { version, units })
    }

    /// Returns the wire field: centiseconds in VRRPv3, seconds in VRRPv2.
    pub const fn wire(self) -> u16 {
        self.units
    }

    /// Returns the VRRP version, which determines the unit.
    pub const fn version(self) -> Version {
        self.version
    }

    /// Returns the duration in nanoseconds.
    pub const fn nanos(self) -> Nanos {
        match self.version {
            Version::V2 => self.units as u64 * NANOS_PER_SECOND,
            Version::V3 => self.units as u64 * NANOS_PER_CENTISECOND,
        }
    }

    /// Returns the Skew_Time for a router of this priority.
    ///
    /// VRRPv3: `(256 - priority) × interval / 256`. VRRPv2: `(256 - priority) / 256` seconds for
    /// any interval (RFC 3768 section 6.1).
    pub const fn skew(self, priority: u8) -> Nanos {
        let base = match self.version {
            Version::V2 => NANOS_PER_SECOND,
            Version::V3 => self.nanos(),
        };
        (256 - priority as u64) * base / 256
    }

    /// Returns the Active_Down_Interval (RFC 3768: Master_Down_Interval): `adverts` intervals
    /// (three in the RFC) plus Skew_Time.
    pub const fn master_down(self, priority: u8, adverts: u8) -> Nanos {
        adverts as u64 * self.nanos() + self.skew(priority)
    }
}

/// Formats the interval in milliseconds or seconds, as in the configuration: for example, `10ms`,
/// `1s` or `1.5s`.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.nanos() / 1_000_000;
        if millis < 1000 {
            write!(f, "{millis}ms")
        } else if millis.is_multiple_of(1000) {
            write!(f, "{}s", millis / 1000)
        } else {
            let fraction = match millis % 1000 {
                hundreds if hundreds.is_multiple_of(100) => (hundreds / 100, 1),
                tens => (tens / 10, 2),
            };
            write!(f, "{}.{:0width$}s", millis / 1000, fraction.0, width = fraction.1)
        }
    }
}

#[cfg(test)]
mod tests;

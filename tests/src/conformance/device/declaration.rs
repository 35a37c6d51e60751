//! The declared configuration of a device.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::configuration::Family;
use crate::conformance::received::is_link_local;
use crate::protocol::Version;

/// The shortest interval of the scenarios that are played with real routers.
const MIN_INTERVAL: Duration = Duration::from_millis(200);

/// The configuration of a device, and the addresses that may be used to test it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// Interface of this host on the device's segment.
    pub interface: String,
    /// Virtual router identifier, 1 to 255.
    pub vrid: u8,
    /// VRRP version of the adverts.
    pub version: Version,
    /// Priority; 255 for the address owner.
    pub priority: u8,
    /// Advert interval, 200 ms or more.
    pub interval: Duration,
    /// VIPs, in the order of the device's adverts.
    pub addresses: Vec<IpAddr>,
    /// Source addresses for the impersonated routers.
    pub sources: Vec<IpAddr>,
    /// The device's primary or link-local address; `None` to use the source of its adverts.
    pub primary: Option<IpAddr>,
    /// Preempt_Mode: whether a backup preempts a lower-priority master.
    pub preempt: bool,
    /// Accept_Mode: whether a master that is not the owner accepts packets to the VIPs.
    pub accept: bool,
}

impl Declaration {
    /// Returns the family of the VIPs.
    pub fn family(&self) -> Family {
        if self.addresses.first().is_some_and(IpAddr::is_ipv6) { Family::V6 } else { Family::V4 }
    }

    /// Checks the values for consistency.
    ///
    /// # Errors
    /// Returns an error if the VRID or the priority is 0, the version does not support the family
    /// or the interval, the interval is below [`MIN_INTERVAL`], or an address is unusable.
    pub(super) fn check(&self) -> Result<()> {
        let family = self.family();
        let all = self.addresses.iter().chain(&self.sources).chain(&self.primary);
        for address in all {
            ensure!(
                address.is_ipv6() == (family == Family::V6),
                "{address} is not an {family} address like {}; test the families in separate runs",
                self.addresses[0]
            );
        }
        ensure!(
            self.version == Version::V3 || family == Family::V4,
            "VRRPv2 does not support IPv6; expected --vrrp-version 3"
        );
        ensure!(self.vrid > 0 && self.priority > 0, "the VRID and the priority must be 1 to 255");
        for source in &self.sources {
            ensure!(
                !self.addresses.contains(source) && Some(*source) != self.primary,
                "--source {source} is an address of the device; expected an unused address of the segment"
            );
            ensure!(
                family == Family::V4 || is_link_local(*source),
                "--source {source} is not a link-local address; VRRP over IPv6 sends from fe80::/10"
            );
        }
        self.check_interval()
    }

    fn check_interval(&self) -> Result<()> {
        let (step, maximum) = match self.version {
            Version::V2 => (Duration::from_secs(1), Duration::from_secs(255)),
            Version::V3 => (Duration::from_millis(10), Duration::from_millis(40_950)),
        };
        let interval = self.interval;
        ensure!(
            interval <= maximum && interval.as_millis().is_multiple_of(step.as_millis()),
            "an interval of {interval:?} cannot be encoded in VRRPv{}; expected a multiple of {step:?}, at most {maximum:?}",
            self.version.number()
        );
        ensure!(
            interval >= MIN_INTERVAL,
            "an interval of {interval:?} is too short to tell the frames of a scenario apart; configure the \
             device with {MIN_INTERVAL:?} or more"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::device::adapt::tests::declaration;

    #[test]
    fn declaration_errors_name_the_value_and_what_was_expected() {
        declaration().check().unwrap();
        let check = |edit: fn(&mut Declaration), expected: &str| {
            let mut declaration = declaration();
            edit(&mut declaration);
            let error = declaration.check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(|it| it.sources[0] = "fe80::1".parse().unwrap(), "fe80::1 is not an IPv4 address");
        check(|it| it.sources[0] = it.addresses[0], "--source 192.0.2.50 is an address of the device");
        check(|it| it.interval = Duration::from_millis(100), "configure the device with 200ms or more");
        check(|it| it.interval = Duration::from_millis(1005), "expected a multiple of 10ms, at most 40.95s");
        check(|it| it.vrid = 0, "must be 1 to 255");
        let v2_with_fraction = |it: &mut Declaration| {
            it.version = Version::V2;
            it.interval = Duration::from_millis(1500);
        };
        check(v2_with_fraction, "1.5s cannot be encoded in VRRPv2; expected a multiple of 1s, at most 255s");
    }

    #[test]
    fn ipv6_needs_link_local_sources_and_version_3() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let mut v6 = Declaration {
            addresses: vec![address("fe80::50"), address("2001:db8::50")],
            sources: vec![address("fe80::b"), address("fe80::d")],
            primary: Some(address("fe80::c")),
            ..declaration()
        };
        v6.check().unwrap();
        v6.version = Version::V2;
        assert!(v6.check().unwrap_err().to_string().contains("VRRPv2 does not support IPv6"));
        v6.version = Version::V3;
        v6.sources[0] = address("2001:db8::b");
        assert!(v6.check().unwrap_err().to_string().contains("is not a link-local address"));
    }
}

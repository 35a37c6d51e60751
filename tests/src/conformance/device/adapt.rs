//! Adapts a scenario to the configuration of a device, or finds the reason to skip it.

mod priorities;

use std::time::Duration;

use super::profile::Profile;
use super::reset::OWNER;
use super::times::{convert, scale};
use crate::conformance::received::is_link_local;
use crate::conformance::scenario::{Line, Moment, Scenario, Step};
use crate::conformance::syntax::{ExpectedFrame, ReceivedAdvert, RouterSpec};
use crate::protocol::Version;
use priorities::Priorities;

/// Lines of vipd's configuration in a scenario that correspond to a property of a device.
const NO_ACCEPT: &str = "accept = false";
const MESSAGE_CHECKSUM: &str = "checksum = \"rfc9568\"";
/// Size of VRRPv2 authentication data. A scenario that cuts off more bytes also cuts off addresses,
/// so it depends on the number of addresses.
const AUTHENTICATION: usize = 8;
/// The longest interval of VRRPv3.
const MAX_INTERVAL: Duration = Duration::from_millis(40_950);

/// Returns the scenario as it is played with the device, with the same line numbers.
///
/// # Errors
/// Returns the unmet requirement.
pub(super) fn adapt(scenario: &Scenario, profile: &Profile) -> Result<Scenario, String> {
    if !scenario.in_lab {
        return Err("played in virtual time only, with vipd's core".to_owned());
    }
    let mut routers = scenario.routers();
    let (Some(router), None) = (routers.next(), routers.next()) else {
        return Err("needs two virtual routers".to_owned());
    };
    // Checked before the configuration, because no configuration of a device meets these
    // requirements.
    check_control(scenario)?;
    let conversion = Conversion { profile, from: router, to: profile.router() };
    conversion.check_configuration(scenario)?;
    for line in &scenario.lines {
        conversion.check_step(&line.step)?;
    }
    let priorities = Priorities::new(scenario, router.priority, profile.declaration.priority)?;
    let mut adapted = scenario.clone();
    for line in &mut adapted.lines {
        line.step = conversion.step(&line.step, &priorities)?;
    }
    Ok(adapted)
}

/// The router of a scenario, and the device that replaces it.
struct Conversion<'a> {
    profile: &'a Profile,
    from: &'a RouterSpec,
    to: RouterSpec,
}

fn require(met: bool, need: impl FnOnce() -> String) -> Result<(), String> {
    if met { Ok(()) } else { Err(need()) }
}

/// Checks that the scenario neither stops the router nor depends on its startup.
fn check_control(scenario: &Scenario) -> Result<(), String> {
    let steps = || scenario.lines.iter().map(|line| &line.step);
    require(!steps().any(|step| matches!(step, Step::Stop)), || {
        "needs the router to be shut down".to_owned()
    })?;
    let first = steps().skip_while(|step| !matches!(step, Step::Start)).nth(1);
    let startup = matches!(first, Some(Step::Silence(..) | Step::Expect(_, Moment::After(_))));
    require(!startup, || "needs the router to be started".to_owned())
}

impl Conversion<'_> {
    /// Checks that the device meets the requirements of the scenario's `router` line and of its
    /// additional lines of configuration.
    fn check_configuration(&self, scenario: &Scenario) -> Result<(), String> {
        let (from, to) = (self.from, &self.to);
        require(from.family == to.family, || format!("needs an {} router", from.family))?;
        require(from.version == to.version, || format!("needs a VRRPv{} router", from.version.number()))?;
        require(from.password.is_none(), || "needs a password".to_owned())?;
        require(from.hmac.is_none(), || "needs keys for signed adverts".to_owned())?;
        require(!from.unicast, || "needs unicast peers".to_owned())?;
        require(!from.virtual_mac || to.virtual_mac, || "needs the virtual router MAC".to_owned())?;
        let (owner, is_owner) = (from.priority == OWNER, to.priority == OWNER);
        require(owner == is_owner, || {
            if owner { "needs the address owner" } else { "needs a router that is not the owner" }.to_owned()
        })?;
        // Preempt_Mode has no effect on an owner.
        require(owner || from.preempt.is_none() || from.preempt == to.preempt, || {
            if to.preempt == Some(true) { "needs preemption to be off" } else { "needs preemption" }
                .to_owned()
        })?;
        for line in &scenario.vipd_lines {
            let (met, need) = match line.as_str() {
                NO_ACCEPT => (!self.profile.declaration.accept, "needs Accept_Mode to be off".to_owned()),
                MESSAGE_CHECKSUM => {
                    (self.profile.segment.message_checksum, "needs RFC 9568 checksums".to_owned())
                }
                other => (false, format!("needs vipd's setting `{other}`")),
            };
            require(met, || need)?;
        }
        // A shorter interval would bring frames closer together than the tolerance for late ones.
        require(to.interval >= from.interval, || {
            format!("needs an interval of {:?} or more", from.interval)
        })?;
        let is_timed = |line: &Line| match &line.step {
            Step::Expect(_, Moment::After(time)) => !time.is_zero(),
            Step::KeepReceiving(..) | Step::Silence(..) => true,
            _ => false,
        };
        // In VRRPv2, Skew_Time does not scale with the interval, so the order of events may differ.
        let scales = to.version == Version::V3 || !scenario.lines.iter().any(is_timed);
        require(scales || to.interval == from.interval, || {
            format!("needs an interval of {:?}", from.interval)
        })
    }

    fn check_step(&self, step: &Step) -> Result<(), String> {
        match step {
            Step::Receive(received) | Step::KeepReceiving(received, _) => self.check_received(received),
            Step::Expect(expected, _) => self.check_expected(expected),
            Step::Echo(wanted) => {
                require(!wanted || self.profile.declaration.accept, || "needs Accept_Mode".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn check_received(&self, received: &ReceivedAdvert) -> Result<(), String> {
        let addresses = &self.profile.declaration.addresses;
        require(received.source.is_none(), || "needs sources in other networks".to_owned())?;
        // A trunk port forwards tagged frames to the VLAN, where they may affect a router with this
        // VRID.
        require(received.vlan.is_none(), || {
            "needs a segment without VLANs, because it sends tagged frames".to_owned()
        })?;
        require(received.vrid.is_none() || self.other_vrid().is_some(), || {
            "needs an unused VRID".to_owned()
        })?;
        require(
            received.cut <= AUTHENTICATION || addresses.len() == self.from.virtual_addresses().len(),
            || format!("needs {} virtual addresses", self.from.virtual_addresses().len()),
        )?;
        let global = received.list.as_deref() != Some("global")
            || addresses.iter().any(|address| !is_link_local(*address));
        require(global, || "needs a global virtual address".to_owned())?;
        require(!received.unicast || self.profile.has_own_mac, || {
            "needs a router that answers ARP or Neighbor Solicitations for its own address".to_owned()
        })?;
        let interval = received.interval.map(|interval| scale(interval, self.from, &self.to));
        require(interval.is_none_or(|interval| interval <= MAX_INTERVAL), || {
            "needs a shorter interval: a scaled interval exceeds the maximum".to_owned()
        })
    }

    fn check_expected(&self, expected: &ExpectedFrame) -> Result<(), String> {
        let count = self.profile.declaration.addresses.len();
        if let Some(number) = expected.of {
            require(number <= count, || {
                format!("needs {} virtual addresses", self.from.virtual_addresses().len())
            })?;
        }
        require(!expected.own_source || self.profile.declaration.primary.is_some(), || {
            "needs --primary, the router's own address".to_owned()
        })?;
        require(expected.mac.as_deref() != Some("own") || !self.to.virtual_mac, || {
            "needs a router that does not use the virtual router MAC".to_owned()
        })?;
        let form = expected.checksum.as_deref();
        require(form != Some("rfc5798") || !self.profile.segment.message_checksum, || {
            "needs RFC 5798 checksums".to_owned()
        })
    }

    fn step(&self, step: &Step, priorities: &Priorities) -> Result<Step, String> {
        Ok(match step {
            Step::Router(_) => Step::Router(self.to.clone()),
            Step::Receive(received) => Step::Receive(self.received(received, priorities)),
            Step::KeepReceiving(received, length) => {
                Step::KeepReceiving(self.received(received, priorities), self.time(*length)?)
            }
            Step::Expect(expected, moment) => Step::Expect(
                self.expected(expected, priorities),
                match moment {
                    Moment::After(time) => Moment::After(self.time(*time)?),
                    Moment::Eventually => Moment::Eventually,
                },
            ),
            Step::Silence(family, length) => Step::Silence(*family, self.time(*length)?),
            other => other.clone(),
        })
    }

    fn received(&self, received: &ReceivedAdvert, priorities: &Priorities) -> ReceivedAdvert {
        ReceivedAdvert {
            priority: priorities.of(received.priority),
            interval: received.interval.map(|interval| scale(interval, self.from, &self.to)),
            vrid: received.vrid.and_then(|_| self.other_vrid()),
            ..received.clone()
        }
    }

    fn expected(&self, expected: &ExpectedFrame, priorities: &Priorities) -> ExpectedFrame {
        ExpectedFrame {
            priority: expected.priority.map(|priority| priorities.of(priority)),
            interval: expected.interval.map(|interval| scale(interval, self.from, &self.to)),
            ..expected.clone()
        }
    }

    fn time(&self, time: Duration) -> Result<Duration, String> {
        convert(time, self.from, &self.to).ok_or_else(|| {
            format!("needs an interval of {:?}, because {time:?} cannot be converted", self.from.interval)
        })
    }

    /// Returns a VRID for which the probe received no adverts, so that adverts for it affect no
    /// router with an interval of up to twice the device's. `None` if there is no such VRID.
    fn other_vrid(&self) -> Option<u8> {
        let own = self.profile.declaration.vrid;
        let next = |vrid: &u8| Some(vrid.checked_add(1).unwrap_or(1));
        let mut candidates = std::iter::successors(next(&own), next).take(usize::from(u8::MAX) - 1);
        candidates.find(|vrid| !self.profile.other_vrids.contains(vrid))
    }
}

#[cfg(test)]
pub(super) mod tests;

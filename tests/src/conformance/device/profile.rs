//! Declared and observed properties of a device.

use std::collections::BTreeSet;

use super::Declaration;
use crate::conformance::segment::Segment;
use crate::conformance::syntax::RouterSpec;

/// The declaration, and properties found during the probe.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) declaration: Declaration,
    pub(super) segment: Segment,
    /// Whether the device sends its adverts from the virtual router MAC.
    pub(super) virtual_mac: bool,
    /// Whether the device's own MAC, rather than only the virtual router MAC, is known.
    pub(super) has_own_mac: bool,
    /// VRIDs of other virtual routers of this family whose adverts the probe received.
    pub(super) other_vrids: BTreeSet<u8>,
}

impl Profile {
    /// Returns the configuration that scenarios are adapted to.
    pub(super) fn router(&self) -> RouterSpec {
        let declaration = &self.declaration;
        RouterSpec {
            version: declaration.version,
            family: declaration.family(),
            vrid: declaration.vrid,
            priority: declaration.priority,
            interval: declaration.interval,
            preempt: Some(declaration.preempt),
            virtual_mac: self.virtual_mac,
            unicast: false,
            password: None,
            hmac: None,
            addresses: u8::try_from(declaration.addresses.len()).unwrap_or(u8::MAX),
            segment: Some(self.segment.clone()),
        }
    }
}

//! What an agent is configured with, in the words of either program.

use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::protocol::Version;
use crate::station::{INTERFACE, PREFIX, VIP};

/// A virtual router as both programs can be told of it, on [`INTERFACE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name in logs.
    pub name: String,
    /// Virtual router identifier.
    pub vrid: u8,
    /// Protocol version.
    pub version: Version,
    /// Priority, 1 to 254 (255: owner).
    pub priority: u8,
    /// Advertisement interval: multiples of 10 ms in version 3, of 1 s in version 2.
    pub interval: Duration,
    /// Whether a higher priority takes over from a living master.
    pub preempt: bool,
    /// Virtual addresses, in the segment's prefix.
    pub addresses: Vec<Ipv4Addr>,
}

impl Default for Instance {
    /// VRID 51, version 3, priority 100, once a second, with preemption, for [`VIP`].
    fn default() -> Self {
        Self {
            name: "VI_1".to_owned(),
            vrid: 51,
            version: Version::V3,
            priority: 100,
            interval: Duration::from_secs(1),
            preempt: true,
            addresses: vec![VIP],
        }
    }
}

/// vipd's configuration file.
pub(crate) fn vipd_configuration(instances: &[Instance]) -> String {
    let mut text = String::new();
    for instance in instances {
        let Instance { name, vrid, priority, preempt, .. } = instance;
        let version = instance.version.number();
        let interval = instance.interval.as_millis();
        let addresses: Vec<_> = instance.addresses.iter().map(|a| format!("\"{a}/{PREFIX}\"")).collect();
        let addresses = addresses.join(", ");
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "[[instance]]\nname = \"{name}\"\ninterface = \"{INTERFACE}\"\nvrid = {vrid}\nversion = {version}\n\
             priority = {priority}\nadvert_interval = \"{interval}ms\"\npreempt = {preempt}\n\
             virtual_addresses = [{addresses}]\n\n"
        );
    }
    text
}

/// keepalived's configuration file. Its version is one for all instances.
pub(crate) fn keepalived_configuration(instances: &[Instance]) -> Result<String> {
    let version = instances.first().map_or(Version::V3, |first| first.version);
    ensure!(
        instances.iter().all(|instance| instance.version == version),
        "the lab configures keepalived with one VRRP version for all instances of a node"
    );
    let mut text = format!("global_defs {{\n    vrrp_version {}\n}}\n", version.number());
    for instance in instances {
        let Instance { name, vrid, priority, .. } = instance;
        let interval = instance.interval.as_secs_f64();
        let preempt = if instance.preempt { "" } else { "    nopreempt\n" };
        let addresses: Vec<_> =
            instance.addresses.iter().map(|a| format!("        {a}/{PREFIX}\n")).collect();
        let addresses = addresses.concat();
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "vrrp_instance {name} {{\n    state BACKUP\n    interface {INTERFACE}\n    virtual_router_id {vrid}\n\
             \x20   priority {priority}\n    advert_int {interval}\n{preempt}    virtual_ipaddress {{\n{addresses}    }}\n}}\n"
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vipd_is_configured_in_its_own_words() {
        let instance = Instance { interval: Duration::from_millis(10), ..Instance::default() };
        assert_eq!(
            vipd_configuration(&[instance]),
            "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nversion = 3\npriority = 100\n\
             advert_interval = \"10ms\"\npreempt = true\nvirtual_addresses = [\"192.168.122.50/24\"]\n\n"
        );
    }

    #[test]
    fn keepalived_is_configured_in_its_own_words() {
        let instance =
            Instance { interval: Duration::from_millis(10), preempt: false, ..Instance::default() };
        let text = keepalived_configuration(&[instance]).unwrap();
        for expected in ["vrrp_version 3\n", "state BACKUP\n", "advert_int 0.01\n", "nopreempt\n"] {
            assert!(text.contains(expected), "{expected:?} in {text}");
        }
        let mixed = [Instance::default(), Instance { version: Version::V2, ..Instance::default() }];
        assert!(keepalived_configuration(&mixed).is_err());
    }
}

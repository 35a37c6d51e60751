//! Generates configurations in the syntax of each program.

use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::hmac::Hmac;
use crate::protocol::Version;
use crate::station::{INTERFACE, PREFIX, PREFIX6, Station, VIP, VIP6, VIP6_LINK_LOCAL};

/// Address family of a virtual router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// vipd's XDP mode: a value of the configuration key `xdp`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum XdpMode {
    /// Native XDP or TC ingress, depending on the driver; generic XDP if TC ingress is refused.
    Auto,
    /// XDP in the driver, or TC ingress if native XDP is refused, or generic XDP if both are
    /// refused.
    Native,
    /// XDP in the network stack.
    Generic,
}

impl fmt::Display for XdpMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// A virtual router on [`INTERFACE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Name in the configuration and in logs.
    pub name: String,
    /// Virtual router identifier.
    pub vrid: u8,
    /// Protocol version.
    pub version: Version,
    /// Priority: 1 to 254, or 255 for the address owner.
    pub priority: u8,
    /// Advertisement interval: a multiple of 10 ms in version 3, of 1 s in version 2.
    pub interval: Duration,
    /// Whether the router preempts a master of lower priority.
    pub preempt: bool,
    /// VIPs, all of one family. Configured with the segment's prefix length.
    pub addresses: Vec<IpAddr>,
    /// Unicast peers; if empty, adverts go to the multicast group.
    pub unicast_peers: Vec<IpAddr>,
    /// Minimum TTL or Hop Limit that vipd accepts from unicast peers; `None` for 255.
    pub min_ttl: Option<u8>,
    /// Whether the router uses the virtual router MAC; FRR always does.
    pub virtual_mac: bool,
    /// VRRPv2 password.
    pub password: Option<String>,
    /// Keys and mode of signed adverts.
    pub hmac: Option<Hmac>,
    /// Path of a command that runs on each change of state; ignored for FRR.
    pub notify: Option<String>,
    /// Path of a command that is tracked with weight -5: it runs every second, with a timeout of
    /// one second. The instances of a node share one check, so all instances of a node that have a
    /// check must have the same path. Ignored for FRR.
    pub check: Option<String>,
}

impl Default for Instance {
    /// Returns an instance with VRID 51, VRRPv3, priority 100, a 1 s interval, preemption, and
    /// [`VIP`].
    fn default() -> Self {
        Self {
            name: "VI_1".to_owned(),
            vrid: 51,
            version: Version::V3,
            priority: 100,
            interval: Duration::from_secs(1),
            preempt: true,
            addresses: vec![VIP.into()],
            unicast_peers: Vec::new(),
            min_ttl: None,
            virtual_mac: false,
            password: None,
            hmac: None,
            notify: None,
            check: None,
        }
    }
}

impl Instance {
    /// Returns the default instance of a family. Its addresses are [`VIP`] or, for IPv6,
    /// [`VIP6_LINK_LOCAL`] and [`VIP6`].
    pub fn of(family: Family) -> Self {
        match family {
            Family::V4 => Self::default(),
            Family::V6 => Self { addresses: vec![VIP6_LINK_LOCAL.into(), VIP6.into()], ..Self::default() },
        }
    }

    /// Returns the instance's family.
    pub fn family(&self) -> Family {
        if self.addresses.iter().any(IpAddr::is_ipv6) { Family::V6 } else { Family::V4 }
    }

    /// Returns the unicast source address of a node.
    fn source(&self, station: Station) -> IpAddr {
        match self.family() {
            Family::V4 => station.ipv4().into(),
            Family::V6 => station.ipv6().into(),
        }
    }
}

/// Formats an address with the segment's prefix length.
fn with_prefix(address: &IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv6() { PREFIX6 } else { PREFIX })
}

/// Returns the contents of vipd's configuration file. Results of `write!` are ignored because
/// writing to a string cannot fail.
pub(crate) fn vipd_configuration(station: Station, instances: &[Instance]) -> String {
    let mut text = String::new();
    for instance in instances {
        let Instance { name, vrid, priority, preempt, .. } = instance;
        let version = instance.version.number();
        let interval = instance.interval.as_millis();
        let quoted =
            |all: Vec<String>| all.iter().map(|one| format!("\"{one}\"")).collect::<Vec<_>>().join(", ");
        let addresses = quoted(instance.addresses.iter().map(with_prefix).collect());
        let _ = write!(
            text,
            "[[instance]]\nname = \"{name}\"\ninterface = \"{INTERFACE}\"\nvrid = {vrid}\nversion = {version}\n\
             priority = {priority}\nadvert_interval = \"{interval}ms\"\npreempt = {preempt}\n\
             virtual_addresses = [{addresses}]\n"
        );
        if !instance.unicast_peers.is_empty() {
            let peers: Vec<_> = instance
                .unicast_peers
                .iter()
                .map(|peer| match instance.min_ttl {
                    Some(ttl) => format!("{{ address = \"{peer}\", min_ttl = {ttl} }}"),
                    None => format!("\"{peer}\""),
                })
                .collect();
            let peers = peers.join(", ");
            let source = instance.source(station);
            let _ = write!(text, "unicast_source = \"{source}\"\nunicast_peers = [{peers}]\n");
        }
        if instance.virtual_mac {
            text += "virtual_mac = true\n";
        }
        if let Some(password) = &instance.password {
            let _ = writeln!(text, "auth_pass = \"{password}\"");
        }
        if let Some(hmac) = &instance.hmac {
            let _ = writeln!(text, "hmac = {hmac}");
        }
        if let Some(command) = &instance.notify {
            let _ = writeln!(text, "notify = {{ any = [\"{command}\"] }}");
        }
        if instance.check.is_some() {
            text += "track = [{ script = \"check\", weight = -5 }]\n";
        }
        text.push('\n');
    }
    if let Some(command) = instances.iter().find_map(|instance| instance.check.as_ref()) {
        let _ = writeln!(text, "[[script]]\nname = \"check\"\ncommand = [\"{command}\"]");
    }
    text
}

/// Returns the contents of keepalived's configuration file, which sets one VRRP version for all
/// instances.
pub(crate) fn keepalived_configuration(station: Station, instances: &[Instance]) -> Result<String> {
    let version = instances.first().map_or(Version::V3, |first| first.version);
    ensure!(
        instances.iter().all(|instance| instance.version == version),
        "the lab configures keepalived with a single VRRP version for all instances on a node"
    );
    let mut text =
        format!("global_defs {{\n    vrrp_version {}\n    script_user root\n}}\n", version.number());
    if let Some(command) = instances.iter().find_map(|instance| instance.check.as_ref()) {
        let _ = write!(
            text,
            "vrrp_script check {{\n    script \"{command}\"\n    interval 1\n    timeout 1\n    weight -5\n}}\n"
        );
    }
    for instance in instances {
        ensure!(instance.hmac.is_none(), "the lab configures signed adverts for vipd only");
        let Instance { name, vrid, priority, .. } = instance;
        let interval = instance.interval.as_secs_f64();
        // keepalived requires MASTER for the owner, which starts as master (RFC 9568 section
        // 6.4.1).
        let state = if *priority == 255 { "MASTER" } else { "BACKUP" };
        let _ = write!(
            text,
            "vrrp_instance {name} {{\n    state {state}\n    interface {INTERFACE}\n    virtual_router_id {vrid}\n\
             \x20   priority {priority}\n    advert_int {interval}\n"
        );
        if !instance.preempt {
            text += "    nopreempt\n";
        }
        if instance.virtual_mac {
            text += "    use_vmac\n";
        }
        if !instance.unicast_peers.is_empty() {
            if instance.virtual_mac {
                text += "    vmac_xmit_base\n";
            }
            let _ = writeln!(text, "    unicast_src_ip {}\n    unicast_peer {{", instance.source(station));
            for peer in &instance.unicast_peers {
                let _ = writeln!(text, "        {peer}");
            }
            text += "    }\n";
        }
        if let Some(password) = &instance.password {
            let _ = write!(
                text,
                "    authentication {{\n        auth_type PASS\n        auth_pass {password}\n    }}\n"
            );
        }
        if let Some(command) = &instance.notify {
            let _ = writeln!(text, "    notify \"{command}\"");
        }
        if instance.check.is_some() {
            text += "    track_script {\n        check\n    }\n";
        }
        text += "    virtual_ipaddress {\n";
        for address in &instance.addresses {
            let _ = writeln!(text, "        {}", with_prefix(address));
        }
        text += "    }\n}\n";
    }
    Ok(text)
}

/// Returns the contents of FRR's configuration file.
pub(crate) fn frr_configuration(instances: &[Instance]) -> Result<String> {
    let mut text = format!("interface {INTERFACE}\n");
    for instance in instances {
        ensure!(instance.unicast_peers.is_empty(), "FRR's vrrpd does not support unicast");
        ensure!(
            instance.password.is_none() && instance.hmac.is_none(),
            "FRR's vrrpd does not support authentication"
        );
        let Instance { vrid, priority, .. } = instance;
        let (version, interval) = (instance.version.number(), instance.interval.as_millis());
        let _ = write!(
            text,
            " vrrp {vrid} version {version}\n vrrp {vrid} priority {priority}\n vrrp {vrid} advertisement-interval \
             {interval}\n"
        );
        if !instance.preempt {
            let _ = writeln!(text, " no vrrp {vrid} preempt");
        }
        for address in &instance.addresses {
            let word = if address.is_ipv6() { "ipv6" } else { "ip" };
            let _ = writeln!(text, " vrrp {vrid} {word} {address}");
        }
    }
    text += "exit\n";
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Station = Station::Node(1);

    #[test]
    fn vipd_configuration_has_all_settings() {
        let instance = Instance { interval: Duration::from_millis(10), ..Instance::default() };
        assert_eq!(
            vipd_configuration(NODE, &[instance]),
            "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\nversion = 3\npriority = 100\n\
             advert_interval = \"10ms\"\npreempt = true\nvirtual_addresses = [\"192.168.122.50/24\"]\n\n"
        );
    }

    #[test]
    fn keepalived_configuration_has_all_settings_and_one_version() {
        let instance = Instance {
            interval: Duration::from_millis(10),
            preempt: false,
            unicast_peers: vec![Station::Node(2).ipv6().into()],
            ..Instance::of(Family::V6)
        };
        let text = keepalived_configuration(NODE, &[instance]).unwrap();
        for expected in [
            "vrrp_version 3\n",
            "state BACKUP\n",
            "advert_int 0.01\n",
            "nopreempt\n",
            "unicast_src_ip fd00:122::b\n",
            "        fd00:122::c\n",
            "        fe80::50/64\n        fd00:122::50/64\n",
        ] {
            assert!(text.contains(expected), "{expected:?} in {text}");
        }
        let mixed = [Instance::default(), Instance { version: Version::V2, ..Instance::default() }];
        assert!(keepalived_configuration(NODE, &mixed).is_err());
    }

    #[test]
    fn frr_configuration_has_all_settings_and_rejects_unicast() {
        let text = frr_configuration(&[Instance::of(Family::V6)]).unwrap();
        assert!(text.contains(" vrrp 51 advertisement-interval 1000\n"), "{text}");
        assert!(text.contains(" vrrp 51 ipv6 fe80::50\n vrrp 51 ipv6 fd00:122::50\n"), "{text}");
        let unicast = Instance { unicast_peers: vec![VIP.into()], ..Instance::default() };
        assert!(frr_configuration(&[unicast]).is_err());
    }
}

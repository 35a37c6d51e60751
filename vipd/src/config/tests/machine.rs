//! Checks against the machine's interfaces.

use std::net::IpAddr;

use super::with;
use crate::config::Config;
use crate::config::machine::{Interface, Machine};

fn warnings(line: &str, interface: &str, has_ethernet: bool, addresses: &[&str]) -> String {
    let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
    let interfaces = [(interface.to_owned(), Interface { has_ethernet, addresses })].into();
    let machine = Machine { interfaces, ..Machine::default() };
    let config = Config::parse_on(&with(line), "f", &machine).unwrap_or_else(|problems| panic!("{problems}"));
    config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn vip_that_is_the_primary_address_causes_a_warning_unless_the_router_owns_it() {
    let warned = "5:22: virtual address 192.0.2.10 is the primary address of eth1, but the priority is 100; assign eth1 an address that is not a VIP, or set `priority = 255`";
    assert_eq!(warnings("", "eth1", true, &["192.0.2.10"]), warned);
    assert_eq!(warnings("", "eth1", true, &["192.0.2.10", "2001:db8::1"]), warned);
    assert_eq!(warnings("", "eth1", true, &["192.0.2.10", "192.0.2.1"]), "");
    assert_eq!(warnings("priority = 255", "eth1", true, &["192.0.2.10"]), "");
}

#[test]
fn multicast_on_an_interface_without_an_ethernet_address_causes_a_warning() {
    assert_eq!(
        warnings("", "eth1", false, &[]),
        "3:13: interface eth1 has no Ethernet address and cannot carry multicast adverts; configure unicast_peers if it is a point-to-point interface, or use another interface"
    );
    assert_eq!(
        warnings("unicast_peers = [\"192.0.2.2\"]\nunicast_source = \"192.0.2.1\"", "eth1", false, &[]),
        ""
    );
}

#[test]
fn each_missing_interface_causes_one_warning() {
    let missing = "3:13: interface is eth1, which does not exist on this machine; the instance is in fault until it exists";
    assert_eq!(warnings("", "eth2", true, &["192.0.2.10"]), missing);
    let dev = "virtual_addresses_excluded = [{ address = \"192.0.2.11\", dev = \"eth3\" }, { address = \"192.0.2.12\", dev = \"eth3\" }]";
    assert_eq!(
        warnings(dev, "eth1", true, &["192.0.2.1"]),
        "6:31: dev is eth3, which does not exist on this machine; the instance is in fault until it exists"
    );
}

#[test]
fn fence_that_ends_with_the_process_causes_a_warning_unless_turned_off() {
    let machine = Machine { fence_obstacle: Some("no file system".to_owned()), ..Machine::default() };
    for (fence, warnings) in [("", 1), ("fence = \"on\"\n", 1), ("fence = \"off\"\n", 0)] {
        let text = format!(
            "{fence}[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"10.0.0.1\"]\n"
        );
        let config = Config::parse_on(&text, "vipd.toml", &machine).expect("a valid file");
        assert_eq!(config.warnings.len(), warnings, "{fence}");
        for warning in config.warnings {
            assert_eq!(
                warning.message,
                "VIPs are not fenced if all processes of vipd are killed at once: no file system"
            );
        }
    }
}

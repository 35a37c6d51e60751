//! The cost of native XDP for other traffic on an interface, by driver.
//!
//! The table is based on the source code of the kernel's drivers. `docs/xdp-modes.md` lists the
//! functions, the details and the measurements.

use super::device;

/// The driver of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Driver {
    /// Driver name as shown by `ethtool -i`. For a virtual interface whose driver reports no name,
    /// the kernel reports the kind of link instead.
    pub(super) name: String,
    pub(super) cost: Cost,
}

/// The cost of a native XDP program for other traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cost {
    /// No cost.
    None,
    /// Native mode affects other traffic: for example, it disables an offload, interrupts traffic
    /// or drops frames. The text completes the sentence "native mode on <driver> …".
    Loses(&'static str),
    /// The driver has no native mode.
    Unsupported,
    /// The driver is not in [`DRIVERS`].
    Unknown,
}

/// Cost of a driver that reinitializes its rings, or closes and reopens the interface.
const RESTARTS: Cost = Cost::Loses("interrupts all traffic when it is enabled or disabled");

/// The drivers whose cost is known, from the source of Linux 6.12. For idpf and mana, later kernels
/// were also checked.
const DRIVERS: [(&str, Cost); 92] = [
    ("veth", Cost::Loses("disables segmentation offload of its peer")),
    ("virtio_net", Cost::Loses("disables the host's segmentation and checksum offloads")),
    (
        "hv_netvsc",
        Cost::Loses("requires LRO to be off, limits the MTU to one page and restarts the virtual function"),
    ),
    ("tun", Cost::Loses("copies segmentation-offloaded frames")),
    ("vif", Cost::Loses("drops frames longer than a page, and may never run the program")),
    ("bonding", Cost::Loses("has the same cost as on its ports")),
    (
        "bnxt_en",
        Cost::Loses(
            "interrupts all traffic when it is enabled or disabled, and disables LRO and hardware GRO",
        ),
    ),
    ("vmxnet3", Cost::Loses("interrupts all traffic when it is enabled or disabled, and disables LRO")),
    ("qede", Cost::Loses("interrupts all traffic when it is enabled or disabled, and disables hardware GRO")),
    (
        "mlx5_core",
        Cost::Loses(
            "interrupts all traffic when it is enabled or disabled, and keeps LRO and hardware GRO off",
        ),
    ),
    ("gve", RESTARTS),
    ("mana", RESTARTS),
    ("mlx4_en", RESTARTS),
    ("ena", RESTARTS),
    ("i40e", RESTARTS),
    ("ice", RESTARTS),
    ("idpf", RESTARTS),
    ("igb", RESTARTS),
    ("igc", RESTARTS),
    ("ixgbe", RESTARTS),
    ("ixgbevf", RESTARTS),
    ("nfp", RESTARTS),
    ("nfp_netvf", RESTARTS),
    ("ionic", RESTARTS),
    ("atlantic", RESTARTS),
    ("st_gmac", RESTARTS),
    ("st_xgmac", RESTARTS),
    ("st_mac100", RESTARTS),
    ("mvneta", RESTARTS),
    ("mvpp2", RESTARTS),
    ("rvu-nicpf", RESTARTS),
    ("nicvf", RESTARTS),
    ("am65-cpsw-nuss", RESTARTS),
    ("fec", RESTARTS),
    ("fsl_enetc", RESTARTS),
    ("fsl_enetc_vf", RESTARTS),
    ("fsl_dpa", RESTARTS),
    ("fsl_dpaa2_eth", RESTARTS),
    ("mtk_soc_eth", RESTARTS),
    ("netsec", RESTARTS),
    ("sfc", Cost::None),
    ("cpsw", Cost::None),
    ("cpsw-switch", Cost::None),
    ("alx", Cost::Unsupported),
    ("atl1c", Cost::Unsupported),
    ("be2net", Cost::Unsupported),
    ("bnx2", Cost::Unsupported),
    ("bnx2x", Cost::Unsupported),
    ("cxgb4", Cost::Unsupported),
    ("e1000", Cost::Unsupported),
    ("e1000e", Cost::Unsupported),
    ("enic", Cost::Unsupported),
    ("forcedeth", Cost::Unsupported),
    ("hns3", Cost::Unsupported),
    ("iavf", Cost::Unsupported),
    ("ibmvnic", Cost::Unsupported),
    ("igbvf", Cost::Unsupported),
    ("macb", Cost::Unsupported),
    ("qlcnic", Cost::Unsupported),
    ("r8169", Cost::Unsupported),
    ("sky2", Cost::Unsupported),
    ("tg3", Cost::Unsupported),
    ("asix", Cost::Unsupported),
    ("ax88179_178a", Cost::Unsupported),
    ("cdc_ether", Cost::Unsupported),
    ("cdc_ncm", Cost::Unsupported),
    ("lan78xx", Cost::Unsupported),
    ("r8152", Cost::Unsupported),
    ("smsc95xx", Cost::Unsupported),
    ("802.1Q VLAN Support", Cost::Unsupported),
    ("bridge", Cost::Unsupported),
    ("dsa", Cost::Unsupported),
    ("dummy", Cost::Unsupported),
    ("geneve", Cost::Unsupported),
    ("gre", Cost::Unsupported),
    ("gretap", Cost::Unsupported),
    ("ifb", Cost::Unsupported),
    ("ip6gre", Cost::Unsupported),
    ("ip6gretap", Cost::Unsupported),
    ("ip6tnl", Cost::Unsupported),
    ("ipip", Cost::Unsupported),
    ("ipvlan", Cost::Unsupported),
    ("macsec", Cost::Unsupported),
    ("macvlan", Cost::Unsupported),
    ("netkit", Cost::Unsupported),
    ("sit", Cost::Unsupported),
    ("team", Cost::Unsupported),
    ("vrf", Cost::Unsupported),
    ("vti", Cost::Unsupported),
    ("vxlan", Cost::Unsupported),
    ("wireguard", Cost::Unsupported),
    ("xfrm", Cost::Unsupported),
];

impl Driver {
    pub(super) fn named(name: String) -> Self {
        let known = DRIVERS.iter().find(|(known, _)| *known == name);
        Self { name, cost: known.map_or(Cost::Unknown, |(_, cost)| *cost) }
    }
}

/// Looks up the driver of an interface in this network namespace.
pub(super) fn find(interface: &str) -> Option<Driver> {
    device::driver_name(interface).map(Driver::named)
}

/// Returns the driver of an interface and the cost of its native mode, which completes the sentence
/// "native mode on DRIVER …"; `None` if the cost or the driver is unknown, if there is no cost, or
/// if the driver has no native mode.
pub fn native_cost(interface: &str) -> Option<(String, &'static str)> {
    let driver = find(interface)?;
    match driver.cost {
        Cost::Loses(what) => Some((driver.name, what)),
        Cost::None | Cost::Unsupported | Cost::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn drivers_that_reinitialize_their_rings_interrupt_traffic() {
        for name in ["ena", "i40e", "ice", "igb", "igc", "ixgbe", "mana"] {
            assert_eq!(Driver::named(name.to_owned()).cost, RESTARTS, "{name}");
        }
    }

    #[test]
    fn drivers_outside_the_table_have_unknown_cost() {
        assert_eq!(Driver::named("no_such_driver".to_owned()).cost, Cost::Unknown);
        assert_eq!(Driver::named("bridge".to_owned()).cost, Cost::Unsupported);
    }

    /// Returns the drivers in the table of `docs/xdp-modes.md`, each with the two table cells that
    /// follow its name.
    fn documented() -> BTreeMap<String, (String, String)> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/xdp-modes.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (_, table) = text.split_once("\n## Drivers\n").unwrap();
        let (table, _) = table.split_once("\n## ").unwrap();
        let mut drivers = BTreeMap::new();
        for row in table.lines().filter(|line| line.starts_with("| `")) {
            let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
            for name in cells[0].split(", ") {
                let name = name.trim_matches('`').to_owned();
                let earlier = drivers.insert(name, (cells[1].to_owned(), cells[2].to_owned()));
                assert_eq!(earlier, None, "listed twice: {row}");
            }
        }
        drivers
    }

    #[test]
    fn documentation_lists_the_same_drivers_as_the_code() {
        let documented = documented();
        let names: BTreeSet<_> = documented.keys().map(String::as_str).collect();
        let coded: BTreeSet<_> = DRIVERS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, coded);
        assert_eq!(coded.len(), DRIVERS.len(), "a driver is listed twice");
        for (name, cost) in DRIVERS {
            let (lost, attaching) = &documented[name];
            assert_eq!(lost == "no native mode", cost == Cost::Unsupported, "{name}");
            assert_eq!(lost == "nothing" && attaching == "free", cost == Cost::None, "{name}");
        }
    }
}

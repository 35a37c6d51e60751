//! Decides which addresses belong to virtual routers and which to the interface itself.
//!
//! A configured VIP belongs to its virtual router, whatever its prefix length and whichever tool
//! added it, because the host answers ARP requests or Neighbor Solicitations for the VIP in any
//! case. On the master, the VIP is present as configured. The VIP is removed from its interface
//! while the router is not master, and from the parent of the router's macvlan in any state, with
//! two exceptions:
//!
//! * The addresses of an address owner (priority 255) are the interface's own (RFC 9568 section
//!   1.7). Only addresses with vipd's mark are removed.
//! * A VIP that another tool added is not removed if the interface would then lose its primary
//!   address, or one of its own addresses that is secondary to the VIP. The VIP's router is then in
//!   Fault.

use std::net::IpAddr;

use super::address_table::AddressTable;
use crate::netlink::{Address, PROTO_VIPD};
use crate::vrrp::{Family, VirtualAddress};

/// The primary address of an interface for one family: the source of the adverts sent on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Primary {
    /// An address that belongs to the interface itself.
    Own(IpAddr),
    /// The first suitable address that vipd did not add, on an interface whose suitable addresses
    /// are all VIPs of routers that do not own them.
    Virtual(IpAddr),
    /// The interface has no suitable address.
    Missing,
}

impl Primary {
    /// Selects the first IPv4 or link-local IPv6 address that is not virtual. `is_virtual` must
    /// return true for VIPs of routers that do not own them.
    pub(crate) fn select(table: &AddressTable, family: Family, is_virtual: impl Fn(IpAddr) -> bool) -> Self {
        let candidate = |address: &&Address| {
            Family::of(address.address) == family
                && (family == Family::V4 || address.is_link_local())
                && address.protocol != PROTO_VIPD
                && !address.unusable
        };
        let mut candidates = table.iter().filter(candidate);
        if let Some(own) = candidates.clone().find(|found| !is_virtual(found.address)) {
            return Self::Own(own.address);
        }
        let only = candidates.find(|found| !table.is_ours(found));
        only.map_or(Self::Missing, |found| Self::Virtual(found.address))
    }

    /// Selects the configured source. Returns [`Missing`](Self::Missing) if the interface does not
    /// have the address, or if the address is unusable or has vipd's mark.
    pub(crate) fn configured(table: &AddressTable, source: IpAddr) -> Self {
        let usable = |found: &Address| found.protocol != PROTO_VIPD && !found.unusable;
        if table.entries(source).any(usable) { Self::Own(source) } else { Self::Missing }
    }
}

/// Returns an IPv4 address in `own` that the kernel would remove along with the VIP `found`,
/// because that address is secondary to `found` in the same subnet (`__inet_del_ifa`, without
/// `promote_secondaries`).
pub(crate) fn dependent(found: &Address, own: &[Address]) -> Option<IpAddr> {
    let depends = |own: &&Address| own.secondary && is_in_subnet_of(own, found);
    if found.secondary { None } else { own.iter().find(depends).map(|own| own.address) }
}

/// Returns whether `other` is a different IPv4 address in the subnet of `found`, with the same
/// prefix length. The kernel makes one address in a subnet primary and all others secondary.
pub(crate) fn is_in_subnet_of(other: &Address, found: &Address) -> bool {
    match (other.address, found.address) {
        (IpAddr::V4(address), IpAddr::V4(primary)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(found.prefix)).unwrap_or(0);
            let differences = u32::from(address) ^ u32::from(primary);
            other.prefix == found.prefix && differences != 0 && differences & mask == 0
        }
        _ => false,
    }
}

/// The relation of a router to one of its VIPs on one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The router is master, and the VIP belongs on this interface.
    Held,
    /// The router is not master, or the VIP belongs on another interface.
    Unwanted,
    /// Like `Unwanted`, but the router is the address owner.
    Owned,
}

/// A difference between the wanted and the present addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// A VIP is missing, or present only with another prefix length.
    Missing,
    /// An address must be removed.
    Unwanted(Address),
}

/// Compares a VIP with the addresses of an interface. Addresses for which `is_protected` returns
/// true are not removed.
pub(crate) fn compare(
    vip: VirtualAddress,
    claim: Claim,
    table: &AddressTable,
    is_protected: impl Fn(&Address) -> bool,
    mut difference: impl FnMut(Difference),
) {
    match claim {
        Claim::Held => {
            if table.get(vip.address, vip.prefix).is_none() {
                difference(Difference::Missing);
            }
        }
        Claim::Unwanted => {
            let found = table.entries(vip.address).filter(|found| !is_protected(found));
            found.for_each(|found| difference(Difference::Unwanted(*found)));
        }
        Claim::Owned => {
            let marked = table.entries(vip.address).filter(|found| found.protocol == PROTO_VIPD);
            marked.for_each(|found| difference(Difference::Unwanted(*found)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: VirtualAddress =
        VirtualAddress { address: IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 50)), prefix: 24 };

    fn entry(last: u8, prefix: u8, protocol: u8) -> Address {
        Address { protocol, ..Address::vipd(1, [192, 0, 2, last].into(), prefix) }
    }

    fn table(entries: &[Address]) -> AddressTable {
        let mut table = AddressTable::default();
        for entry in entries {
            table.insert(*entry);
        }
        table
    }

    fn differences(claim: Claim, table: &AddressTable) -> Vec<Difference> {
        let mut all = Vec::new();
        compare(VIP, claim, table, |_| false, |difference| all.push(difference));
        all
    }

    /// Returns all permutations of a list.
    fn permutations(list: &[Address]) -> Vec<Vec<Address>> {
        let Some((first, rest)) = list.split_first() else { return vec![Vec::new()] };
        let mut all = Vec::new();
        for shorter in permutations(rest) {
            for position in 0..=shorter.len() {
                let mut longer = shorter.clone();
                longer.insert(position, *first);
                all.push(longer);
            }
        }
        all
    }

    #[test]
    fn differences_do_not_depend_on_the_order_of_a_dump() {
        let kinds = [
            entry(50, 24, PROTO_VIPD),
            entry(50, 32, 0),
            entry(50, 16, PROTO_VIPD),
            entry(11, 24, 0),
            entry(51, 24, PROTO_VIPD),
        ];
        for chosen in 0_usize..1 << kinds.len() {
            let present: Vec<_> =
                (0..kinds.len()).filter(|kind| chosen >> kind & 1 == 1).map(|kind| kinds[kind]).collect();
            for order in permutations(&present) {
                let mut table = table(&order);
                let missing = differences(Claim::Held, &table) == [Difference::Missing];
                assert_eq!(missing, !present.contains(&kinds[0]), "{order:?}");
                for unwanted in differences(Claim::Unwanted, &table) {
                    let Difference::Unwanted(address) = unwanted else { panic!("{unwanted:?}") };
                    table.remove(address.address, address.prefix);
                }
                assert_eq!(table.entries(VIP.address).count(), 0, "{order:?}");
                let others = present.iter().filter(|entry| entry.address != VIP.address).count();
                assert_eq!(table.iter().count(), others, "{order:?}");
            }
        }
    }

    #[test]
    fn addresses_of_an_owner_stay_unless_vipd_added_them() {
        let table = table(&[entry(50, 24, 0), entry(50, 32, PROTO_VIPD)]);
        assert_eq!(differences(Claim::Owned, &table), [Difference::Unwanted(entry(50, 32, PROTO_VIPD))]);
    }

    #[test]
    fn primary_address_is_the_first_that_is_not_virtual() {
        let is_virtual = |address: IpAddr| address == VIP.address;
        let select = |entries: &[Address]| Primary::select(&table(entries), Family::V4, is_virtual);
        let own = |last: u8| Primary::Own([192, 0, 2, last].into());
        assert_eq!(select(&[entry(50, 24, 0), entry(11, 24, 0), entry(12, 24, 0)]), own(11));
        assert_eq!(select(&[entry(50, 24, 0)]), Primary::Virtual(VIP.address));
        assert_eq!(select(&[entry(50, 24, PROTO_VIPD)]), Primary::Missing);
        assert_eq!(select(&[]), Primary::Missing);
        let mut rewritten = AddressTable::default();
        rewritten.insert_added(entry(50, 24, PROTO_VIPD));
        rewritten.insert(entry(50, 24, 0));
        assert_eq!(Primary::select(&rewritten, Family::V4, is_virtual), Primary::Missing);
        let link_local =
            |unusable| Address { protocol: 0, unusable, ..Address::vipd(1, "fe80::1".parse().unwrap(), 64) };
        let select6 = |entries: &[Address]| Primary::select(&table(entries), Family::V6, is_virtual);
        assert_eq!(select6(&[link_local(false)]), Primary::Own("fe80::1".parse().unwrap()));
        assert_eq!(select6(&[link_local(true)]), Primary::Missing, "DAD is running");
    }

    #[test]
    fn secondary_addresses_depend_on_the_primary_of_their_subnet() {
        let secondary = |last, prefix| Address { secondary: true, ..entry(last, prefix, 0) };
        let own = Some([192, 0, 2, 11].into());
        assert_eq!(dependent(&entry(50, 24, 0), &[secondary(11, 24)]), own);
        assert_eq!(dependent(&secondary(50, 24), &[secondary(11, 24)]), None);
        assert_eq!(dependent(&entry(50, 24, 0), &[entry(11, 24, 0)]), None);
        assert_eq!(dependent(&entry(50, 32, 0), &[secondary(11, 24)]), None);
        assert_eq!(dependent(&entry(50, 0, 0), &[secondary(11, 0)]), own);
    }
}

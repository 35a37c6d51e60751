//! The addresses of one link, in the kernel's order, with lookup by address and prefix length.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::netlink::{Address, PROTO_VIPD};

/// The addresses of one link.
///
/// The prefix length is part of the key: the kernel allows 192.0.2.1/24 and 192.0.2.1/32 at the
/// same time, and answers ARP requests as long as one of the two exists. The order matters because
/// the first suitable address of a family is the primary address.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressTable {
    in_order: BTreeMap<u64, Address>,
    by_key: BTreeMap<(IpAddr, u8), u64>,
    /// Addresses added by this process or its predecessors. Recorded here because the mark in the
    /// kernel (`IFA_PROTO`) is lost when another tool rewrites the address.
    added: BTreeSet<(IpAddr, u8)>,
    /// Addresses that vipd has added again because the kernel may have removed them along with
    /// another address. The notifications about their removal and addition are pending.
    renewed: BTreeSet<(IpAddr, u8)>,
    next: u64,
}

impl AddressTable {
    /// Records an address that was added or changed. A known address keeps its position.
    pub(crate) fn insert(&mut self, address: Address) {
        self.renewed.remove(&(address.address, address.prefix));
        let next = &mut self.next;
        let position = *self.by_key.entry((address.address, address.prefix)).or_insert_with(|| {
            *next += 1;
            *next
        });
        self.in_order.insert(position, address);
    }

    /// Records an address that vipd added.
    pub(crate) fn insert_added(&mut self, address: Address) {
        self.added.insert((address.address, address.prefix));
        self.insert(address);
    }

    /// Records that vipd has added an address again because the kernel may have removed it along
    /// with another address.
    pub(crate) fn renew(&mut self, address: Address) {
        self.remove(address.address, address.prefix);
        self.insert_added(address);
        self.renewed.insert((address.address, address.prefix));
    }

    /// Handles a notification that an address was removed. Ignores the notification if vipd has
    /// [renewed](Self::renew) the address in the meantime.
    pub(crate) fn removal_notified(&mut self, address: IpAddr, prefix: u8) {
        if !self.renewed.remove(&(address, prefix)) {
            self.remove(address, prefix);
        }
    }

    /// Returns whether vipd added an address, according to this table's record or to the mark in
    /// the kernel, which may stem from a previous run.
    pub(crate) fn is_ours(&self, address: &Address) -> bool {
        address.protocol == PROTO_VIPD || self.added.contains(&(address.address, address.prefix))
    }

    /// Records that an address was removed.
    pub(crate) fn remove(&mut self, address: IpAddr, prefix: u8) -> Option<Address> {
        self.added.remove(&(address, prefix));
        let position = self.by_key.remove(&(address, prefix))?;
        self.in_order.remove(&position)
    }

    /// Clears the table before the addresses of a dump are inserted. Keeps the record of addresses
    /// added by vipd.
    pub(crate) fn begin_dump(&mut self) {
        self.in_order.clear();
        self.by_key.clear();
        self.renewed.clear();
    }

    /// Completes a dump. Addresses missing from the dump are no longer recorded as added by vipd.
    pub(crate) fn end_dump(&mut self) {
        self.added.retain(|key| self.by_key.contains_key(key));
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Iterates over the addresses added by this process or its predecessors, with their prefix
    /// lengths.
    pub(crate) fn added(&self) -> impl Iterator<Item = (IpAddr, u8)> + '_ {
        self.added.iter().copied()
    }

    /// Records that a predecessor added an address. Has no effect if the address is not present.
    pub(crate) fn added_by_predecessor(&mut self, address: IpAddr, prefix: u8) {
        if self.by_key.contains_key(&(address, prefix)) {
            self.added.insert((address, prefix));
        }
    }

    /// Iterates over all addresses in the kernel's order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Address> + Clone {
        self.in_order.values()
    }

    pub(crate) fn get(&self, address: IpAddr, prefix: u8) -> Option<&Address> {
        self.in_order.get(self.by_key.get(&(address, prefix))?)
    }

    /// Iterates over the entries for an address, one for each prefix length.
    pub(crate) fn entries(&self, address: IpAddr) -> impl Iterator<Item = &Address> {
        let keys = self.by_key.range((address, 0)..=(address, u8::MAX));
        keys.filter_map(|(_, position)| self.in_order.get(position))
    }

    /// Returns whether the table contains an address with any prefix length.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.entries(address).next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8, prefix: u8, protocol: u8) -> Address {
        Address { protocol, ..Address::vipd(1, [192, 0, 2, last].into(), prefix) }
    }

    #[test]
    fn prefix_lengths_of_the_same_address_are_separate_entries() {
        let mut table = AddressTable::default();
        table.insert(address(1, 24, PROTO_VIPD));
        table.insert(address(1, 32, 0));
        let vip = [192, 0, 2, 1].into();
        assert_eq!(table.entries(vip).count(), 2);
        assert_eq!(table.remove(vip, 24).map(|found| found.protocol), Some(PROTO_VIPD));
        assert!(table.contains(vip), "the /32 remains");
        assert_eq!((table.get(vip, 24), table.get(vip, 32)), (None, Some(&address(1, 32, 0))));
    }

    #[test]
    fn removal_notification_does_not_remove_a_renewed_address() {
        let mut table = AddressTable::default();
        table.insert(address(1, 24, PROTO_VIPD));
        let vip = [192, 0, 2, 1].into();
        // The kernel sends no removal notification if it has promoted the address instead of
        // removing it.
        for is_notified in [true, false] {
            table.renew(address(1, 24, PROTO_VIPD));
            if is_notified {
                table.removal_notified(vip, 24);
            }
            assert!(table.contains(vip));
            table.insert(address(1, 24, PROTO_VIPD));
        }
        table.removal_notified(vip, 24);
        assert!(!table.contains(vip), "removed externally");
    }

    #[test]
    fn changed_address_keeps_its_position() {
        let mut table = AddressTable::default();
        table.insert(address(2, 24, 0));
        table.insert(address(1, 24, 0));
        table.insert(address(2, 24, PROTO_VIPD));
        let order: Vec<_> = table.iter().map(|found| (found.address, found.protocol)).collect();
        assert_eq!(order, [([192, 0, 2, 2].into(), PROTO_VIPD), ([192, 0, 2, 1].into(), 0)]);
    }

    #[test]
    fn address_added_by_vipd_is_still_ours_after_another_tool_rewrites_it() {
        let mut table = AddressTable::default();
        let rewritten = address(1, 24, 0);
        table.insert_added(address(1, 24, PROTO_VIPD));
        table.insert(rewritten);
        assert!(table.is_ours(&rewritten));
        table.begin_dump();
        table.insert(rewritten);
        table.end_dump();
        assert!(table.is_ours(&rewritten), "after a dump");
        table.remove(rewritten.address, 24);
        table.insert(rewritten);
        assert!(!table.is_ours(&rewritten), "after another tool removed and added it");
        table.insert_added(address(1, 24, PROTO_VIPD));
        table.begin_dump();
        table.end_dump();
        assert!(!table.is_ours(&rewritten), "after a dump that does not contain it");
    }

    proptest! {
        #[test]
        fn lookups_do_not_depend_on_the_order_of_a_dump(
            dump in proptest::collection::vec((0u8..4, prop::sample::select(vec![24u8, 25, 32])), 0..12)
                .prop_flat_map(|entries| (Just(entries.clone()), Just(entries).prop_shuffle()))
        ) {
            let (one, other) = dump;
            let table = |entries: &[(u8, u8)]| {
                let mut table = AddressTable::default();
                for (last, prefix) in entries {
                    table.insert(address(*last, *prefix, 0));
                }
                table
            };
            let (one, other) = (table(&one), table(&other));
            for last in 0..4 {
                let vip = [192, 0, 2, last].into();
                prop_assert!(one.entries(vip).eq(other.entries(vip)));
                for prefix in [24, 25, 32] {
                    prop_assert_eq!(one.get(vip, prefix), other.get(vip, prefix));
                }
            }
        }
    }
}

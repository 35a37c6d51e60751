use std::fmt::Write as _;

use super::*;
use crate::config::Config;
use crate::engine::id::Id as _;
use crate::engine::ownership::Primary;
use crate::netlink::{self, Address, Notice};

fn instances(text: &str) -> Vec<Arc<config::Instance>> {
    let config = Config::parse(text, "vipd.toml").expect("a valid configuration");
    config.instances
}

fn three() -> Vec<Arc<config::Instance>> {
    let mut text = String::new();
    for (vrid, more) in [(1, ""), (2, "virtual_mac = true"), (3, "")] {
        let dev = if vrid == 3 { "{ address = \"10.0.3.1\", dev = \"eth2\" }" } else { "\"10.0.0.1\"" };
        let _ = write!(
            text,
            "[[instance]]\nname = \"{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\n{more}\n\
             virtual_addresses = [{}]\n",
            dev.replace("10.0.0.1", &format!("10.0.{vrid}.1")),
        );
    }
    instances(&text)
}

#[test]
fn each_router_has_its_own_row_and_links_are_shared() {
    let mut topology = Topology::new(Rows::new(8));
    let ids: Vec<_> = three().into_iter().map(|one| topology.add_router(one).expect("room")).collect();
    for (number, id) in (1..).zip(&ids) {
        let row = Row::new(number).expect("not 0");
        assert_eq!(topology.router_at(row), Some(*id));
    }
    let names: Vec<_> = topology.links.iter().map(|(_, link)| link.name.as_str()).collect();
    assert_eq!(names, ["eth1", "the macvlan of 2", "eth2"]);
}

/// Slots become free immediately and rows only later, so slots and rows are reused in different
/// orders.
#[test]
fn rows_resolve_to_their_routers_in_any_order_of_reuse() {
    let mut topology = Topology::new(Rows::new(4));
    let settings = three();
    let add =
        |topology: &mut Topology, one: usize| topology.add_router(Arc::clone(&settings[one])).expect("room");
    let first = add(&mut topology, 0);
    let second = add(&mut topology, 1);
    let (removed, _) = topology.remove_router(first).expect("it was added");
    let third = add(&mut topology, 2);
    assert_eq!(third.index(), first.index(), "the slot is reused before the row is released");
    assert_eq!(topology.router_at(removed.row).and_then(|id| topology.routers.get(id)).map(|_| ()), None);
    topology.release(removed.row);
    let fourth = add(&mut topology, 0);
    for id in [second, third, fourth] {
        let row = topology.routers.get(id).expect("it was added").row;
        assert_eq!(topology.router_at(row), Some(id));
    }
}

#[test]
fn number_of_routers_is_limited_by_the_size_of_the_maps() {
    let mut topology = Topology::new(Rows::new(1));
    let [first, second, _] = &three()[..] else { panic!("three instances") };
    topology.add_router(Arc::clone(first)).expect("room for one");
    let error = topology.add_router(Arc::clone(second)).expect_err("no room for two");
    assert!(error.to_string().contains("instance 2: all 1 rows"), "{error}");
}

/// Adds and removes a router with a macvlan and a router with an address-only link, while a third
/// router remains.
#[test]
fn adding_and_removing_routers_ten_thousand_times_leaks_nothing() {
    let mut topology = Topology::new(Rows::new(3));
    let settings = three();
    let kept = topology.add_router(Arc::clone(&settings[0])).expect("room");
    let row = |topology: &Topology, id| topology.routers.get(id).map(|instance: &Instance| instance.row);
    let kept_row = row(&topology, kept);
    for _ in 0..10_000 {
        for (one, links) in [(&settings[1], 1), (&settings[2], 1)] {
            let id = topology.add_router(Arc::clone(one)).expect("room");
            assert_ne!(row(&topology, id), kept_row);
            let (removed, unused) = topology.remove_router(id).expect("it was added");
            assert_eq!(unused.len(), links, "only the macvlan or the address-only link is unused");
            assert!(topology.routers.get(id).is_none());
            topology.release(removed.row);
        }
    }
    assert_eq!((topology.routers.slots(), topology.links.slots()), (2, 2));
    assert_eq!(row(&topology, kept), kept_row);
    assert!(topology.by_row.len() <= 4, "at most row 0 and three other rows");
    let eth1 = topology.links.iter().next().map(|(_, link)| link.routers.clone());
    assert_eq!(eth1, Some(vec![kept]));
}

/// On a link with 255 routers that have 20 VIPs each, the notifications caused by a takeover mark
/// only the affected routers for reconciliation.
#[test]
fn notification_about_a_vip_affects_only_its_router() {
    const VIPS: u8 = 20;
    let mut text = String::new();
    for vrid in 1..=255 {
        let vips: Vec<_> = (0..VIPS).map(|last| format!("\"10.1.{vrid}.{last}/32\"")).collect();
        let _ = write!(
            text,
            "[[instance]]\nname = \"{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\n\
             virtual_addresses = [{}]\n",
            vips.join(", ")
        );
    }
    let mut topology = Topology::new(Rows::new(255));
    for one in instances(&text) {
        topology.add_router(one).expect("room");
    }
    let links = &mut topology.links;
    let eth1 = links.find_or_add("eth1", LinkRole::Vrrp);
    let link = netlink::Link {
        ifindex: 7,
        name: "eth1".to_owned(),
        running: true,
        mac: Some([2, 0, 0, 0, 0, 1]),
        is_point_to_point: false,
    };
    links.apply(&Notice::Link(link));
    let own = Address { protocol: 0, ..Address::vipd(7, [10, 0, 0, 1].into(), 8) };
    links.apply(&Notice::Address(own));
    let link = links.get_mut(eth1).expect("eth1");
    assert!(std::mem::take(&mut link.changed), "the interface appeared");
    assert!(link.refresh_primaries());
    for vrid in 1..=255 {
        for last in 0..VIPS {
            links.apply(&Notice::Address(Address::vipd(7, [10, 1, vrid, last].into(), 32)));
        }
        let link = links.get_mut(eth1).expect("eth1");
        assert!(!link.changed && !link.refresh_primaries(), "the other routers are not affected");
        let mut touched = std::mem::take(&mut link.touched);
        touched.dedup();
        assert_eq!(touched.len(), 1);
    }
    links.apply(&Notice::AddressGone(own));
    let link = links.get_mut(eth1).expect("eth1");
    assert!(link.refresh_primaries(), "the primary address affects all routers");
    assert_eq!(link.primary(Family::V4, None), Primary::Missing);
}

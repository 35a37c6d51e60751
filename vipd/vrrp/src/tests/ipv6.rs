//! IPv6: adverts come from link-local addresses, which also break ties between routers of equal
//! priority.

use std::net::Ipv6Addr;

use super::*;

const fn link_local(last: u16) -> IpAddr {
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last))
}

const VIP: VirtualAddress = VirtualAddress { address: link_local(0x50), prefix: 64 };

fn config_v6(priority: u8) -> RouterConfig {
    let interval = Interval::from_nanos(Version::V3, SECOND).expect("an interval");
    RouterConfig { priority, ..RouterConfig::new(51, Family::V6, interval, vec![VIP]) }
}

/// Returns a master that sends from `fe80::2`.
fn master(priority: u8) -> Script {
    let mut script = Script::new(config_v6(priority));
    script.input(Input::PrimaryAddress(link_local(2)));
    if let Some(down) = script.next().filter(|_| script.state() == State::Backup) {
        script.wait(down);
    }
    assert_eq!(script.state(), State::Master);
    script
}

#[test]
fn s22_and_s26_the_tie_break_compares_link_local_sources_as_numbers() {
    for (source, wins) in [
        (link_local(1), false),
        (link_local(3), true),
        (link_local(0xffff), true),
        (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 1, 0, 0, 1)), true),
        // Addresses are compared in network byte order: fe80:: is higher than any global address.
        (IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9)), false),
    ] {
        for priority in [100, 255] {
            let mut script = master(priority);
            let advert = Action::SendAdvert { priority };
            let actions = script.advert(priority, source);
            if wins {
                assert_eq!(actions, [advert, Action::RemoveAddresses], "S22: {source}");
            } else {
                assert_eq!(actions, [advert], "S23: {source}");
            }
            assert_eq!(script.state(), if wins { State::Backup } else { State::Master }, "S26: {source}");
        }
    }
}

#[test]
fn s28_an_advert_from_the_routers_own_link_local_address_is_ignored() {
    let mut script = master(100);
    for priority in [0, 50, 100, 254] {
        assert_eq!(script.advert(priority, link_local(2)), [], "S28");
    }
    assert_eq!((script.state(), script.router.snapshot().counters.own_adverts), (State::Master, 4));
    assert_eq!(script.router.peers(), []);
}

#[test]
fn f7_s9_and_s19_addresses_are_added_and_removed_as_in_ipv4() {
    let mut script = Script::new(config_v6(100));
    script.input(Input::PrimaryAddress(link_local(2)));
    let down = 3 * SECOND + 156 * SECOND / 256;
    assert_eq!(script.wait(down), [(down, ADVERT), (down, ADD), (down, ANNOUNCE)], "S9");
    assert_eq!(script.input(Input::Shutdown), [PRIORITY_ZERO, Action::RemoveAddresses], "S19");
}

#[test]
fn r12_the_address_list_is_compared() {
    let mut script = Script::new(config_v6(100));
    script.input(Input::PrimaryAddress(link_local(2)));
    let list = |last| address_digest([link_local(last)].into_iter());
    for (last, errors) in [(0x50, 0), (0x51, 1)] {
        let advert = Received { addresses: list(last), ..script.received(200, link_local(3)) };
        script.input(Input::Advert(advert));
        assert_eq!(script.router.snapshot().counters.address_list_errors, errors, "R12");
    }
    assert_eq!(
        script.router.snapshot().master,
        Some(link_local(3)),
        "R12: the advert is accepted despite the mismatch"
    );
}

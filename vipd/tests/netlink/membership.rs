//! Membership in the VRRP multicast groups.

use std::fs;
use std::thread;
use std::time::Duration;

use vipd::packet::{Members, Membership};

use super::{LO, ip, pair, private_namespace};

fn is_member(table: &str, group: &str) -> bool {
    let table = fs::read_to_string(format!("/proc/thread-self/net/{table}")).expect("a table");
    table.to_lowercase().contains(group)
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN and CAP_NET_RAW"]
fn only_a_lost_group_membership_is_renewed() {
    private_namespace();
    let veth = pair("eth0");
    ip("link set eth0 up");
    ip("link set lo up");
    let group4 = format!("{:08x}", u32::from_ne_bytes([224, 0, 0, 18]));
    // Loopback accepts an MTU below the IPv4 minimum; veth does not.
    for (table, group, family, name, index, too_small) in [
        ("igmp", group4.as_str(), 4, "lo", LO, 60),
        ("igmp6", "ff020000000000000000000000000012", 6, "eth0", veth, 1279),
    ] {
        let membership = Membership::join(index, family).expect("joined");
        assert!(is_member(table, group));
        assert!(!membership.renew(&Members::default()).expect("a member"), "{table}: still a member");
        ip(&format!("link set {name} mtu {too_small}"));
        assert!(!is_member(table, group), "{table}");
        assert!(membership.renew(&Members::default()).is_err(), "{table}: IP is disabled");
        ip(&format!("link set {name} mtu 1500"));
        assert!(!is_member(table, group), "{table}: not renewed by the kernel");
        assert!(membership.renew(&Members::default()).expect("a member"), "{table}: was lost");
        assert!(is_member(table, group), "{table}");
        assert!(!membership.renew(&Members::default()).expect("a member"), "{table}: still a member");
        drop(membership);
        // A child process forked by another test keeps the socket open until the child calls exec.
        let mut waits = 0;
        while is_member(table, group) {
            waits += 1;
            assert!(waits < 10_000, "{table}: still a member after the drop");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

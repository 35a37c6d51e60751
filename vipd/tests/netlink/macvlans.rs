//! Macvlans with virtual MACs, and their sysctls.

use std::fs;

use rustix::mount::{MountFlags, mount_bind, mount_remount};
use vipd::netlink::{Macvlans, Traffic, Wanted};

use super::{index_of, ip, pair, private_namespace};

fn wanted(parent: u32, family: u8, vrid: u8) -> Wanted<'static> {
    Wanted { parent, parent_name: "eth0", family, vrid }
}

fn sysctl(path: &str) -> String {
    fs::read_to_string(format!("/proc/sys/net/{path}")).expect("a sysctl").trim().to_owned()
}

fn set_sysctl(path: &str, value: u32) {
    fs::write(format!("/proc/sys/net/{path}"), value.to_string()).expect("a sysctl");
}

fn links() -> usize {
    ip("-o link").lines().count()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn each_macvlan_needs_a_constant_number_of_requests() {
    private_namespace();
    let parent = pair("eth0");
    let mut macvlans = Macvlans::open("test").expect("a socket");
    let opened = macvlans.traffic();
    assert_eq!((opened.requests, opened.dumps), (1, 1));
    for vrid in 1..=100 {
        macvlans.ensure(&wanted(parent, 4, vrid)).expect("a macvlan");
    }
    let Traffic { requests, dumps, received } = macvlans.traffic();
    // Three requests per macvlan: create it, look it up, set its alias.
    assert_eq!((requests, dumps), (opened.requests + 300, opened.dumps));
    assert!(received <= opened.received + 400, "{received} messages");
    let again = macvlans.ensure(&wanted(parent, 4, 7)).expect("a macvlan");
    assert_eq!((again.name.as_str(), again.ifindex), ("vrrp4-7", index_of("vrrp4-7")));
    assert_eq!(macvlans.traffic().requests, requests + 1, "an existing macvlan is only looked up");

    // To clear the macvlans, `clear` lists the links, finds an unused link group, moves the
    // macvlans to this group one by one, and deletes the group with one request.
    macvlans.clear();
    assert_eq!(links(), 3);
    let cleared = macvlans.traffic();
    assert_eq!((cleared.requests, cleared.dumps), (requests + 1 + 102, dumps + 1));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn creating_and_deleting_macvlans_does_not_leak_links() {
    private_namespace();
    let parent = pair("eth0");
    let mut macvlans = Macvlans::open("test").expect("a socket");
    let kept = macvlans.ensure(&wanted(parent, 6, 255)).expect("a macvlan");
    for round in 0..300 {
        let vrid = u8::try_from(round % 254 + 1).expect("a VRID");
        let created = macvlans.ensure(&wanted(parent, 4, vrid)).expect("a macvlan");
        assert_eq!(created, macvlans.ensure(&wanted(parent, 4, vrid)).expect("the same"));
        assert_eq!(sysctl("ipv4/conf/eth0/arp_ignore"), "1");
        macvlans.remove(parent, 4, vrid);
        macvlans.remove(parent, 4, vrid);
    }
    assert_eq!(links(), 4);
    assert_eq!(index_of("vrrp6-255"), kept.ifindex);
    assert_eq!(
        sysctl("ipv4/conf/eth0/arp_ignore"),
        "0",
        "removing the last IPv4 macvlan restores the parent's sysctls"
    );
    set_sysctl("ipv4/conf/eth0/arp_ignore", 2);
    macvlans.remove(parent, 6, 255);
    assert_eq!(sysctl("ipv4/conf/eth0/arp_ignore"), "2", "an IPv6 macvlan restores nothing");
    set_sysctl("ipv4/conf/eth0/arp_ignore", 0);

    // A macvlan that another tool has deleted is created again.
    macvlans.ensure(&wanted(parent, 4, 1)).expect("a macvlan");
    ip("link delete vrrp4-1");
    let again = macvlans.ensure(&wanted(parent, 4, 1)).expect("a macvlan");
    assert_eq!(again.ifindex, index_of("vrrp4-1"));
    // A macvlan is created again after its parent has been replaced.
    ip("link delete eth0");
    let parent = pair("eth0");
    macvlans.ensure(&wanted(parent, 4, 1)).expect("a macvlan");
    drop(macvlans);
    assert_eq!(links(), 3);
    assert_eq!(sysctl("ipv4/conf/eth0/arp_ignore"), "0");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn only_macvlans_of_this_agent_are_deleted() {
    private_namespace();
    let parent = pair("eth0");
    // A macvlan as created by FRR, a macvlan of another agent, and an incomplete macvlan of this
    // agent.
    ip("link add vrrp4-51 link eth0 address 00:00:5e:00:01:33 type macvlan mode bridge");
    ip("link set vrrp4-51 up");
    ip("link add vrrp4-52 link eth0 address 00:00:5e:00:01:34 type macvlan mode private");
    ip("link set vrrp4-52 alias other");
    ip("link add vrrp4-53 link eth0 address 00:00:5e:00:01:35 type macvlan mode private");
    ip("link set vrrp4-51 group 77");
    let mut macvlans = Macvlans::open("test").expect("a socket");
    for (vrid, own_name) in [(51, false), (52, false), (53, true)] {
        let created = macvlans.ensure(&wanted(parent, 4, vrid)).expect("a macvlan");
        assert_eq!(created.name == format!("vrrp4-{vrid}"), own_name, "{created:?}");
    }
    // Opening again, as after a crash, deletes this agent's macvlans.
    let before = links();
    drop(Macvlans::open("test").expect("a socket"));
    assert_eq!(links(), before - 3);
    drop(macvlans);
    index_of("vrrp4-51");
    index_of("vrrp4-52");
}

/// Makes /proc/sys read-only in this thread's mount namespace, as container runtimes do.
fn make_sysctls_read_only() {
    mount_bind("/proc/sys", "/proc/sys").expect("a bind mount");
    mount_remount("/proc/sys", MountFlags::BIND | MountFlags::RDONLY, "").expect("a read-only mount");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn read_only_sysctls_with_the_required_values_are_accepted() {
    private_namespace();
    let parent = pair("eth0");
    for (name, value) in [("arp_ignore", 1), ("arp_announce", 2), ("rp_filter", 2)] {
        set_sysctl(&format!("ipv4/conf/default/{name}"), value);
        set_sysctl(&format!("ipv4/conf/eth0/{name}"), value);
    }
    set_sysctl("ipv6/conf/default/disable_ipv6", 1);
    make_sysctls_read_only();
    let mut macvlans = Macvlans::open("test").expect("a socket");
    let created = macvlans.ensure(&wanted(parent, 4, 51)).expect("a macvlan");
    assert_eq!(created.name, "vrrp4-51");

    // IPv6 needs further sysctls. The error names the first wrong sysctl, and no incomplete macvlan
    // remains.
    for _ in 0..2 {
        let error = macvlans.ensure(&wanted(parent, 6, 51)).expect_err("wrong values").to_string();
        assert!(error.contains("net.ipv6.conf.vrrp6-51.addr_gen_mode is 0, must be 1"), "{error}");
        assert!(error.contains("set net.ipv6.conf.default.addr_gen_mode = 1"), "{error}");
        assert_eq!(links(), 4);
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN and CAP_NET_ADMIN"]
fn a_wrong_read_only_sysctl_of_the_parent_leaves_no_macvlan() {
    private_namespace();
    let parent = pair("eth0");
    // After an interface's sysctl has been written, the sysctl no longer follows the default.
    set_sysctl("ipv4/conf/eth0/arp_ignore", 0);
    for (name, value) in [("arp_ignore", 1), ("arp_announce", 2), ("rp_filter", 2)] {
        set_sysctl(&format!("ipv4/conf/default/{name}"), value);
    }
    set_sysctl("ipv6/conf/default/disable_ipv6", 1);
    make_sysctls_read_only();
    let mut macvlans = Macvlans::open("test").expect("a socket");
    for _ in 0..2 {
        let error = macvlans.ensure(&wanted(parent, 4, 51)).expect_err("a wrong value").to_string();
        assert!(error.contains("net.ipv4.conf.eth0.arp_ignore is 0, must be 1"), "{error}");
        assert_eq!(links(), 3);
    }
}

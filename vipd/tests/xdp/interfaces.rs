//! The same VRID on two interfaces means two virtual routers.

use std::process::Command;

use rustix::thread::UnshareFlags;
use vipd::xdp::Action;
use vipd_common::counters::Counter;
use vipd_witness::Advert;

use crate::bench::{Bench, LOOPBACK, multicast};
use crate::frame;

/// Creates a veth pair in a new network namespace for this thread. The namespace is deleted when
/// the thread ends.
pub(crate) fn private_pair() -> [u32; 2] {
    private_links("left type veth peer name right", ["left", "right"])
}

/// Runs `ip link add` with these arguments in a new network namespace. Returns the indices of the
/// interfaces `names`.
pub(crate) fn private_links(arguments: &str, names: [&str; 2]) -> [u32; 2] {
    // SAFETY: unshares only the network namespace, not the file descriptor table.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }.unwrap_or_else(|error| {
        panic!("cannot create a network namespace: {error}; this test needs CAP_SYS_ADMIN; run it as root")
    });
    let status = Command::new("ip")
        .args(["link", "add"])
        .args(arguments.split(' '))
        .status()
        .unwrap_or_else(|error| panic!("cannot run `ip`: {error}; install iproute2"));
    assert!(
        status.success(),
        "`ip link add {arguments}` failed: {status}; the kernel must support this link type"
    );
    let socket = rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, None)
        .expect("a socket");
    names.map(|name| rustix::net::netdevice::name_to_index(&socket, name).expect("an existing interface"))
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN"]
fn the_same_vrid_on_another_interface_is_another_virtual_router() {
    let [left, right] = private_pair();
    let mut bench = Bench::new();
    bench.watch(left, 51, 4, multicast(4, 3, 12));
    bench.watch(right, 60, 4, multicast(4, 3, 13));
    let frame = frame::valid(3).frame();
    for (ifindex, action, row) in
        [(LOOPBACK, Action::Drop, 1), (left, Action::Drop, 12), (right, Action::Pass, 0)]
    {
        let verdict = bench.compare(&frame, ifindex).unwrap_or_else(|error| panic!("{ifindex}: {error}"));
        assert_eq!(verdict.action(), action, "interface {ifindex}");
        let counter = if row == 0 { Counter::VridErrors } else { Counter::AdvertisementRcvd };
        assert_eq!(bench.row(row).get(counter), 1, "interface {ifindex}");
    }
    let frame = Advert { vrid: 60, ..frame::valid(3) }.frame();
    assert_eq!(bench.run(&frame, right), Action::Drop);
    assert_eq!(bench.run(&frame, left), Action::Pass);
}

//! Tests of links, addresses and routes over netlink. Each test runs in namespaces private to its
//! thread.

mod addresses;
mod macvlans;
mod membership;
mod notifications;
mod routes;
mod routing;

use std::net::IpAddr;
use std::process::Command;

use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use vipd::netlink::{Address, Attributes, Change, Drained, Monitor, Notice, Requests};

/// Loopback, the only interface of a new namespace.
const LO: u32 = 1;

/// A drain budget larger than the number of notifications in any test.
const ALL: usize = 100_000;

/// Moves this thread, which runs the test, to new namespaces.
fn private_namespace() {
    // SAFETY: new network and mount namespaces do not affect the thread's file descriptors or
    // memory.
    let result = unsafe { unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) };
    result.expect("new namespaces need CAP_SYS_ADMIN; run this test as root (`cargo xtask test`)");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).expect("private mounts");
}

/// Runs iproute2 in this thread's namespace.
fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("iproute2");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Adds a veth pair and returns the index of its first link.
fn pair(name: &str) -> u32 {
    ip(&format!("link add {name} type veth peer name {name}-peer"));
    index_of(name)
}

fn index_of(name: &str) -> u32 {
    let shown = ip(&format!("-o link show {name}"));
    shown.split(':').next().expect("an index").trim().parse().expect("a number")
}

fn drain(monitor: &mut Monitor) -> (Vec<Notice>, Drained) {
    let mut notices = Vec::new();
    let drained = monitor.drain(ALL, |notice| notices.push(notice)).expect("the monitor works");
    (notices, drained)
}

fn address(last: u8, prefix: u8) -> Address {
    Address::vipd(LO, IpAddr::from([10, 0, 0, last]), prefix)
}

fn addresses(requests: &mut Requests) -> Vec<Address> {
    let mut all = Vec::new();
    requests
        .dump(|notice| {
            if let Notice::Address(found) = notice {
                all.push(found);
            }
        })
        .expect("a dump");
    all
}

/// Returns the change that adds an address without attributes.
fn add(address: Address) -> Change {
    Change::Add(address, Attributes::default())
}

/// Applies changes. Panics if a change is rejected.
fn apply(requests: &mut Requests, changes: &[Change]) {
    requests
        .apply(changes, |change, error| panic!("{change:?} was rejected: {error}"))
        .expect("the socket works");
}

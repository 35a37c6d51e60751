//! quick
use vipd::xdp::*;
use vipd_common::records::*;
use vipd_common::wire::*;
#[test]
fn loads() {
    let mut l = Kernel::load(OBJECT, 10, Verbosity::Quiet).unwrap_or_else(|e| panic!("{e:?}"));
    l.kernel.watch(RouterKey::ipv4(1, 51), RouterSlot { row: 1, version: 3, zero: [0; 3] }).unwrap();
    let mut f = vec![0; 14 + 20];
    ethernet::write(&mut f, ipv4::VRRP_GROUP_MAC, [2; 6], 0x800).unwrap();
    let mut m = [0; 2000];
    let n = vrrp::write(
        &mut m,
        vrrp::Fields { version: 3, vrid: 51, priority: 100, interval: 100 },
        [10, 0, 0, 1],
        [[10, 0, 0, 50]].into_iter(),
    )
    .unwrap();
    ipv4::write_vrrp(&mut f[14..], [10, 0, 0, 1], n).unwrap();
    f.extend_from_slice(&m[..n]);
    println!("{:?}", l.kernel.test_run(&f, 1, 1));
    println!("{:?}", l.feed.next());
    println!("{:?}", l.counters.row(1));
    println!("{:?}", l.counters.row(0));
    println!("{:?}", l.kernel.test_run(&f, 1, 100000));
    println!("{:?}", l.kernel.test_run(&[0u8; 64], 1, 1000000));
    let mut f = vec![0; 14 + 20];
    ethernet::write(&mut f, ipv4::VRRP_GROUP_MAC, [2; 6], 0x800).unwrap();
    let a: Vec<[u8; 4]> = (0..255u8).map(|i| [10, 0, 0, i]).collect();
    let n = vrrp::write(
        &mut m,
        vrrp::Fields { version: 3, vrid: 51, priority: 100, interval: 100 },
        [10, 0, 0, 1],
        a.into_iter(),
    )
    .unwrap();
    ipv4::write_vrrp(&mut f[14..], [10, 0, 0, 1], n).unwrap();
    f.extend_from_slice(&m[..n]);
    while l.feed.next().is_some() {}
    println!("{:?}", l.kernel.test_run(&f, 1, 1));
    println!("{:?}", l.feed.next());
    println!("{:?}", l.kernel.test_run(&f, 1, 100000));
}

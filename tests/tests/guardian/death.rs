//! After the death of the agent, the guardian sends priority-0 adverts, and removes the VIPs once a
//! backup has taken over.

use rustix::mount::{UnmountFlags, unmount};
use vipd_tests::command::run;
use vipd_tests::configuration::Family;

use super::*;

/// Kills a master with this signal. Checks that its guardian sends one priority-0 advert for each
/// router, after all other adverts, and logs two lines. Also checks that the backup takes over and
/// that the VIPs of the dead agent are removed.
fn check_death(signal: Signal) {
    const COUNT: u8 = 20;
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, backup) = pair(&lab, COUNT);
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, signal);
    wait_until("the backup to take over", TIMEOUT, || {
        addresses(host(&lab, TWO)).len() == 1 + usize::from(COUNT)
    })
    .expect("taken over");
    wait_until("the VIPs of the dead agent to be removed", TIMEOUT, || {
        addresses(host(&lab, ONE)) == [ONE.ipv4()]
    })
    .expect("removed");
    wait_for_end(process);
    let sent = adverts(&capture, ONE, killed);
    let zero: Vec<u8> = sent.iter().filter(|(_, priority)| *priority == 0).map(|(vrid, _)| *vrid).collect();
    let mut all = zero.clone();
    all.sort_unstable();
    assert_eq!(all, (1..=COUNT).collect::<Vec<_>>(), "{sent:?}");
    let last = sent.iter().rposition(|(_, priority)| *priority != 0);
    assert!(last.is_none_or(|last| sent[..last].iter().all(|(_, priority)| *priority != 0)), "{sent:?}");
    let status = control::status(&backup).expect("query status");
    assert!(status.iter().all(|one| one.text("state") == "master"));
    let log = master.log();
    let lines: Vec<_> = log.iter().filter(|line| line.text.contains("guardian: ")).collect();
    assert_eq!(lines.len(), 2, "{log:#?}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_of_a_killed_master_sends_priority_zero_and_removes_its_vips() {
    check_death(Signal::KILL);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_of_a_crashed_master_sends_priority_zero_and_removes_its_vips() {
    for signal in [Signal::ABORT, Signal::SEGV, Signal::TRAP, Signal::SYS] {
        check_death(signal);
    }
}

/// Uses the maximum number of virtual routers of one family on an interface.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_of_a_killed_master_sends_priority_zero_for_each_of_255_routers() {
    const COUNT: u8 = 255;
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, backup) = pair(&lab, COUNT);
    wait_for_all(&backup, "backup");
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_for_all(&backup, "master");
    wait_for_end(process);
    let zero = capture.filter_map(killed, |frame| {
        let advert = frame.advert().filter(|advert| frame.from == ONE && advert.priority == 0)?;
        Some((advert.vrid, frame.time))
    });
    let vrids: BTreeSet<u8> = zero.iter().map(|(vrid, _)| *vrid).collect();
    assert_eq!((zero.len(), vrids.len()), (255, 255));
    assert_eq!(addresses(host(&lab, ONE)), [ONE.ipv4()]);
}

/// Checks the source and the destination of the guardian's priority-0 adverts.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn killed_master_with_unicast_peers_sends_priority_zero_to_each() {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::new(2).expect("create the lab");
        let capture = lab.capture().expect("start the capture");
        let address = |station: Station| match family {
            Family::V4 => station.ipv4().into(),
            Family::V6 => station.ipv6().into(),
        };
        let instance = |priority, peer| Instance {
            priority,
            interval: INTERVAL,
            unicast_peers: vec![address(peer)],
            ..Instance::of(family)
        };
        let mut master = start(&lab, ONE, &[instance(200, TWO)]);
        wait_for_state(&master, "master", TIMEOUT).expect("master");
        let backup = start(&lab, TWO, &[instance(100, ONE)]);
        routers::wait_for_backup_of(&backup, address(ONE)).expect("backup");
        let process = guardian(&master).expect("a guardian");
        let killed = WallTime::now();
        kill_alone(&mut master, Signal::KILL);
        wait_for_state(&backup, "master", TIMEOUT).expect("taken over");
        wait_for_end(process);
        let sent = capture.filter_map(killed, |frame| {
            let advert = frame.advert().filter(|advert| frame.from == ONE && advert.priority == 0)?;
            Some((advert.source, advert.destination))
        });
        assert_eq!(sent, [(address(ONE), address(TWO))]);
    }
}

/// After the takeover, the macvlans of both families are deleted, and the sysctls of their parent
/// interface are restored.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn macvlans_are_deleted_and_sysctls_restored_after_the_takeover() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let sysctl = |name: &str| {
        let path = format!("/proc/sys/net/ipv4/conf/eth1/{name}");
        host(&lab, ONE).run(move || fs::read_to_string(path)).expect("read the sysctl").trim().to_owned()
    };
    let before = [sysctl("arp_ignore"), sysctl("arp_announce")];
    let instances = |priority| {
        [Family::V4, Family::V6].map(|family| Instance {
            name: format!("VI_{family}"),
            priority,
            interval: INTERVAL,
            virtual_mac: true,
            ..Instance::of(family)
        })
    };
    let mut master = start(&lab, ONE, &instances(200));
    wait_for_all(&master, "master");
    assert_ne!([sysctl("arp_ignore"), sysctl("arp_announce")], before);
    let backup = start(&lab, TWO, &instances(100));
    wait_for_all(&backup, "backup");
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_for_all(&backup, "master");
    wait_for_end(process);
    let sent = adverts(&capture, ONE, killed);
    assert_eq!(sent.iter().filter(|(_, priority)| *priority == 0).count(), 2, "{sent:?}");
    let links = run(host(&lab, ONE), "ip", &["-o", "link"]).expect("list the links");
    assert!(!links.contains("vrrp"), "{links}");
    assert_eq!([sysctl("arp_ignore"), sysctl("arp_announce")], before);
}

/// The guardian acts for the routers and VIPs that the last reload configured.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_acts_for_the_routers_of_the_last_reload() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (mut master, mut backup) = pair(&lab, 3);
    let changed = |priority| {
        let mut all: Vec<_> = (2..=4).map(|vrid| instance(vrid, priority)).collect();
        all[0].addresses.push(Ipv4Addr::new(10, 0, 2, 2).into());
        all
    };
    for (agent, priority) in [(&mut backup, 100), (&mut master, 200)] {
        agent.set_instances(&changed(priority)).expect("write the configuration");
        control::reload(agent).expect("reload");
    }
    wait_until("node 1 to be master of all instances", TIMEOUT, || addresses(host(&lab, ONE)).len() == 5)
        .expect("master");
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_for_all(&backup, "master");
    wait_for_end(process);
    let sent = capture.filter_map(killed, |frame| {
        let advert = frame.advert().filter(|advert| frame.from == ONE && advert.priority == 0)?;
        Some((advert.vrid, advert.addresses.len()))
    });
    assert_eq!(sent.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from([(2, 2), (3, 1), (4, 1)]));
    assert_eq!(addresses(host(&lab, ONE)), [ONE.ipv4()]);
}

/// Without a BPF file system, the fence ends with the agent, so the guardian does not wait for the
/// takeover.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vips_are_removed_at_once_without_a_bpf_file_system() {
    let lab = Lab::new(1).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let node = host(&lab, ONE);
    node.run(|| unmount("/sys/fs/bpf", UnmountFlags::DETACH)).expect("unmount the BPF file system");
    let mut master = start(&lab, ONE, &[instance(1, 200), instance(2, 200)]);
    wait_for_all(&master, "master");
    wait_until("the VIPs", TIMEOUT, || addresses(node).len() == 3).expect("added");
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_until("the VIPs to be removed", TIMEOUT, || addresses(node).len() == 1).expect("removed");
    wait_for_end(process);
    let zeros = || adverts(&capture, ONE, killed).iter().filter(|(_, priority)| *priority == 0).count();
    wait_until("the priority-0 adverts", TIMEOUT, || zeros() == 2).expect("one for each router");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn guardian_of_a_backup_sends_nothing() {
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let (master, mut backup) = pair(&lab, 3);
    let process = guardian(&backup).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut backup, Signal::KILL);
    wait_for_end(process);
    assert_eq!(adverts(&capture, TWO, killed), []);
    assert_eq!(control::state(&master).expect("query status"), "master");
}

//! A changed configuration file: `vipd reload` and SIGHUP.

use aya::programs::{SchedClassifier, TcAttachType};
use rustix::process::{Pid, Signal, kill_process};
use vipd_tests::control::{reload, wait_for_state};
use vipd_tests::routers::has_address;
use vipd_tests::station::INTERFACE;

use super::*;

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn only_instances_that_differ_are_changed() {
    let lab = Lab::new(1).unwrap();
    let capture = lab.capture().unwrap();
    let [kept, moved, removed, added] = [51, 52, 53, 54].map(Settings::new);
    let mut agent = start(&lab, &[kept, moved, removed]).unwrap();
    let since = WallTime::now();
    let moved_to = Settings { vip: 99, more: "accept = false", ..moved };
    agent.configure(configuration(&[added, kept, moved_to])).unwrap();
    assert_eq!(
        reload(&agent).unwrap(),
        [
            "VI_53: removed",
            "VI_54: added",
            "VI_52: virtual address 10.0.0.52/32 removed",
            "VI_52: virtual address 10.0.0.99/32 added",
            "VI_52: accept true → false; started again"
        ]
    );
    for vrid in [51, 52, 54] {
        wait_for_vrid(&agent, vrid, "master").unwrap();
    }
    assert!(find(&agent, 53).unwrap().is_none(), "it was removed");
    let node = lab.host(ONE).unwrap();
    for (vip, is_present) in [
        (kept.vip(), true),
        (moved.vip(), false),
        (moved_to.vip(), true),
        (removed.vip(), false),
        (added.vip(), true),
    ] {
        wait_until(&format!("{vip} to be present: {is_present}"), TIMEOUT, || {
            has_address(node, vip).is_ok_and(|found| found == is_present)
        })
        .unwrap();
    }
    assert_eq!([51, 52, 53, 54].map(|vrid| priority_zero_adverts(&capture, since, vrid)), [0, 1, 1, 0]);
    assert_eq!(priorities(&capture, since, 51), [150], "the unchanged instance keeps advertising");
    let names: Vec<_> = status(&agent).unwrap().iter().map(|one| one.text("name").to_owned()).collect();
    assert_eq!(names, ["VI_54", "VI_51", "VI_52"], "the order of the configuration");
    agent.configure(configuration(&[kept, moved_to, added])).unwrap();
    assert_eq!(reload(&agent).unwrap(), ["the configuration has not changed"]);
    let names: Vec<_> = status(&agent).unwrap().iter().map(|one| one.text("name").to_owned()).collect();
    assert_eq!(names, ["VI_51", "VI_52", "VI_54"], "only the order has changed");
    let untouched = names.iter().position(|name| name == "VI_51");
    let transitions = master_transitions(&agent).unwrap();
    assert_eq!(transitions[untouched.expect("it is listed")], 1);
}

/// The master changes its priority, interval and addresses without a transition or a priority-0
/// advert. The backup remains in Backup, and gets the new addresses from a reload of its own.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn master_changes_its_settings_without_a_transition() {
    let [kept, removed, added] = [51, 52, 53].map(|last| Ipv4Addr::new(10, 0, 0, last));
    let text = |priority: u8, interval: &str, vips: [Ipv4Addr; 2]| {
        let [one, two] = vips;
        format!(
            "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 1\npriority = {priority}\n\
             advert_interval = \"{interval}\"\nvirtual_addresses = [\"{one}\", \"{two}\"]\n"
        )
    };
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let mut agent =
        Agent::with_configuration(&lab, ONE, vipd().unwrap(), text(150, "100ms", [kept, removed])).unwrap();
    agent.start().unwrap();
    wait_for_vrid(&agent, 1, "master").unwrap();
    let mut backup =
        Agent::with_configuration(&lab, TWO, vipd().unwrap(), text(100, "100ms", [kept, removed])).unwrap();
    backup.start().unwrap();
    wait_for_state(&backup, "backup", TIMEOUT).unwrap();

    let since = WallTime::now();
    agent.configure(text(200, "50ms", [added, kept])).unwrap();
    assert_eq!(
        reload(&agent).unwrap(),
        [
            "VI_1: priority 150 → 200",
            "VI_1: advert_interval 100ms → 50ms",
            "VI_1: virtual address 10.0.0.52/32 removed",
            "VI_1: virtual address 10.0.0.53/32 added"
        ]
    );
    wait_until("the added address to be announced", TIMEOUT, || {
        capture.has(since, |frame| frame.gratuitous_arp(added).is_some())
    })
    .unwrap();
    let expected = (200, 5, vec![added.into(), kept.into()]);
    wait_until("the new settings to be advertised", TIMEOUT, || {
        let adverts = capture.filter_map(since, vipd_tests::frame::Frame::advert);
        let last = adverts.into_iter().next_back();
        last.is_some_and(|advert| (advert.priority, advert.interval, advert.addresses) == expected)
    })
    .unwrap();
    let node = lab.host(ONE).unwrap();
    for (vip, is_present) in [(kept, true), (removed, false), (added, true)] {
        wait_until(&format!("{vip} to be present: {is_present}"), TIMEOUT, || {
            has_address(node, vip).is_ok_and(|found| found == is_present)
        })
        .unwrap();
    }
    let announced = |address| capture.has(since, |frame| frame.gratuitous_arp(address).is_some());
    assert!(!announced(kept) && !announced(removed), "only the added address is announced");
    let advertised = priorities(&capture, since, 1);
    assert!([&[200][..], &[150, 200]].contains(&advertised.as_slice()), "{advertised:?}");

    // The backup is also reconfigured, and takes over when the master stops.
    backup.configure(text(100, "50ms", [added, kept])).unwrap();
    assert_eq!(reload(&backup).unwrap().len(), 3);
    assert_eq!(master_transitions(&agent).unwrap(), [1]);
    assert_eq!(master_transitions(&backup).unwrap(), [0]);
    agent.stop().unwrap();
    wait_for_vrid(&backup, 1, "master").unwrap();
    assert!(has_address(lab.host(TWO).unwrap(), added).unwrap());
    assert!(!has_address(lab.host(TWO).unwrap(), removed).unwrap());
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn file_with_errors_changes_nothing_and_every_problem_is_reported() {
    let lab = Lab::new(1).unwrap();
    let mut agent = start(&lab, &[Settings::new(51)]).unwrap();
    let wrong = configuration(&[Settings::new(51), Settings::new(52)])
        .replace("priority = 150", "priority = 300")
        .replace("vrid = 52", "vrid = 0");
    agent.configure(wrong).unwrap();
    let error = format!("{:#}", reload(&agent).expect_err("the file has errors"));
    for problem in ["priority", "300", "vrid"] {
        assert!(error.contains(problem), "no {problem} in {error}");
    }
    assert!(error.matches("300").count() >= 2, "both instances are reported: {error}");
    assert!(error.ends_with("vipd.toml: 3 problems; nothing has changed"), "{error}");
    // An unweighted script that cannot be run would put the instance into Fault.
    let with_script = Settings { more: "track = [{ script = \"web\" }]", ..Settings::new(51) };
    let script = "[[script]]\nname = \"web\"\ncommand = [\"/no/such/script\"]\n";
    agent.configure(configuration(&[with_script]) + script).unwrap();
    let error = format!("{:#}", reload(&agent).expect_err("the script does not exist"));
    assert!(error.contains("/no/such/script cannot be run"), "{error}");
    assert_eq!(status(&agent).unwrap().len(), 1);
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    assert_eq!(master_transitions(&agent).unwrap(), [1]);
    // A correct file is then accepted.
    agent.configure(configuration(&[Settings::new(51), Settings::new(52)])).unwrap();
    assert_eq!(reload(&agent).unwrap(), ["VI_52: added"]);
    wait_for_vrid(&agent, 52, "master").unwrap();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn sighup_reloads_and_logs_each_change() {
    let lab = Lab::new(1).unwrap();
    let mut agent = start(&lab, &[Settings::new(51)]).unwrap();
    agent.configure(configuration(&[Settings::new(51), Settings::new(52)])).unwrap();
    let pid = Pid::from_raw(agent.pid().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    wait_for_vrid(&agent, 52, "master").unwrap();
    let logged = wait_for_log(&agent, " added ");
    assert!(logged.contains(" INFO ") && logged.contains(" instance=\"VI_52\" "), "{logged}");
    agent.configure("nonsense = 1\n".to_owned()).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
    let logged = wait_for_log(&agent, "nonsense");
    assert!(logged.contains(" ERROR "), "{logged}");
    assert!(agent.is_alive().unwrap());
    assert_eq!(status(&agent).unwrap().len(), 2);
}

/// Each reload adds one instance and, except for the first reload, removes another. The backup of
/// an unchanged instance never takes over.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn a_hundred_reloads_do_not_affect_an_untouched_instance() {
    const RELOADS: usize = 100;
    let lab = Lab::new(2).unwrap();
    let capture = lab.capture().unwrap();
    let mut agent = start(&lab, &[Settings::new(51)]).unwrap();
    let mut backup = Agent::with_configuration(
        &lab,
        TWO,
        vipd().unwrap(),
        configuration(&[Settings { priority: 100, ..Settings::new(51) }]),
    )
    .unwrap();
    backup.start().unwrap();
    wait_for_state(&backup, "backup", TIMEOUT).unwrap();
    let node = lab.host(ONE).unwrap();
    // The kernel increments the revision whenever a program is attached, replaced or detached.
    let attached = || node.run(|| SchedClassifier::query_tcx(INTERFACE, TcAttachType::Ingress)).unwrap();
    let (revision, programs) = attached();
    assert_eq!(programs.len(), 1);
    let since = WallTime::now();
    for round in 0..RELOADS {
        let other = Settings::new(60 + u8::try_from(round % 7).unwrap());
        agent.configure(configuration(&[Settings::new(51), other])).unwrap();
        let changes = reload(&agent).unwrap();
        assert_eq!(changes.last(), Some(&format!("VI_{}: added", other.vrid)));
    }
    wait_for_vrid(&agent, 60 + u8::try_from((RELOADS - 1) % 7).unwrap(), "master").unwrap();
    assert_eq!(priorities(&capture, since, 51), [150], "no other router advertises, and no priority 0");
    assert_eq!(master_transitions(&backup).unwrap(), [0]);
    assert_eq!(status(&agent).unwrap().len(), 2);
    assert_eq!(attached().0, revision, "the BPF program stays attached");
}

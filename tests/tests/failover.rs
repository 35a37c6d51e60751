//! Failover and return of the master: with vipd on both nodes, and with keepalived instead of vipd
//! on one of them.

use std::time::Duration;

use vipd_tests::agent::AgentKind;
use vipd_tests::binary;
use vipd_tests::protocol::Version;
use vipd_tests::scenario::{BACKUP, Outcome, PREFERRED, Scenario, Setup, Takeover};
use vipd_tests::station::Station;

/// Returns the vipd under test.
fn vipd() -> AgentKind {
    binary::vipd().unwrap_or_else(|error| panic!("{error:#}"))
}

fn play(scenario: Scenario, preferred: AgentKind, backup: AgentKind, version: Version, ms: u64) -> Outcome {
    play_with(
        scenario,
        &Setup { version, interval: Duration::from_millis(ms), ..Setup::new(preferred, backup) },
    )
}

fn play_with(scenario: Scenario, setup: &Setup) -> Outcome {
    scenario.play(setup).unwrap_or_else(|error| panic!("{error:#}"))
}

/// Checks the order of a takeover: advert, announcement, reply to the client.
fn check(takeover: &Takeover, from: Station, to: Station) {
    let Takeover { old, new, last_advert, first_advert, first_garp, first_answer, .. } = *takeover;
    assert_eq!((old, new), (from, to));
    assert!(first_advert <= first_garp, "announced before the first advert: {takeover:?}");
    assert!(first_garp <= first_answer, "answered before the announcement: {takeover:?}");
    assert!(last_advert < first_advert, "{takeover:?}");
    let mac = |entry: &Option<vipd_tests::arp::Neighbor>| entry.as_ref().and_then(|entry| entry.mac);
    assert_eq!(mac(&takeover.arp_before), Some(from.mac()), "the client's ARP table before");
    assert_eq!(mac(&takeover.arp_after), Some(to.mac()), "the client's ARP table after");
}

/// Kills the master, waits until node 2 takes over, and restarts the old master, which preempts.
fn failover_and_return(preferred: AgentKind, backup: AgentKind, version: Version, ms: u64) {
    let outcome = play(Scenario::Return, preferred, backup, version, ms);
    let [failover, failback] = &outcome.takeovers[..] else {
        panic!("expected two takeovers: {:?}", outcome.takeovers)
    };
    check(failover, PREFERRED, BACKUP);
    check(failback, BACKUP, PREFERRED);
    let lateness = failover.lateness().expect("deadline");
    assert!(lateness > -1.0, "takeover before the deadline: {lateness} ms");
    assert!(failover.garps >= 5, "{} gratuitous ARPs", failover.garps);
}

/// Fails over without preemption: the VIP stays on node 2.
fn failover_without_return(preferred: AgentKind, backup: AgentKind) {
    let setup =
        Setup { preempt: false, interval: Duration::from_millis(100), ..Setup::new(preferred, backup) };
    let outcome = play_with(Scenario::Return, &setup);
    let [failover] = &outcome.takeovers[..] else { panic!("expected one takeover: {:?}", outcome.takeovers) };
    check(failover, PREFERRED, BACKUP);
}

/// Expands to one test per pair of agents for each version and interval.
macro_rules! cases {
    ($($name:ident: $version:ident every $ms:literal ms;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            #[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
            fn vipd_to_vipd_and_back() {
                failover_and_return(vipd(), vipd(), Version::$version, $ms);
            }

            #[test]
            #[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
            fn keepalived_to_vipd_and_back() {
                failover_and_return(AgentKind::Keepalived, vipd(), Version::$version, $ms);
            }

            #[test]
            #[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
            fn vipd_to_keepalived_and_back() {
                failover_and_return(vipd(), AgentKind::Keepalived, Version::$version, $ms);
            }
        }
    )*};
}

cases! {
    vrrpv2_1s: V2 every 1000 ms;
    vrrpv3_1s: V3 every 1000 ms;
    vrrpv3_100ms: V3 every 100 ms;
    vrrpv3_10ms: V3 every 10 ms;
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_stays_without_preemption() {
    failover_without_return(vipd(), vipd());
    failover_without_return(AgentKind::Keepalived, vipd());
    failover_without_return(vipd(), AgentKind::Keepalived);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn link_loss_moves_the_vip_and_link_recovery_moves_it_back() {
    for (preferred, backup) in
        [(vipd(), vipd()), (AgentKind::Keepalived, vipd()), (vipd(), AgentKind::Keepalived)]
    {
        let outcome = play(Scenario::Cut, preferred, backup, Version::V3, 100);
        let [failover, failback] = &outcome.takeovers[..] else {
            panic!("expected two takeovers: {:?}", outcome.takeovers)
        };
        check(failover, PREFERRED, BACKUP);
        check(failback, BACKUP, PREFERRED);
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn priority_zero_shortens_takeover_to_skew_time() {
    check_priority_zero(vipd());
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn priority_zero_shortens_takeover_by_keepalived_to_skew_time() {
    check_priority_zero(AgentKind::Keepalived);
}

fn check_priority_zero(backup: AgentKind) {
    let outcome = play(Scenario::Stop, vipd(), backup, Version::V3, 1000);
    let [failover] = &outcome.takeovers[..] else { panic!("expected one takeover: {:?}", outcome.takeovers) };
    check(failover, PREFERRED, BACKUP);
    // Skew_Time is 0.6 s. Without the priority-0 advert, the takeover would take three more
    // intervals.
    let silence = failover.silence();
    assert!(silence < 3000.0, "{silence} ms of silence: priority 0 had no effect");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn resumed_master_yields_to_its_successor() {
    // The resumed master becomes backup. With preemption, it then takes over again; otherwise, it
    // stays backup. Either way, one master remains.
    let outcome = play(Scenario::Pause, vipd(), vipd(), Version::V3, 100);
    let [failover, failback] = &outcome.takeovers[..] else {
        panic!("expected two takeovers: {:?}", outcome.takeovers)
    };
    check(failover, PREFERRED, BACKUP);
    check(failback, BACKUP, PREFERRED);
    let stalled =
        outcome.log.iter().filter(|(station, line)| *station == PREFERRED && line.text.contains("stalled"));
    assert_eq!(stalled.count(), 1, "expected to yield once: {:#?}", outcome.log);
    check_resumed_without_preemption(vipd());
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn resumed_master_yields_to_keepalived() {
    check_resumed_without_preemption(AgentKind::Keepalived);
}

fn check_resumed_without_preemption(backup: AgentKind) {
    let setup = Setup { preempt: false, interval: Duration::from_millis(100), ..Setup::new(vipd(), backup) };
    let outcome = play_with(Scenario::Pause, &setup);
    let [failover] = &outcome.takeovers[..] else { panic!("expected one takeover: {:?}", outcome.takeovers) };
    check(failover, PREFERRED, BACKUP);
}

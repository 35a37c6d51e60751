//! `cargo xtask conformance --device` in a namespace, with a router in another namespace as the
//! device. The tool is on node 1 of a lab, the router on node 2.

use std::collections::BTreeMap;
use std::fs;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vipd_tests::TestResult;
use vipd_tests::agent::{Agent, AgentKind, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::configuration::Family;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::process::output;
use vipd_tests::protocol::Version;
use vipd_tests::station::Station;
use vipd_witness::Advert;

const TOOL: Station = Station::Node(1);
const DEVICE: Station = Station::Node(2);
/// Options for a router with [`instance`]'s configuration. In a lab with two nodes, no host has the
/// source addresses, so the tool must answer ARP requests for them.
const OPTIONS: &str = "--device eth1 --vrid 51 --address 192.168.122.50 --interval 200ms \
                       --source 192.168.122.10 --source 192.168.122.13 --primary 192.168.122.12";
/// Beginnings of the names of scenarios that together cover each kind of step that can be played
/// with a device. For each of vipd, keepalived and FRR, a difference is known in some of them.
const SCENARIOS: &str = "c3 c4 c8 f1-advert-from m1 r1-ttl r5-checksum-in-backup r6-vrid r9 r12-list-mismatch \
                         r17-unicast s3 s7 s10 s12 s13 s22-no s22-yields";

fn instance() -> Instance {
    Instance { interval: Duration::from_millis(200), ..Instance::default() }
}

/// Starts a router on node 2.
fn device(kind: AgentKind, instance: Instance) -> Result<(Lab, Agent)> {
    let lab = Lab::new(2)?;
    let mut agent = Agent::new(&lab, DEVICE, kind, &[instance])?;
    agent.start()?;
    Ok((lab, agent))
}

/// Runs the tool on node 1.
fn conformance(lab: &Lab, options: &str) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.arg("conformance").args(options.split_whitespace());
    output(lab.host(TOOL)?, command)
}

/// Runs the tool, which must fail, and returns its error.
fn error(lab: &Lab, options: &str) -> Result<String> {
    let done = conformance(lab, options)?;
    let errors = String::from_utf8_lossy(&done.stderr).into_owned();
    ensure!(!done.status.success(), "the tool succeeded: {errors}");
    Ok(errors)
}

/// Returns the verdicts in a column of the table "By scenario".
fn verdicts(document: &str, column: &str) -> Result<BTreeMap<String, String>> {
    let cells = |line: &str| line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
    let mut rows = document.lines().filter(|line| line.starts_with('|')).map(cells);
    let header: Vec<String> = rows.next().context("no table")?;
    let at = header.iter().position(|name| name == column).context("no such column")?;
    let rows = rows.take_while(|row: &Vec<String>| !row[0].starts_with("item"));
    let named = rows.filter_map(|row| {
        let (_, link) = row[0].rsplit_once("tests/conformance/")?;
        Some((link.strip_suffix(".md)")?.to_owned(), row.get(at)?.replace("ok (2nd)", "ok")))
    });
    Ok(named.collect())
}

/// Runs the tool, and checks that a router passes and differs in the same scenarios as in the
/// column `column` of docs/conformance.md. Returns the verdicts.
fn compare(lab: &Lab, options: &str, column: &str) -> Result<BTreeMap<String, String>> {
    let file = tempfile::NamedTempFile::new()?;
    let program = column.to_lowercase();
    let options = format!("{options} --program {program} --markdown {}", file.path().display());
    let done = conformance(lab, &options)?;
    let errors = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{errors}");

    let found = verdicts(&fs::read_to_string(file.path())?, column)?;
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/conformance.md");
    let documented = verdicts(&fs::read_to_string(documents)?, column)?;
    for (name, verdict) in found.iter().filter(|(_, verdict)| *verdict != "skipped") {
        ensure!(Some(verdict) == documented.get(name), "{name}: {verdict}, not {:?}", documented.get(name));
    }
    Ok(found)
}

/// Plays `runs` at the same time, because they mostly wait for timers.
fn in_parallel<const N: usize, T: Send>(runs: [T; N], play: impl Fn(T) -> TestResult + Sync) -> TestResult {
    thread::scope(|scope| {
        let play = &play;
        let runs = runs.map(|run| scope.spawn(move || play(run)));
        runs.map(|run| run.join().unwrap_or_else(|panic| resume_unwind(panic)))
    })
    .into_iter()
    .collect()
}

fn compare_selection(kind: AgentKind, column: &str) -> TestResult {
    let (lab, _agent) = device(kind, instance())?;
    let found = compare(&lab, &format!("{OPTIONS} {SCENARIOS}"), column)?;
    let played: Vec<_> = found.iter().filter(|(_, verdict)| *verdict != "skipped").collect();
    assert!(played.len() >= 20, "{found:?}");
    for verdict in ["ok", "differs"] {
        assert!(played.iter().any(|(_, found)| *found == verdict), "no scenario has the verdict {verdict}");
    }
    // The router runs VRRPv3.
    assert_eq!(found.get("r1-ttl-vrrpv2").map(String::as_str), Some("skipped"));
    Ok(())
}

/// FRR always uses the virtual router MAC, so the tool must resolve the router's own MAC.
#[test]
#[ignore = "needs root"]
fn vipd_keepalived_and_frr_have_the_documented_verdicts() -> TestResult {
    let routers = [(vipd()?, "vipd"), (AgentKind::Keepalived, "keepalived"), (AgentKind::Frr, "FRR")];
    in_parallel(routers, |(kind, column)| compare_selection(kind, column))
}

/// The routers differ from [`instance`] in version or family. Their priority, and over IPv6 also
/// their interval, differs from that of the scenarios.
#[test]
#[ignore = "needs root"]
fn vrrpv2_and_ipv6_routers_with_other_parameters_have_the_documented_verdicts() -> TestResult {
    let v2 = Instance { version: Version::V2, priority: 150, ..Instance::default() };
    let v6 = Instance { priority: 150, interval: Duration::from_millis(400), ..Instance::of(Family::V6) };
    let runs = [
        (
            v2,
            "--vrrp-version 2 --priority 150 --address 192.168.122.50 --source 192.168.122.10 \
             --source 192.168.122.13 r1-ttl-vrrpv2 s9-master-down-vrrpv2",
            ["r1-ttl-vrrpv2", "s9-master-down-vrrpv2"],
        ),
        (
            v6,
            "--priority 150 --interval 400ms --address fe80::50 --address fd00:122::50 --source fe80::a \
             --source fe80::d r1-hop-limit s9-master-down-ipv6 s22-tie",
            ["r1-hop-limit", "s9-master-down-ipv6"],
        ),
    ];
    in_parallel(runs, |(instance, options, played)| {
        let (lab, _agent) = device(vipd()?, instance)?;
        let found = compare(&lab, &format!("--device eth1 --vrid 51 {options}"), "vipd")?;
        for name in played {
            assert_eq!(found.get(name).map(String::as_str), Some("ok"), "{found:?}");
        }
        Ok(())
    })
}

#[test]
#[ignore = "needs root"]
fn source_addresses_in_use_are_reported() -> TestResult {
    let lab = Lab::new(3)?;
    let v6 = Instance { name: "VI_2".to_owned(), ..Instance::of(Family::V6) };
    let mut agent = Agent::new(&lab, DEVICE, vipd()?, &[instance(), v6])?;
    agent.start()?;
    let v4 = error(&lab, OPTIONS)?;
    assert!(
        v4.contains("--source 192.168.122.13 is in use by 02:00:00:00:00:03; expected an unused"),
        "{v4}"
    );
    let v6 = error(
        &lab,
        "--device eth1 --vrid 51 --address fe80::50 --address fd00:122::50 --source fe80::a --source fe80::d",
    )?;
    assert!(v6.contains("--source fe80::d is in use by 02:00:00:00:00:03; expected an unused"), "{v6}");
    Ok(())
}

#[test]
#[ignore = "needs root"]
fn runs_that_play_no_scenario_fail_with_the_reasons() -> TestResult {
    let (lab, _agent) = device(vipd()?, instance())?;
    let done = conformance(&lab, &format!("{OPTIONS} r17-vlan-tag s19"))?;
    let (results, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(!done.status.success(), "{results}");
    assert!(errors.contains("error: no selected scenario was played; "), "{errors}");
    for reason in ["because it sends tagged frames", "needs the router to be shut down"] {
        assert!(results.contains(reason), "{results}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root"]
fn runs_that_end_early_report_the_verdicts_up_to_then() -> TestResult {
    let (lab, mut agent) = device(vipd()?, instance())?;
    let done = thread::scope(|scope| {
        let run = scope.spawn(|| conformance(&lab, &format!("{OPTIONS} s9-master-down s10 s12 s22 s23")));
        // The agent stops after the first scenarios and before the last one.
        thread::sleep(Duration::from_secs(7));
        agent.stop()?;
        run.join().unwrap_or_else(|panic| resume_unwind(panic))
    })?;
    let (results, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(!done.status.success(), "{results}");
    assert!(results.contains("| ok |") && results.contains("| FAILS |"), "{results}");
    assert!(errors.contains("error: the run ended early; scenarios left: "), "{errors}");
    assert!(errors.contains("no IPv4 adverts for VRID 51"), "{errors}");
    Ok(())
}

#[test]
#[ignore = "needs root"]
fn undocumented_differences_fail_the_run_with_the_line_and_the_difference() -> TestResult {
    // Without `--program`, no documented differences apply.
    let (lab, _agent) = device(vipd()?, instance())?;
    let done = conformance(&lab, &format!("{OPTIONS} s22-no"))?;
    let (results, errors) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(!done.status.success(), "{results}");
    assert!(results.contains("| FAILS | device: line "), "{results}");
    assert!(results.contains("expected no advert, but one was sent after"), "{results}");
    assert!(errors.contains("error: scenarios that the device fails: s22-no-last-advert"), "{errors}");
    Ok(())
}

#[test]
#[ignore = "needs root"]
fn unusable_interfaces_and_missing_capabilities_are_reported() -> TestResult {
    let lab = Lab::new(2)?;
    let missing = error(&lab, &OPTIONS.replace("eth1", "eth7"))?;
    assert!(missing.contains("no interface eth7: this machine has lo, eth1"), "{missing}");
    let loopback = error(&lab, &OPTIONS.replace("eth1", "lo"))?;
    assert!(loopback.contains("lo is of type Loopback; expected an Ethernet interface"), "{loopback}");
    lab.cut(TOOL)?;
    let cut = error(&lab, OPTIONS)?;
    assert!(cut.contains("eth1 has no carrier; connect it to the device's segment"), "{cut}");

    let mut command = Command::new("setpriv");
    command.args(["--bounding-set", "-net_raw", env!("CARGO_BIN_EXE_xtask"), "conformance"]);
    command.args(OPTIONS.split_whitespace());
    let unprivileged = output(lab.host(TOOL)?, command)?;
    let errors = String::from_utf8_lossy(&unprivileged.stderr);
    assert!(!unprivileged.status.success(), "{errors}");
    assert!(errors.contains("needs CAP_NET_RAW, which this process lacks; run `sudo"), "{errors}");
    Ok(())
}

#[test]
#[ignore = "needs root"]
fn silent_devices_and_wrong_options_are_reported_with_a_remedy() -> TestResult {
    let (lab, mut agent) = device(vipd()?, Instance { vrid: 52, priority: 150, ..instance() })?;
    let other_vrid = error(&lab, OPTIONS)?;
    assert!(
        other_vrid.contains("no IPv4 adverts for VRID 51 arrived on eth1 within")
            && other_vrid
                .contains("found adverts for VRID 52; expected the device to be master: check --vrid"),
        "{other_vrid}"
    );
    let options = OPTIONS.replace("--vrid 51", "--vrid 52");
    let different = error(&lab, &options)?;
    assert!(different.contains("priority: found 150, expected 100; pass --priority 150"), "{different}");
    let options = format!("{options} --priority 150");
    let sources = error(&lab, &options.replace("--source 192.168.122.13", ""))?;
    assert!(
        sources.contains(
            "found --source 192.168.122.10; expected one address below the device's 192.168.122.12 and one above"
        ),
        "{sources}"
    );
    agent.stop()?;
    let silent = error(&lab, &options)?;
    assert!(silent.contains("found none for other VRIDs; expected the device to be master"), "{silent}");
    Ok(())
}

/// The routers under test are plain senders of adverts, which never become Backup.
#[test]
#[ignore = "needs root"]
fn unyielding_and_additional_routers_are_reported() -> TestResult {
    let lab = Lab::new(3)?;
    let others = [DEVICE, Station::Node(3)];
    let senders = others.map(|node| Injector::open(lab.host(node).expect("a node")).expect("a sender"));
    // Node 2 alone, then both nodes.
    for (count, expected) in [
        (
            1,
            "the device does not act on adverts from 192.168.122.14; check that it is configured for multicast",
        ),
        (2, "found adverts for VRID 51 from 2 routers: 192.168.122.12, 192.168.122.13; expected only those"),
    ] {
        let done = AtomicBool::new(false);
        let errors = thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    for (node, sender) in others.iter().zip(&senders).take(count) {
                        let advert = Advert { interval: 20, ..node.advert(Version::V3, 51, 100) };
                        sender.send(&advert.frame()).expect("the interface is up");
                    }
                    // After 370 ms without an advert, the tool would assume that the device is
                    // Backup.
                    thread::sleep(Duration::from_millis(50));
                }
            });
            let options = OPTIONS.replace("--source 192.168.122.13", "--source 192.168.122.14");
            let errors = error(&lab, &format!("{options} m1"));
            done.store(true, Ordering::Relaxed);
            errors
        })?;
        assert!(errors.contains(expected), "{errors}");
    }
    Ok(())
}

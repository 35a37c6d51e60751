//! Provokes the troubles of `docs/troubles.md`, and checks that `vipd doctor` names them.

mod agent;
mod hmac;
mod host;
mod privilege;
mod stale;
mod wire;

use std::env;
use std::fs;
use std::process::Command;
use std::slice;
use std::time::Duration;

use serde_json::Value;
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd_binary;
use vipd_tests::command;
use vipd_tests::control::{wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::routers::start_agent;
use vipd_tests::station::Station;
use vipd_tests::wait::wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);
/// Duration of doctor's observation, in seconds: several intervals of 100 ms.
const SECONDS: &str = "1.2";

/// The output of doctor.
struct Diagnosis {
    code: Option<i32>,
    findings: Vec<Value>,
}

impl Diagnosis {
    /// Returns the evidence of the finding for a trouble.
    #[track_caller]
    fn evidence(&self, check: &str) -> &str {
        let finding = self.findings.iter().find(|finding| finding["check"] == check);
        let finding = finding.unwrap_or_else(|| panic!("no {check} in {:#?}", self.findings));
        assert_ne!(finding["remedy"], "");
        finding["evidence"].as_str().unwrap_or_default()
    }

    /// Checks that a finding for a trouble contains this evidence.
    #[track_caller]
    fn names_with(&self, check: &str, evidence: &str) {
        let has = |finding: &Value| finding["evidence"].as_str().is_some_and(|text| text.contains(evidence));
        let mut findings = self.findings.iter().filter(|finding| finding["check"] == check);
        assert!(findings.any(has), "no {check} with {evidence} in {:#?}", self.findings);
    }

    /// Checks that these troubles are not found.
    #[track_caller]
    fn lacks(&self, checks: &[&str]) {
        let found: Vec<_> = self.names().into_iter().filter(|name| checks.contains(name)).collect();
        assert!(found.is_empty(), "{found:?} in {:#?}", self.findings);
    }

    /// Runs a command from a trouble's remedy on node 1. `number` is the position of the command in
    /// the remedy, counted from 0.
    #[track_caller]
    fn apply(&self, lab: &Lab, check: &str, number: usize) {
        let finding = self.findings.iter().find(|finding| finding["check"] == check).unwrap();
        let remedy = finding["remedy"].as_str().unwrap();
        let line = remedy.split('`').skip(1).step_by(2).nth(number).unwrap_or_else(|| panic!("{remedy}"));
        // The command runs the `vipd` under test.
        let binary = vipd_binary().unwrap();
        let mut path = binary.parent().unwrap().as_os_str().to_owned();
        path.push(":");
        path.push(env::var_os("PATH").unwrap_or_default());
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).env("PATH", path).env("VIPD_RUNTIME_DIR", Agent::runtime_dir());
        let output = lab.host(ONE).unwrap().run(move || shell.output()).unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn names(&self) -> Vec<&str> {
        self.findings.iter().filter_map(|finding| finding["check"].as_str()).collect()
    }
}

/// Runs doctor on node 1 with a configuration file there.
fn doctor_for(lab: &Lab, file: &str, seconds: &str) -> Diagnosis {
    let mut command = Command::new(vipd_binary().unwrap());
    command.env("VIPD_RUNTIME_DIR", Agent::runtime_dir());
    command.args(["doctor", "--json", "--seconds", seconds, "-c", file]);
    diagnose(lab, command)
}

/// Runs doctor on node 1 through a command that changes doctor's environment, such as its
/// privileges.
fn doctor_below(lab: &Lab, wrapper: &[&str]) -> Diagnosis {
    let mut command = Command::new(wrapper[0]);
    command.args(&wrapper[1..]).arg(vipd_binary().unwrap());
    command.env("VIPD_RUNTIME_DIR", Agent::runtime_dir());
    command.args(["doctor", "--json", "--seconds", "0.1", "-c", &configuration()]);
    diagnose(lab, command)
}

/// Runs a doctor command on node 1 and parses its output.
fn diagnose(lab: &Lab, mut command: Command) -> Diagnosis {
    let output = lab.host(ONE).unwrap().run(move || command.output()).unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let report: Value = serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
    Diagnosis { code: output.status.code(), findings: report["vipd:findings"].as_array().unwrap().clone() }
}

fn configuration() -> String {
    Agent::runtime_dir().join("vipd.toml").display().to_string()
}

fn doctor(lab: &Lab) -> Diagnosis {
    doctor_for(lab, &configuration(), SECONDS)
}

/// Runs doctor on node 1 with an observation that is too short to judge adverts.
fn doctor_at_once(lab: &Lab) -> Diagnosis {
    doctor_for(lab, &configuration(), "0.1")
}

/// Runs doctor repeatedly, until it no longer finds this trouble.
fn wait_until_gone(lab: &Lab, check: &str) {
    wait_until(&format!("the end of {check}"), TIMEOUT, || !doctor_at_once(lab).names().contains(&check))
        .unwrap();
}

/// Writes a configuration file on node 1 and returns its path.
fn write(lab: &Lab, name: &str, text: &str) -> String {
    let path = Agent::runtime_dir().join(name);
    let (to, text) = (path.clone(), text.to_owned());
    lab.host(ONE).unwrap().run(move || fs::write(to, text)).unwrap();
    path.display().to_string()
}

fn run(lab: &Lab, station: Station, line: &str) {
    let words: Vec<_> = line.split_whitespace().collect();
    command::run(lab.host(station).unwrap(), words[0], &words[1..]).unwrap();
}

fn instance() -> Instance {
    Instance { priority: 150, interval: Duration::from_millis(100), ..Instance::default() }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn healthy_master_and_backup_have_no_problem() {
    let lab = Lab::new(2).unwrap();
    let instance = Instance { interval: Duration::from_millis(500), ..instance() };
    let backup = start_agent(&lab, ONE, slice::from_ref(&instance)).unwrap();
    let master = start_agent(&lab, TWO, &[Instance { priority: 200, ..instance }]).unwrap();
    wait_for_state(&master, "master", TIMEOUT).unwrap();
    wait_for(&backup, "backup of node 2", TIMEOUT, |status| {
        status.text("state") == "backup" && status.address("last-adv-source").is_some()
    })
    .unwrap();
    // Findings about scheduling, memory and the clock depend on the machine. A finding about late
    // adverts depends on the load of the machine.
    let depends = |name: &&str| {
        matches!(*name, "not-real-time" | "memory-not-locked" | "irregular-adverts")
            || name.starts_with("clock-")
    };
    let is_healthy = || {
        let found = doctor_for(&lab, &configuration(), "2.5");
        let names: Vec<_> = found.names().into_iter().filter(|name| !depends(name)).collect();
        assert_eq!((names, found.code), (vec![], Some(0)), "{:#?}", found.findings);
    };
    is_healthy();
    drop(master);
    wait_for_state(&backup, "master", TIMEOUT).unwrap();
    is_healthy();
}

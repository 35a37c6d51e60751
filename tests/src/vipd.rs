//! Asking a running vipd, the way a script would.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::agent::{Agent, AgentKind};
use crate::process::output;
use crate::wait::wait_until;

/// The environment variable that names the agent under test.
pub const VARIABLE: &str = "VIPD_BIN";

/// How long an agent may take to answer for the first time, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// The agent under test, which `cargo xtask test` builds and names in the environment.
///
/// # Panics
/// When it is not named: the tests do not guess which build is meant.
pub fn binary() -> PathBuf {
    match std::env::var_os(VARIABLE) {
        Some(path) => path.into(),
        None => panic!("{VARIABLE} does not name the vipd to test: run these tests by `cargo xtask test`"),
    }
}

/// The agent under test, for a lab.
pub fn kind() -> AgentKind {
    AgentKind::Vipd(binary())
}

/// Starts an agent and waits until it answers.
///
/// # Errors
/// When it does not start, or does not answer in time.
pub fn start(agent: &mut Agent) -> Result<()> {
    agent.start()?;
    wait_until("vipd to answer on its control socket", PATIENCE, || status(agent).is_ok())
}

/// `vipd status --json` of an agent.
///
/// # Errors
/// When the agent does not answer.
pub fn status(agent: &Agent) -> Result<Value> {
    ask(agent, &["status", "--json"])
}

/// `vipd stats --json` of an agent.
///
/// # Errors
/// When the agent does not answer.
pub fn stats(agent: &Agent) -> Result<Value> {
    ask(agent, &["stats", "--json"])
}

/// The entry of the instance with this VRID in a report.
///
/// # Errors
/// When there is none.
pub fn instance(report: &Value, vrid: u8) -> Result<&Value> {
    let all = report["instances"].as_array().context("a report has instances")?;
    all.iter().find(|one| one["vrid"] == vrid).with_context(|| format!("no instance has VRID {vrid}"))
}

/// A counter of the instance with this VRID, by its name in `statistics`.
///
/// # Errors
/// When there is no such instance or counter.
pub fn counter(stats: &Value, vrid: u8, name: &str) -> Result<u64> {
    let value = &instance(stats, vrid)?["statistics"][name];
    value.as_u64().with_context(|| format!("VRID {vrid} has no counter {name}"))
}

/// State of the instance with this VRID.
///
/// # Errors
/// When the agent does not answer, or has no such instance.
pub fn state(agent: &Agent, vrid: u8) -> Result<String> {
    let report = status(agent)?;
    let state = instance(&report, vrid)?["state"].as_str().context("an instance has a state")?;
    Ok(state.to_owned())
}

fn ask(agent: &Agent, words: &[&str]) -> Result<Value> {
    let mut command = Command::new(binary());
    command.arg("--runtime-dir").arg(Agent::runtime_dir()).args(words);
    let answer = output(agent.host(), command)?;
    ensure!(
        answer.status.success(),
        "vipd {} failed: {}",
        words.join(" "),
        String::from_utf8_lossy(&answer.stderr)
    );
    serde_json::from_slice(&answer.stdout).with_context(|| {
        format!("vipd {} printed no JSON: {}", words.join(" "), String::from_utf8_lossy(&answer.stdout))
    })
}

//! The processes of an agent.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use crate::agent::Agent;
use crate::wait::wait_until;

/// How long the threads of a process may take to stop after SIGSTOP.
const STOP: Duration = Duration::from_secs(5);

/// The role of a vipd process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The agent.
    Main,
    /// The agent's guardian.
    Guardian,
}

/// Returns the ID of the agent's process with this role, if there is one.
pub(super) fn find(agent: &Agent, role: Role) -> Option<u32> {
    let is_guardian = |process: &u32| arguments(*process).iter().any(|argument| argument == "guardian");
    let mut alive = agent.processes().into_iter().filter(|process| is_alive(*process));
    match role {
        // Skip the `sleep` that the init process runs after its child has ended: after an upgrade,
        // the agent is no longer that child.
        Role::Main => alive.find(|process| !is_guardian(process) && name(*process) != "sleep"),
        Role::Guardian => alive.find(is_guardian),
    }
}

/// Returns whether any thread of a process is alive. A process that has ended remains as a zombie
/// until its parent has waited for it. Checking only its first thread would not suffice: the other
/// threads may still hold files and locks.
pub(super) fn is_alive(process: u32) -> bool {
    states(process).any(|state| !matches!(state, 'Z' | 'X'))
}

/// Waits until all threads of a process are suspended, after SIGSTOP was sent to the process.
pub(super) fn wait_for_suspension(process: u32) -> Result<()> {
    wait_until("all threads to be suspended", STOP, || states(process).all(|state| state == 'T'))
}

/// Returns the states of a process's threads.
fn states(process: u32) -> impl Iterator<Item = char> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().filter_map(Result::ok);
    let stats = tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok());
    // "1234 (name) S …"; the name may contain spaces and parentheses.
    stats.filter_map(|stat| stat.rsplit(')').next()?.trim_start().chars().next())
}

/// Returns the IDs of the BPF objects that a process holds. `field` is the start of the `fdinfo`
/// line that contains the ID, such as `link_id:`.
pub(super) fn bpf_objects(process: u32, field: &str) -> Vec<u32> {
    let descriptors = fs::read_dir(format!("/proc/{process}/fdinfo")).into_iter().flatten();
    let texts = descriptors.filter_map(Result::ok).filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let id = |text: String| text.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok());
    texts.filter_map(id).collect()
}

fn name(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim_end().to_owned()
}

fn arguments(process: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

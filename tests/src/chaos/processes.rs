//! The processes of an agent.

use std::fs;

use crate::agent::Agent;

/// What a process of vipd does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The agent.
    Main,
    /// Its guardian.
    Guardian,
}

/// Returns the process ID of the agent's process with this role, if there is one.
pub(super) fn find(agent: &Agent, role: Role) -> Option<u32> {
    let is_guardian = |process: &u32| arguments(*process).iter().any(|argument| argument == "guardian");
    let mut alive = agent.processes().into_iter().filter(|process| is_alive(*process));
    match role {
        // The init process may also have started a `sleep`, but only once the agent has ended.
        Role::Main => alive.find(|process| !is_guardian(process) && name(*process) != "sleep"),
        Role::Guardian => alive.find(is_guardian),
    }
}

/// Returns whether any thread of a process has not ended. A process that has ended remains as a
/// zombie until its parent has waited for it. The state of its first thread does not suffice: the
/// other threads may still hold files and locks.
pub(super) fn is_alive(process: u32) -> bool {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().filter_map(Result::ok);
    tasks.filter_map(|task| fs::read_to_string(task.path().join("stat")).ok()).any(|stat| {
        // "1234 (name) S …"; the name may contain spaces and parentheses.
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
    })
}

fn name(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim_end().to_owned()
}

fn arguments(process: u32) -> Vec<String> {
    let line = fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

//! The agent's process, as shown in `/proc`.

use std::fs;

/// Facts about a process. A field is `None` if it cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// State as in `ps`: `R`, `S`, `T` and others.
    pub(crate) state: Option<char>,
    /// The network namespaces of the process and of the calling thread, each as `net:[NUMBER]`.
    pub(crate) namespaces: Option<(String, String)>,
    /// The engine's thread.
    pub(crate) engine: Option<Engine>,
    /// Locked memory in KiB.
    pub(crate) locked: Option<u64>,
}

/// The engine's thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Engine {
    /// Thread ID.
    pub(crate) thread: u32,
    /// Scheduling policy (sched(7)).
    pub(crate) policy: u32,
}

impl Engine {
    /// SCHED_FIFO.
    pub(crate) const FIFO: u32 = 1;
}

impl Process {
    /// Reads the facts about the process with this ID.
    pub(super) fn read(pid: u32) -> Self {
        let file = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
        let namespace = |process: &str| {
            let link = fs::read_link(format!("/proc/{process}/ns/net")).ok()?;
            Some(link.to_string_lossy().into_owned())
        };
        // Not `self`: the calling thread may be in a different namespace from the main thread.
        let namespaces = namespace(&pid.to_string()).zip(namespace("thread-self"));
        Self {
            pid,
            state: file("stat").as_deref().and_then(Stat::parse).map(|stat| stat.state),
            namespaces,
            engine: engine(pid),
            locked: file("status").as_deref().and_then(locked),
        }
    }

    /// Returns whether the process is in the network namespace of the thread that read the facts;
    /// `None` if unknown.
    pub(crate) fn is_here(&self) -> Option<bool> {
        self.namespaces.as_ref().map(|(theirs, own)| theirs == own)
    }
}

fn engine(pid: u32) -> Option<Engine> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    tasks.filter_map(Result::ok).find_map(|task| {
        let stat = fs::read_to_string(task.path().join("stat")).ok()?;
        let stat = Stat::parse(&stat).filter(|stat| stat.name.starts_with("engine"))?;
        Some(Engine { thread: task.file_name().to_str()?.parse().ok()?, policy: stat.policy })
    })
}

/// The fields of `/proc/PID/stat` (proc_pid_stat(5)) that are used.
struct Stat<'a> {
    name: &'a str,
    state: char,
    policy: u32,
}

impl<'a> Stat<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        // The name may contain spaces and parentheses.
        let (before, fields) = text.rsplit_once(") ")?;
        let (_, name) = before.split_once('(')?;
        let mut fields = fields.split_whitespace();
        // The first field after the name is field 3; the policy is field 41.
        let state = fields.next()?.chars().next()?;
        Some(Self { name, state, policy: fields.nth(41 - 4)?.parse().ok()? })
    }
}

/// Returns the locked memory in KiB from `/proc/PID/status` (proc_pid_status(5)).
fn locked(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmLck:"))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_parentheses_do_not_shift_the_fields() {
        let fields = ["0"; 37].join(" ");
        let text = format!("7 (engine) x) T {fields} 1 0 0");
        let stat = Stat::parse(&text).expect("a line");
        assert_eq!((stat.name, stat.state, stat.policy), ("engine) x", 'T', 1));
        assert!(Stat::parse("7 (engine) T 0 0").is_none());
    }

    #[test]
    fn own_process_is_in_its_own_namespace() {
        let own = Process::read(std::process::id());
        assert_eq!((own.is_here(), own.engine), (Some(true), None));
        assert!(own.state.is_some() && own.locked.is_some(), "{own:?}");
        assert_eq!(Process::read(0), Process::default());
    }

    #[test]
    fn locked_memory_is_parsed() {
        assert_eq!(locked("VmSize:\t 9 kB\nVmLck:\t     132 kB\n"), Some(132));
        assert_eq!(locked("VmSize:\t 9 kB\n"), None);
    }
}

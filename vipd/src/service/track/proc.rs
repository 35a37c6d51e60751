//! Finds processes in `/proc`.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::process::Pid;
use rustix::thread::CapabilitySet;
use tokio::task::spawn_blocking;

use crate::config::track::{Process, ProcessMatch};
use crate::process::capabilities::with;

const PROC: &str = "/proc";
/// Capability to read `/proc/PID/exe` of other users' processes.
const NEEDED: CapabilitySet = CapabilitySet::SYS_PTRACE;
/// Length in bytes to which the kernel truncates command names.
const MAX_COMM: usize = 15;

/// The result of a search.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub(super) found: HashSet<Pid>,
    /// Number of processes that have the program's name, but whose executable the agent may not
    /// read.
    pub(super) unreadable: usize,
}

/// Returns the processes that run a program. Reads `/proc` on another thread.
pub(super) async fn find(process: &Arc<Process>) -> Search {
    let process = Arc::clone(process);
    let search = move || with(NEEDED, || find_in(Path::new(PROC), &process.matches));
    spawn_blocking(search).await.unwrap_or_default()
}

fn find_in(proc: &Path, matches: &ProcessMatch) -> Search {
    let mut search = Search::default();
    let Ok(entries) = fs::read_dir(proc) else { return search };
    let pids = entries.flatten().filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    for pid in pids {
        match is_of(proc, pid, matches) {
            Ok(true) => drop(search.found.insert(pid)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                search.unreadable += usize::from(has_name_of(proc, pid, matches));
            }
            // The process runs another program, has exited, or is a kernel thread.
            Ok(false) | Err(_) => {}
        }
    }
    search
}

/// Returns whether a process runs the program.
pub(super) fn is_found(pid: Pid, matches: &ProcessMatch) -> bool {
    with(NEEDED, || is_of(Path::new(PROC), pid, matches)).unwrap_or(false)
}

/// Returns whether a process has the program's command name, which every user may read.
fn has_name_of(proc: &Path, pid: Pid, matches: &ProcessMatch) -> bool {
    let ProcessMatch::Executable(path) = matches else { return false };
    let name = path.file_name().map_or(&[][..], |name| name.as_encoded_bytes());
    let directory = proc.join(pid.as_raw_nonzero().to_string());
    let comm = fs::read(directory.join("comm")).unwrap_or_default();
    comm.trim_ascii_end() == &name[..name.len().min(MAX_COMM)]
}

fn is_of(proc: &Path, pid: Pid, matches: &ProcessMatch) -> io::Result<bool> {
    let directory = proc.join(pid.as_raw_nonzero().to_string());
    match matches {
        ProcessMatch::Comm(comm) => {
            let found = fs::read_to_string(directory.join("comm"))?;
            Ok(found.strip_suffix('\n') == Some(comm))
        }
        // The kernel appends " (deleted)" once the file has been replaced. Such a process still
        // counts.
        ProcessMatch::Executable(path) => {
            let found = fs::read_link(directory.join("exe"))?;
            let replaced = found.to_str().and_then(|found| found.strip_suffix(" (deleted)"));
            Ok(found == *path || replaced.is_some_and(|found| Some(found) == path.to_str()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn processes_are_found_by_executable_and_by_command_name() {
        let proc = tempfile::tempdir().expect("a directory");
        for (pid, comm, exe) in [
            ("10", "web", "/usr/sbin/web"),
            ("11", "web", "/usr/sbin/web (deleted)"),
            ("12", "web2", "/usr/sbin/web2"),
            ("self", "web", "/usr/sbin/web"),
        ] {
            let directory = proc.path().join(pid);
            fs::create_dir(&directory).expect("created");
            fs::write(directory.join("comm"), format!("{comm}\n")).expect("written");
            symlink(exe, directory.join("exe")).expect("linked");
        }
        let find = |matches: ProcessMatch| {
            let mut pids: Vec<_> =
                find_in(proc.path(), &matches).found.iter().map(|pid| pid.as_raw_nonzero().get()).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(find(ProcessMatch::Executable("/usr/sbin/web".into())), [10, 11]);
        assert_eq!(find(ProcessMatch::Comm("web2".to_owned())), [12]);
        assert_eq!(find(ProcessMatch::Comm("mail".to_owned())), [0; 0]);
    }

    #[test]
    fn command_name_is_compared_up_to_the_kernels_maximum_length() {
        let proc = tempfile::tempdir().expect("a directory");
        fs::create_dir(proc.path().join("10")).expect("created");
        fs::write(proc.path().join("10/comm"), "a-long-name-of-\n").expect("written");
        let has_name_of = |path: &str| {
            let pid = Pid::from_raw(10).expect("a process ID");
            has_name_of(proc.path(), pid, &ProcessMatch::Executable(path.into()))
        };
        assert!(has_name_of("/usr/sbin/a-long-name-of-a-program"));
        assert!(!has_name_of("/usr/sbin/a-long-name"));
    }
}

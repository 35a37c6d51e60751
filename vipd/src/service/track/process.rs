//! Tracked processes: their end is reported by pidfds, so that it is noticed at once. `/proc` is searched
//! for new ones only while there are too few, or while it shows processes of another PID namespace, which
//! have no pidfd here.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, sleep_until};

use super::object::{ObjectId, Reading, Update, Updates};
use crate::config::track::{Process, ProcessMatch};
use crate::process::register;

const PROC: &str = "/proc";
/// Interval of the searches while there are too few processes.
const SEARCH: Duration = Duration::from_millis(500);

/// Watches the processes of a program until the task is aborted. `former` is the state under other settings,
/// if there was one.
pub(super) async fn watch(
    object: ObjectId,
    process: Arc<Process>,
    former: Option<Reading>,
    updates: Updates,
) {
    let quorum = usize::from(process.quorum);
    let delay = Duration::from_nanos(process.terminate_delay);
    let mut last = None;
    // When there were first too few processes. The delay does not apply to the first reading.
    let mut missing_since: Option<Instant> = None;
    loop {
        let mut ends = JoinSet::new();
        let mut unwatched = 0;
        for pid in find(&process).await {
            match pidfd_open(pid, PidfdFlags::NONBLOCK).map_err(Into::into).and_then(register) {
                Ok(descriptor) => drop(ends.spawn(async move { drop(descriptor.readable().await) })),
                // Has ended meanwhile, or is in another PID namespace.
                Err(_) => unwatched += usize::from(is_found(Path::new(PROC), pid, &process.matches)),
            }
        }
        let count = ends.len() + unwatched;
        let is_up = count >= quorum;
        missing_since = if is_up { None } else { missing_since.or_else(|| Some(Instant::now())) };
        let is_within_delay = missing_since.is_some_and(|since| since.elapsed() < delay)
            && (last.is_some() || former == Some(Reading::Up));
        if !is_within_delay {
            let reading = if is_up { Reading::Up } else { Reading::Down };
            let detail = (!is_up).then(|| format!("{count} of {quorum} processes"));
            let update = Update { object, reading, detail };
            if last.as_ref() != Some(&update) {
                last = Some(update.clone());
                let _ = updates.send(update).await;
            }
        }
        if is_up && unwatched > 0 {
            sleep(SEARCH).await;
        } else if is_up {
            // Until too few are left.
            while ends.len() >= quorum && ends.join_next().await.is_some() {}
        } else {
            let end = missing_since.map_or_else(Instant::now, |since| since + delay);
            let search = sleep(SEARCH);
            tokio::select! {
                () = search => {}
                () = sleep_until(end), if is_within_delay => {}
            }
        }
    }
}

/// Returns the processes of a program. Reads `/proc` on another thread.
async fn find(process: &Arc<Process>) -> Vec<Pid> {
    let process = Arc::clone(process);
    spawn_blocking(move || find_in(Path::new(PROC), &process.matches)).await.unwrap_or_default()
}

fn find_in(proc: &Path, matches: &ProcessMatch) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir(proc) else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
    pids.filter(|pid| is_found(proc, *pid, matches)).collect()
}

fn is_found(proc: &Path, pid: Pid, matches: &ProcessMatch) -> bool {
    let directory = proc.join(pid.as_raw_nonzero().to_string());
    match matches {
        ProcessMatch::Comm(comm) => {
            let found = fs::read_to_string(directory.join("comm"));
            found.is_ok_and(|found| found.strip_suffix('\n') == Some(comm))
        }
        // The kernel appends " (deleted)" after the file was replaced. Such a process still runs.
        ProcessMatch::Executable(path) => fs::read_link(directory.join("exe")).is_ok_and(|found| {
            found == *path
                || found.to_str().and_then(|found| found.strip_suffix(" (deleted)")) == path.to_str()
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::{Child, Command};

    use tokio::sync::mpsc;

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
                find_in(proc.path(), &matches).iter().map(|pid| pid.as_raw_nonzero().get()).collect();
            pids.sort_unstable();
            pids
        };
        assert_eq!(find(ProcessMatch::Executable("/usr/sbin/web".into())), [10, 11]);
        assert_eq!(find(ProcessMatch::Comm("web2".to_owned())), [12]);
        assert_eq!(find(ProcessMatch::Comm("mail".to_owned())), [0; 0]);
    }

    #[test]
    fn end_of_a_process_is_noticed_and_its_successor_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("daemon");
        fs::copy("/usr/bin/sleep", &program).expect("copied");
        let start = || -> Child { Command::new(&program).arg("1000").spawn().expect("started") };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (updates, mut received) = mpsc::channel(16);
            let process = Process {
                name: "daemon".to_owned(),
                matches: ProcessMatch::Executable(program.clone()),
                quorum: 2,
                terminate_delay: 0,
            };
            let task = tokio::spawn(watch(ObjectId(1), Arc::new(process), None, updates));
            let mut next = async || {
                let update = received.recv().await.expect("an update");
                (update.reading, update.detail.unwrap_or_default())
            };
            assert_eq!(next().await, (Reading::Down, "0 of 2 processes".to_owned()));
            let mut running = [start(), start()];
            while next().await.0 != Reading::Up {}
            running[0].kill().expect("killed");
            running[0].wait().expect("ended");
            assert_eq!(next().await, (Reading::Down, "1 of 2 processes".to_owned()));
            running[0] = start();
            assert_eq!(next().await.0, Reading::Up);
            task.abort();
            for mut one in running {
                one.kill().expect("killed");
                one.wait().expect("ended");
            }
        });
    }
}

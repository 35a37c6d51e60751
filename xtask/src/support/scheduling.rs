//! Schedules computations that run alongside labs without delaying the labs' adverts.

use std::fs;

use anyhow::{Context, Result};

use super::process::{program, run};

/// Makes the calling thread, and programs that it starts later, run only on CPUs that are otherwise
/// idle (SCHED_IDLE). Unlike low-priority programs, programs with SCHED_IDLE are preempted as soon
/// as another program is woken.
pub(crate) fn run_when_idle() -> Result<()> {
    const FILE: &str = "/proc/thread-self";
    let thread = fs::read_link(FILE).with_context(|| format!("cannot read {FILE}"))?;
    let id = thread.file_name().with_context(|| format!("{FILE} does not end with a thread ID"))?;
    run(program("chrt").args(["--idle", "--pid", "0"]).arg(id))
}

#[cfg(test)]
mod tests {
    use super::run_when_idle;

    #[test]
    fn only_the_calling_thread_is_scheduled_when_idle() {
        // The policy is field 41, and the name in parentheses is field 2.
        let policy = || {
            let status = std::fs::read_to_string("/proc/thread-self/stat").expect("procfs");
            let (_, fields) = status.rsplit_once(')').expect("a name in parentheses");
            fields.split_whitespace().nth(38).expect("41 fields").to_owned()
        };
        let before = policy();
        let other = std::thread::spawn(move || {
            run_when_idle().expect("chrt succeeds");
            policy()
        });
        assert_eq!(other.join().expect("no panic"), "5", "SCHED_IDLE is 5");
        assert_eq!(policy(), before);
    }
}

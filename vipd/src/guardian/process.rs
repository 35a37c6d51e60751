//! The guardian's process.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::process::{Pid, getppid};

use super::aftermath::{Aftermath, Rest};
use super::death::{Death, Sent};
use super::memory::{Memory, Phase};
use super::socket::{self, CRASH, READY};
use super::stand_down;
use crate::process::{Signals, another_agent_runs, exec, ignore_abort, prevent_core_dumps};
use crate::realtime;

/// Interval at which the guardian checks whether rows are fenced.
const CHECK: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
/// Interval at which the guardian checks whether another agent runs.
const AGENT_CHECK: Duration = Duration::from_secs(1);
/// Maximum time for which VIPs stay after a signal has asked the guardian to end.
const LINGER_MAX: Duration = Duration::from_secs(5);
/// Stack size of the watcher thread in bytes.
const STACK: usize = 256 << 10;

/// Runs the guardian. `arguments` are the command-line arguments after the verb: the agent's name,
/// and `realtime` or `ordinary`. `start_log` is called once there is something to log.
pub fn main<G>(arguments: &[OsString], start_log: impl FnOnce() -> anyhow::Result<G>) -> ExitCode {
    let [agent, scheduling] = arguments else {
        eprintln!("`vipd guardian` is for internal use only");
        return ExitCode::from(2);
    };
    match run(&agent.to_string_lossy(), scheduling, start_log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vipd guardian: cannot watch the agent: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run<G>(agent: &str, scheduling: &OsStr, start_log: impl FnOnce() -> anyhow::Result<G>) -> io::Result<()> {
    // The agent may itself have inherited descriptors that are not closed on exec.
    exec::close_descriptors()?;
    // systemd sends signals, such as SIGTERM or its watchdog's SIGABRT, to all processes of the
    // service.
    let signals = Signals::block()?;
    ignore_abort();
    rustix::thread::set_name(c"vipd-guardian")?;
    // The records may contain keys, and the priority-0 adverts may contain passwords.
    prevent_core_dumps();
    let parent = getppid();
    let stdin = io::stdin();
    let socket = stdin.as_fd();
    let received = socket::receive(socket)?;
    let listener = stand_down::listen(agent);
    let memory = received.memory.clone();
    let death = Arc::new(Answer::new(Death::new(received.memory, received.leases, received.sockets))?);
    if scheduling == "realtime" {
        // The agent reports missing privileges.
        let _ = realtime::lock_memory().and_then(|()| realtime::schedule_fifo());
    }
    watch(&memory, &death)?;
    send(socket, &[READY], SendFlags::NOSIGNAL)?;
    let Some((death, sent)) = wait(socket, &signals, listener.as_ref(), &memory, &death)? else {
        return Ok(());
    };
    // After an upgrade, the first attempt may have failed because the predecessor's guardian was
    // still listening.
    let listener = listener.or_else(|| stand_down::listen(agent));
    // If the log cannot be started, the guardian continues without it.
    let log = start_log();
    let (leases, memory, masters) = death.into_parts();
    let aftermath = Aftermath::new(agent.to_owned(), leases, memory.clone(), &masters);
    report(&memory, sent, aftermath.has_unfenced());
    remain(aftermath, agent, parent, &signals, listener.as_ref(), &memory);
    drop(log);
    Ok(())
}

/// The response to the engine's death, given by the thread that detects the death first.
struct Answer {
    /// `None` after [`take`](Self::take).
    state: Mutex<Option<(Death, Option<Sent>)>>,
    /// Wakes the main thread.
    given: OwnedFd,
}

impl Answer {
    fn new(death: Death) -> io::Result<Self> {
        let given = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { state: Mutex::new(Some((death, None))), given })
    }

    /// Responds to the death if the engine was running, unless a guardian has already responded or
    /// no response is needed ([`Memory::set_answered`]). Wakes the main thread in any case.
    fn give(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((death, sent)) = &mut *state
            && sent.is_none()
            && death.memory().phase() == Phase::Running
            && death.memory().answer()
        {
            *sent = Some(death.answer());
        }
        drop(state);
        // Never fails: the counter stays far below its maximum.
        let _ = rustix::io::write(&self.given, &1_u64.to_ne_bytes());
    }

    fn take(&self) -> Option<(Death, Sent)> {
        let (death, sent) = self.state.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((death, sent?))
    }
}

/// Starts the thread that waits for the end of the engine's thread.
fn watch(memory: &Memory, answer: &Arc<Answer>) -> io::Result<()> {
    let (memory, answer) = (memory.clone(), Arc::clone(answer));
    thread::Builder::new().name("watcher".to_owned()).stack_size(STACK).spawn(move || {
        // A mutex that is released in the phase `Running` also counts as the end of the engine's
        // thread. If waiting fails, the main thread detects the end of the process.
        if memory.mutex().and_then(|mutex| mutex.lock()).is_ok() {
            answer.give();
        }
    })?;
    Ok(())
}

/// Waits for the end of the engine. Returns `None` if there is nothing to do.
fn wait(
    socket: BorrowedFd<'_>,
    signals: &Signals,
    listener: Option<&UnixListener>,
    memory: &Memory,
    answer: &Answer,
) -> io::Result<Option<(Death, Sent)>> {
    loop {
        let mut ready = vec![
            PollFd::new(&socket, PollFlags::IN),
            PollFd::new(&answer.given, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
        ];
        ready.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        match poll(&mut ready, None) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        let is_ready = |position: usize| ready.get(position).is_some_and(|one| !one.revents().is_empty());
        if is_ready(0) {
            let mut byte = [0];
            let length = match recv(socket, &mut byte, RecvFlags::empty()) {
                // The agent died before reading `READY`.
                Err(rustix::io::Errno::CONNRESET) => 0,
                received => received?.1,
            };
            if length == 0 || byte == [CRASH] {
                answer.give();
            }
        }
        if is_ready(1) {
            return Ok(answer.take());
        }
        // The agent handles these signals. The guardian must stay as long as the agent runs.
        while signals.take().is_some() {}
        if listener.is_some_and(stand_down::is_asked) || memory.phase() == Phase::Ended {
            return Ok(None);
        }
    }
}

fn report(memory: &Memory, sent: Sent, has_unfenced: bool) {
    let Sent { masters, adverts, refused } = sent;
    let cause =
        memory.crash().map_or_else(|| "ended".to_owned(), |signal| format!("crashed with signal {signal}"));
    if masters == 0 {
        tracing::warn!("guardian: the agent has {cause}; it was not master");
        return;
    }
    let vips = if has_unfenced {
        "VIPs that are already fenced or cannot be fenced without the agent are removed now, the others once another \
         router has taken over"
    } else {
        "VIPs that are already fenced are removed now, the others once another router has taken over"
    };
    let sent = match (adverts, refused) {
        (0, 0) => {
            "sent no priority-0 adverts, because its routers have left Master, another router is already master, or \
             the guardian's memory had no room for them"
        }
        (0, _) => "could not send its priority-0 adverts",
        _ => "sent its priority-0 adverts",
    };
    tracing::error!(masters, adverts, refused, "guardian: the agent has {cause}; {sent}; {vips}");
}

/// Removes VIPs as other routers take over, until none are left or another process removes them:
/// another agent, `vipd cleanup`, or the service of the agent whose engine has died. Once the time
/// limit after a termination signal has passed, removes all remaining VIPs and returns.
fn remain(
    mut aftermath: Aftermath,
    agent: &str,
    parent: Option<Pid>,
    signals: &Signals,
    listener: Option<&UnixListener>,
    memory: &Memory,
) {
    let mut until: Option<Instant> = None;
    let mut next_check = Instant::now();
    loop {
        let now = Instant::now();
        let is_over = until.is_some_and(|until| now >= until);
        let has_work = is_over || aftermath.has_work();
        if listener.is_some_and(stand_down::is_asked) || memory.phase() == Phase::Ended {
            return aftermath.abandon();
        }
        if has_work || now >= next_check {
            next_check = now + AGENT_CHECK;
            // The other agent may have failed to make this guardian exit.
            if another_agent_runs(agent, parent) {
                return aftermath.abandon();
            }
        }
        match if has_work { aftermath.remove(is_over) } else { Rest::Rows } {
            Rest::Nothing => {
                tracing::info!("guardian: removed the VIPs, routes, rules and macvlans of the dead agent");
                return;
            }
            Rest::Refused => return,
            Rest::Rows => {}
        }
        let mut ready = vec![PollFd::new(signals, PollFlags::IN)];
        ready.extend(listener.map(|listener| PollFd::new(listener, PollFlags::IN)));
        // Fails only if interrupted by a signal that is not blocked.
        let _ = poll(&mut ready, Some(&CHECK));
        // The service manager ends all processes of the service before it starts another agent. The
        // VIPs stay a little longer, until a backup has had time to take over.
        while let Some(signal) = signals.take() {
            if signal.asks_to_end() {
                let linger = Duration::from_millis(aftermath.longest_interval().into()).min(LINGER_MAX);
                until.get_or_insert(now + linger);
            }
        }
    }
}

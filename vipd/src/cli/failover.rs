//! `vipd failover`: hands over mastership, and waits until another router is master.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::status::seconds;
use super::{change, details, output};
use crate::control::client::{Client, ClientError};
use crate::control::model::{InstanceStatus, State};
use crate::control::protocol::Request;

/// First pause between two queries. The pause doubles after each query, up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(5);
const MAX_PAUSE: Duration = Duration::from_millis(200);
/// Time to wait in addition to the Active_Down_Interval, after which the router becomes master
/// again if no other router has taken over. Also the time within which a failed query is repeated.
const MARGIN: Duration = Duration::from_secs(5);

/// The outcome for an instance that has handed over mastership.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The router is still waiting for an advert from another master.
    Open,
    /// Another router has taken over.
    TakenOver(String),
    /// The router is master again, or is in a state in which it cannot observe a takeover.
    Failed(String),
}

/// Requests the failover and prints the agent's report, and then a line for each instance that
/// another router has taken over.
///
/// # Errors
/// Returns an error if the agent refuses or does not reply, if a reload has removed a named
/// instance or sync group, or if an instance is in Fault, was started again or was not taken over
/// by another router.
pub(super) fn run(instances: Vec<String>, runtime_dir: &Path) -> anyhow::Result<()> {
    let names = instances.clone();
    let begin = Instant::now();
    change::run(&Request::Failover { instances }, runtime_dir)?;
    let client = Client::new(runtime_dir);
    let mut pause = MIN_PAUSE;
    let mut reported: Vec<String> = Vec::new();
    let mut failed = Vec::new();
    loop {
        let report = match client.status() {
            // The agent is busy, for example because many instances are being handed over.
            Err(ClientError::Agent(_) | ClientError::Timeout(_)) if begin.elapsed() <= MARGIN => {
                thread::sleep(pause);
                continue;
            }
            report => details::select(report?, &names)?,
        };
        let mut open = Vec::new();
        for one in &report.instances {
            if reported.contains(&one.name) {
                continue;
            }
            match outcome(one, begin.elapsed()) {
                Outcome::Open => {
                    open.push(one);
                    continue;
                }
                Outcome::TakenOver(text) => output::print(&format!("{}: {text}\n", one.name))?,
                Outcome::Failed(text) => failed.push(format!("{}: {text}", one.name)),
            }
            reported.push(one.name.clone());
        }
        let longest = open.iter().map(|one| one.master_down_interval_ns).max();
        let Some(longest) = longest else { break };
        let limit = Duration::from_nanos(longest) + MARGIN;
        if begin.elapsed() > limit {
            for one in open {
                match taken_over(one) {
                    Some(text) => output::print(&format!("{}: {text}\n", one.name))?,
                    None => failed.push(format!(
                        "{}: no other router has taken over within {}",
                        one.name,
                        seconds(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX))
                    )),
                }
            }
            break;
        }
        thread::sleep(pause);
        pause = (pause * 2).min(MAX_PAUSE);
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("; ")) }
}

/// Returns the outcome for an instance that was master when the request was sent, `elapsed` ago.
fn outcome(one: &InstanceStatus, elapsed: Duration) -> Outcome {
    let has_changed = one.last_transition_ms.is_some_and(|age| Duration::from_millis(age) <= elapsed);
    match one.state {
        _ if !has_changed => Outcome::Open,
        State::Backup => taken_over(one).map_or(Outcome::Open, Outcome::TakenOver),
        State::Master => {
            Outcome::Failed("no other router took over, and this node is master again".to_owned())
        }
        State::Fault => {
            Outcome::Failed(format!("fault: {}", one.fault_reason.as_deref().unwrap_or("unknown")))
        }
        State::Initialize => Outcome::Failed("the instance was started again".to_owned()),
    }
}

/// Describes the current master if the instance is in Backup. At the deadline, Backup counts as a
/// takeover even if the last transition preceded the request.
fn taken_over(one: &InstanceStatus) -> Option<String> {
    let source = one.last_adv_source.filter(|_| one.state == State::Backup)?;
    Some(format!("{source} is master"))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::cli::tests::instance_status;

    #[test]
    fn earlier_transitions_do_not_decide_the_outcome() {
        let after = |seconds, state, source: Option<[u8; 4]>| {
            let last_adv_source = source.map(IpAddr::from);
            // The last change of state was 245 s ago.
            let status = InstanceStatus { last_adv_source, ..instance_status("VI_1", state) };
            outcome(&status, Duration::from_secs(seconds))
        };
        let other = Some([192, 0, 2, 2]);
        let taken_over = Outcome::TakenOver("192.0.2.2 is master".to_owned());
        assert_eq!(after(246, State::Backup, other), taken_over);
        assert_eq!(after(246, State::Backup, None), Outcome::Open);
        for state in [State::Master, State::Fault, State::Initialize] {
            assert!(matches!(after(246, state, None), Outcome::Failed(_)), "{state:?}");
        }
        for state in [State::Master, State::Backup] {
            assert_eq!(after(244, state, other), Outcome::Open, "{state:?}");
        }
    }

    #[test]
    fn backup_of_another_master_counts_as_taken_over_at_the_deadline() {
        for (state, source, expected) in [
            (State::Backup, Some([192, 0, 2, 2]), Some("192.0.2.2 is master")),
            (State::Backup, None, None),
            (State::Master, Some([192, 0, 2, 2]), None),
        ] {
            let last_adv_source = source.map(IpAddr::from);
            let status = InstanceStatus { last_adv_source, ..instance_status("VI_1", state) };
            assert_eq!(taken_over(&status).as_deref(), expected, "{state:?}, {source:?}");
        }
    }
}

//! Requests to vipd on a node, on its control socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::agent::{Agent, AgentKind};
use crate::wait::try_wait_until;

/// Time limit for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// An instance's status or statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply(pub Value);

impl Reply {
    /// Returns a string; empty if it is missing.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// Returns a number.
    ///
    /// # Errors
    /// When it is missing: a renamed one must not read as 0.
    pub fn number(&self, name: &str) -> Result<u64> {
        self.0[name].as_u64().with_context(|| format!("no number {name} in {}", self.0))
    }

    /// Returns an address, if present.
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        self.text(name).parse().ok()
    }
}

/// Returns the status of each instance.
///
/// # Errors
/// When the agent is not vipd, or does not reply.
pub fn status(agent: &Agent) -> Result<Vec<Reply>> {
    let answer = ask(agent, "status")?;
    Ok(instances(&answer)?.iter().cloned().map(Reply).collect())
}

/// Returns the agent's counters, and those of each instance.
///
/// # Errors
/// When the agent is not vipd, or does not reply.
pub fn stats(agent: &Agent) -> Result<(Reply, Vec<Reply>)> {
    let answer = ask(agent, "stats")?;
    let each = instances(&answer)?.iter().map(|instance| Reply(instance["statistics"].clone()));
    Ok((Reply(answer["global"].clone()), each.collect()))
}

/// Returns the state of the agent's first instance.
///
/// # Errors
/// As [`status`], or when there is no instance.
pub fn state(agent: &Agent) -> Result<String> {
    let first = status(agent)?.into_iter().next().context("vipd has no instance")?;
    Ok(first.text("state").to_owned())
}

/// Returns a counter of the agent's first instance.
///
/// # Errors
/// As [`stats`], or when there is no such counter.
pub fn counter(agent: &Agent, name: &str) -> Result<u64> {
    let (_, instances) = stats(agent)?;
    instances.first().context("vipd has no instance")?.number(name)
}

/// Waits until the status of the agent's first instance satisfies `wanted`, and returns it.
///
/// # Errors
/// When the agent does not reply, or after `timeout`; with the last status.
pub fn wait_for(
    agent: &Agent,
    description: &str,
    timeout: Duration,
    wanted: impl Fn(&Reply) -> bool,
) -> Result<Reply> {
    let mut last = None;
    let result = try_wait_until(&format!("{agent}: {description}"), timeout, || {
        let first = status(agent)?.into_iter().next();
        let found = first.as_ref().is_some_and(&wanted);
        last = first;
        Ok(found)
    });
    result.with_context(|| format!("the last status: {last:?}; the log: {:#?}", agent.log()))?;
    last.context("vipd has no instance")
}

/// Waits until the agent's first instance is in this state.
///
/// # Errors
/// As [`until`].
pub fn wait_for_state(agent: &Agent, state: &str, timeout: Duration) -> Result<Reply> {
    wait_for(agent, state, timeout, |status| status.text("state") == state)
}

fn instances(answer: &Value) -> Result<&Vec<Value>> {
    answer["instances"].as_array().context("vipd's reply has no instances")
}

/// Sends a request on the control socket, which is in the mount namespace of the agent's host.
fn ask(agent: &Agent, command: &str) -> Result<Value> {
    let AgentKind::Vipd(_) = agent.kind() else { bail!("{agent} has no control socket") };
    let request = format!("{{\"command\":\"{command}\"}}\n");
    let exchange = move || -> Result<String> {
        let mut stream = UnixStream::connect(Agent::control_socket())?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = agent.host().run(exchange).with_context(|| format!("requesting {command} from {agent}"))?;
    let answer: Value =
        serde_json::from_str(&answer).with_context(|| format!("invalid reply of {agent}: {answer:?}"))?;
    ensure!(answer["error"].is_null(), "{agent} refused {command}: {}", answer["error"]);
    Ok(answer)
}

//! Queries to a vipd in the lab, over its control socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::agent::{Agent, AgentKind};
use crate::wait::try_wait_until;

/// How long to wait for a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);
/// Part of the agent's reply if its engine has not answered in time.
const NO_REPLY: &str = "the agent did not reply within";

/// A JSON object from a reply: the status or statistics of an instance, or the agent's counters.
#[derive(Debug, Clone, PartialEq)]
pub struct Reply(pub Value);

impl Reply {
    /// Returns the value of a string field, or an empty string if the field is missing.
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    /// Returns the value of a numeric field.
    ///
    /// # Errors
    /// Returns an error if the field is missing. A default of 0 would hide a renamed counter.
    pub fn number(&self, name: &str) -> Result<u64> {
        self.0[name].as_u64().with_context(|| format!("no number {name} in {}", self.0))
    }

    /// Returns the value of an address field, if present.
    pub fn address(&self, name: &str) -> Option<IpAddr> {
        self.text(name).parse().ok()
    }
}

/// Returns the status of each instance.
///
/// # Errors
/// Returns an error if the agent is not vipd, does not reply, or replies with an error.
pub fn status(agent: &Agent) -> Result<Vec<Reply>> {
    let answer = request(agent, &json!({ "command": "status" }))?;
    Ok(instances(&answer)?.iter().cloned().map(Reply).collect())
}

/// Returns the agent-wide counters and the counters of each instance.
///
/// # Errors
/// Returns an error if the agent is not vipd, does not reply, or replies with an error.
pub fn stats(agent: &Agent) -> Result<(Reply, Vec<Reply>)> {
    let answer = request(agent, &json!({ "command": "stats" }))?;
    let each = instances(&answer)?.iter().map(|instance| Reply(instance["statistics"].clone()));
    Ok((Reply(answer["global"].clone()), each.collect()))
}

/// Requests a change, such as `{"command":"reload"}`, and returns one line per change.
///
/// # Errors
/// Returns an error if the agent is not vipd, refuses the change, or does not reply.
pub fn change(agent: &Agent, wanted: &Value) -> Result<Vec<String>> {
    let answer = request(agent, wanted)?;
    let changes = answer["changes"].as_array().context("vipd's reply has no `changes` array")?;
    Ok(changes.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Reloads the configuration file.
///
/// # Errors
/// See [`change`].
pub fn reload(agent: &Agent) -> Result<Vec<String>> {
    change(agent, &json!({ "command": "reload" }))
}

/// Returns the state of the agent's first instance.
///
/// # Errors
/// See [`status`]; also returns an error if there is no instance.
pub fn state(agent: &Agent) -> Result<String> {
    let first = status(agent)?.into_iter().next().context("vipd reports no instance")?;
    Ok(first.text("state").to_owned())
}

/// Returns a counter of the agent's first instance.
///
/// # Errors
/// See [`stats`]; also returns an error if there is no such counter.
pub fn counter(agent: &Agent, name: &str) -> Result<u64> {
    let (_, instances) = stats(agent)?;
    instances.first().context("vipd reports no instance")?.number(name)
}

/// Waits until the status of the agent's first instance satisfies `wanted`, and returns that
/// status. On a busy machine, the engine may not answer for seconds, for example while it waits for
/// the kernel's lock for network changes (`rtnl_mutex`).
///
/// # Errors
/// Returns an error, with the last status, if `timeout` expires, or at once if a request fails. The
/// wait continues, however, if the agent replies that its engine has not answered in time.
pub fn wait_for(
    agent: &Agent,
    description: &str,
    timeout: Duration,
    wanted: impl Fn(&Reply) -> bool,
) -> Result<Reply> {
    let mut last = None;
    let result = try_wait_until(&format!("{agent}: {description}"), timeout, || {
        let first = match status(agent) {
            Err(error) if format!("{error:#}").contains(NO_REPLY) => return Ok(false),
            replies => replies?.into_iter().next(),
        };
        let found = first.as_ref().is_some_and(&wanted);
        last = first;
        Ok(found)
    });
    result.with_context(|| format!("last status: {last:?}; log: {:#?}", agent.log()))?;
    last.context("vipd reports no instance")
}

/// Waits until the agent's first instance is in this state.
///
/// # Errors
/// See [`wait_for`].
pub fn wait_for_state(agent: &Agent, state: &str, timeout: Duration) -> Result<Reply> {
    wait_for(agent, state, timeout, |status| status.text("state") == state)
}

fn instances(answer: &Value) -> Result<&Vec<Value>> {
    answer["instances"].as_array().context("vipd's reply has no instances")
}

/// Sends a request to the control socket, from the mount namespace of the agent's host.
fn request(agent: &Agent, wanted: &Value) -> Result<Value> {
    let AgentKind::Vipd(_) = agent.kind() else { bail!("{agent} has no control socket") };
    let line = format!("{wanted}\n");
    let exchange = move || -> Result<String> {
        let mut stream = UnixStream::connect(Agent::control_socket())?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = agent.host().run(exchange).with_context(|| format!("requesting {wanted} from {agent}"))?;
    let answer: Value =
        serde_json::from_str(&answer).with_context(|| format!("invalid reply from {agent}: {answer:?}"))?;
    if let Some(error) = answer["error"].as_str() {
        bail!("{agent} rejected {wanted}: {error}");
    }
    Ok(answer)
}

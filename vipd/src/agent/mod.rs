//! Placeholder: the lead's branch brings the agent.

use crate::config::Config;
use crate::control::runtime::RuntimeDir;

/// Runs the agent until it is told to stop.
///
/// # Errors
/// Always, in this branch.
pub fn run(_config: Config, _runtime: RuntimeDir) -> anyhow::Result<()> {
    anyhow::bail!("the agent is not in this branch")
}

//! The commands that change a running agent: `reload`, `drain`, `undrain`, `failover` and
//! `priority`.

use std::path::Path;

use super::output;
use crate::control::client::Client;
use crate::control::protocol::Request;

/// Sends a request to the agent and prints its warnings and one line for each change made.
pub(super) fn run(request: &Request, runtime_dir: &Path) -> anyhow::Result<()> {
    let report = Client::new(runtime_dir).change(request)?;
    for warning in &report.warnings {
        eprintln!("vipd: warning: {warning}");
    }
    let text: String = report.changes.iter().flat_map(|change| [change, "\n"]).collect();
    output::print(&text)?;
    Ok(())
}

//! The commands that change a running agent: `reload`, `upgrade`, `drain`, `undrain`,
//! `failover` and `priority`.

use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::problems::{Renderer, Severity};
use super::table::WAITING;
use super::{output, terminal};
use crate::control::client::Client;
use crate::control::protocol::Request;

/// Requests an upgrade to `executable`, or to the file at the agent's own path if it is `None`.
pub(super) fn upgrade(executable: Option<PathBuf>, runtime_dir: &Path) -> anyhow::Result<()> {
    let absolute = |path: PathBuf| {
        std::path::absolute(&path)
            .with_context(|| format!("cannot determine the absolute path of {}", path.display()))
    };
    let executable = executable.map(absolute).transpose()?;
    run(&Request::Upgrade { executable }, runtime_dir)
}

/// Sends a request to the agent and prints its warnings and one line for each change made.
pub(super) fn run(request: &Request, runtime_dir: &Path) -> anyhow::Result<()> {
    let report = Client::new(runtime_dir).change(request)?;
    let mut renderer = Renderer::new(terminal::width(&io::stderr()));
    for warning in &report.warnings {
        let warning = renderer.line(warning, Severity::Warning);
        anstream::eprint!("vipd: {WAITING}warning{WAITING:#}: {warning}");
    }
    let text: String = report.changes.iter().flat_map(|change| [change, "\n"]).collect();
    output::print(&text)?;
    Ok(())
}

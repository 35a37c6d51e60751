//! Detaches the BPF programs of an agent by force.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::processes;
use crate::agent::Agent;
use crate::command::run;

/// Directory in which vipd pins its BPF links.
const PINS: &str = "/sys/fs/bpf/vipd";
/// Name of the only pin that is a map rather than a link.
const ADDRESSES: &str = "addresses";

/// Detaches all BPF links that the agent's processes hold or have pinned, and returns their number.
pub(super) fn detach_all(agent: &Agent) -> Result<usize> {
    let held_by = |process| processes::bpf_objects(process, "link_id:");
    let mut links: BTreeSet<u32> = agent.processes().into_iter().flat_map(held_by).collect();
    let pins = agent.host().run(|| files(Path::new(PINS)));
    for pin in pins.into_iter().filter(|pin| pin.file_name() != Some(OsStr::new(ADDRESSES))) {
        let path = pin.to_string_lossy().into_owned();
        let shown = run(agent.host(), "bpftool", &["-j", "link", "show", "pinned", &path])?;
        let shown: serde_json::Value =
            serde_json::from_str(&shown).with_context(|| format!("parsing bpftool's output for {path}"))?;
        let id = shown["id"].as_u64().and_then(|id| u32::try_from(id).ok());
        links.insert(id.with_context(|| format!("no link ID in bpftool's output for {path}"))?);
    }
    for link in &links {
        run(agent.host(), "bpftool", &["link", "detach", "id", &link.to_string()])?;
    }
    Ok(links.len())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let contents = |path: PathBuf| if path.is_dir() { files(&path) } else { vec![path] };
    entries.map(|entry| entry.path()).flat_map(contents).collect()
}

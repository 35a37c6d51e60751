//! `vipd cleanup`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::ensure;

use super::output;
use crate::guardian;
use crate::process::AgentLock;
use crate::service::{self, Cleaned};
use crate::xdp::Pins;

pub(super) fn run(runtime_dir: &Path) -> anyhow::Result<()> {
    let lock = AgentLock::acquire_patiently(runtime_dir)?;
    service::check_privileges()?;
    if !guardian::stand_down(lock.name()) {
        eprintln!("vipd: {}", guardian::stand_down_failure(lock.name()));
    }
    // The agent may have pinned its programs in a BPF file system that is mounted only in another
    // mount namespace. Those programs stay attached.
    if Pins::obstacle().is_some() {
        eprintln!(
            "vipd: no BPF file system is mounted at /sys/fs/bpf; BPF programs that the agent has pinned in \
             another mount namespace stay attached; to detach them, run this command there"
        );
    }
    let Cleaned { removed, macvlans } = service::cleanup(&lock)?;
    output::print(&render(&removed))?;
    ensure!(
        macvlans.is_empty(),
        "cannot delete the macvlans {}; delete them with `ip link delete NAME`",
        macvlans.join(", ")
    );
    Ok(())
}

/// Returns a line for each removed object.
fn render(removed: &[String]) -> String {
    if removed.is_empty() {
        return "nothing to remove in this network namespace\n".to_owned();
    }
    removed.iter().fold(String::new(), |mut text, what| {
        let _ = writeln!(text, "removed {what}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_removed_object_has_a_line() {
        assert_eq!(render(&[]), "nothing to remove in this network namespace\n");
        assert_eq!(render(&["a".to_owned(), "b".to_owned()]), "removed a\nremoved b\n");
    }
}

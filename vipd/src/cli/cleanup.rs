//! `vipd cleanup`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::ensure;

use super::output;
use crate::guardian;
use crate::process::AgentLock;
use crate::service::{self, Cleaned};

pub(super) fn run(runtime_dir: &Path) -> anyhow::Result<()> {
    let lock = AgentLock::acquire_patiently(runtime_dir)?;
    service::check_privileges()?;
    if !guardian::stand_down(lock.name()) {
        eprintln!("vipd: {}", guardian::stand_down_failure(lock.name()));
    }
    let Cleaned { removed, failed, is_complete } = service::cleanup(&lock)?;
    if !removed.is_empty() || failed.is_empty() && is_complete {
        output::print(&render(&removed))?;
    }
    if !is_complete {
        eprintln!(
            "vipd: cannot look for BPF programs that are pinned in another mount namespace, because this process lacks \
             CAP_SYS_ADMIN; run this command as root, outside a container"
        );
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
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

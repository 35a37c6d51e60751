//! The master is frozen past its deadline, as a busy hypervisor or a debugger does it, and thawed
//! when another has taken over. It still believes to be master. Which of the two it is afterwards
//! is the agent's choice; that there is one alone is the protocol's promise.

use anyhow::Result;

use super::stage::{Deadline, Stage};
use super::{BACKUP, PREFERRED};

pub(super) fn play(stage: &mut Stage<'_>) -> Result<()> {
    let arp = stage.arp()?;
    let cause = stage.note(format!("SIGSTOP to {}", stage.preferred));
    stage.preferred.pause()?;
    stage.expect_takeover(cause, arp, (PREFERRED, BACKUP), Deadline::Down)?;

    let arp = stage.arp()?;
    let cause = stage.note(format!("SIGCONT to {}", stage.preferred));
    stage.preferred.resume()?;
    if stage.expect_one_master()? == PREFERRED {
        stage.expect_takeover(cause, arp, (BACKUP, PREFERRED), Deadline::Open)?;
    }
    Ok(())
}

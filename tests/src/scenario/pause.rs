//! The master is stopped past its deadline, as by a busy hypervisor or a debugger, and resumed when
//! the backup has taken over. Its state is still Master. The protocol guarantees a single master
//! afterwards; which node it is depends on the implementation.

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

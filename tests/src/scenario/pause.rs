//! The master's agent is suspended for longer than the backup's Active_Down_Interval, as if by a
//! busy hypervisor or a debugger. The agent is resumed, still in state Master, once the backup has
//! taken over. The protocol guarantees that a single master remains, but which node remains master
//! depends on the implementation and on preemption.

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

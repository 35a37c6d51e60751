//! The master's cable is cut at the switch: its link is down and its frames are lost. The client
//! gets no answer until the new master announces the address.

use anyhow::Result;

use super::stage::{Deadline, Stage};
use super::{BACKUP, PREFERRED};

pub(super) fn play(stage: &mut Stage<'_>) -> Result<()> {
    let arp = stage.arp()?;
    let cause = stage.note(format!("the cable of {PREFERRED} is cut"));
    stage.lab.cut(PREFERRED)?;
    stage.expect_takeover(cause, arp, (PREFERRED, BACKUP), Deadline::Down)?;

    let arp = stage.arp()?;
    let cause = stage.note(format!("the cable of {PREFERRED} is reconnected"));
    stage.lab.reconnect(PREFERRED)?;
    stage.expect_preemption(cause, arp)
}

//! The master's agent is killed. The node keeps the VIP and answers the client until the new
//! master's first advert fences the VIP or, without a fence, until the new master's gratuitous ARP
//! updates the client's ARP table.

use anyhow::Result;

use super::stage::{Deadline, Stage};
use super::{BACKUP, PREFERRED};

pub(super) fn play(stage: &mut Stage<'_>) -> Result<()> {
    let arp = stage.arp()?;
    let cause = stage.note(format!("SIGKILL to {}", stage.preferred));
    stage.preferred.kill()?;
    stage.expect_takeover(cause, arp, (PREFERRED, BACKUP), Deadline::Down)
}

//! Initialize (RFC 9568 section 6.4.1): waits for a Startup event.

use vipd_common::Timestamp;

use super::{Backup, Master, StateData, Transition};
use crate::common::Common;
use crate::interval::Nanos;
use crate::output::Reason;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Initialize {
    /// End of `startup_delay`; set only if nothing else keeps the router from starting.
    pub(crate) starts_at: Option<Timestamp>,
}

impl Initialize {
    pub(crate) fn timeout(&mut self, common: &mut Common, now: Timestamp) -> Option<Transition> {
        let deadline = self.starts_at.take_if(|at| *at <= now)?;
        Some(startup(common, now, Reason::Startup, now.nanos_since(deadline)))
    }
}

/// Handles a Startup event: an owner becomes master, and any other router becomes backup. RFC 3768
/// section 6.4.1 has the same rules.
pub(crate) fn startup(common: &mut Common, now: Timestamp, reason: Reason, late: Nanos) -> Transition {
    let to = if common.config.is_owner() {
        // S1: send an advert, announce the addresses, Adver_Timer := Advertisement_Interval, go to
        // Active.
        common.send_advert();
        common.add_addresses();
        common.announce(common.config.announcements.repeat);
        StateData::Master(Master::new(common, now, reason))
    } else {
        // S2, M5: Active_Adver_Interval := Advertisement_Interval, Active_Down_Timer :=
        // Active_Down_Interval, go to Backup.
        StateData::Backup(Backup::new(common, now))
    };
    Transition { to, reason, late }
}

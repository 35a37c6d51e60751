//! The bounds that the protocol sets for each kind of fault: how long a client may go without an
//! answer, and when another node must have taken over.

use std::time::Duration;

use super::fault::Kind;
use super::segment::Router;

/// The deadline of a takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// Active_Down_Interval: the master has stopped sending adverts.
    Down,
    /// Skew_Time: the master has sent a priority-0 advert.
    Skew,
    /// Skew_Time, because the master's guardian sends a priority-0 advert; without a guardian,
    /// Active_Down_Interval.
    Guardian,
}

impl Takeover {
    /// Returns the time within which another node must send its first advert.
    pub fn deadline(self, router: &Router, guardian: bool) -> Duration {
        match self {
            Self::Guardian if guardian => router.longest_skew(),
            Self::Skew => router.longest_skew(),
            Self::Down | Self::Guardian => router.longest_down(),
        }
    }
}

impl Kind {
    /// Returns the deadline for taking over from a master that has this fault for `length`, or
    /// `None` if no takeover is required.
    pub fn takeover(self, length: Duration, router: &Router) -> Option<Takeover> {
        // A master may remain master if it recovers at about the time that its backup's master-down
        // timer fires.
        let is_long = length > router.longest_down() + router.interval;
        match self {
            Self::Kill | Self::Abort | Self::Segfault if is_long => Some(Takeover::Guardian),
            Self::KillAll | Self::Pause | Self::Cut | Self::Starve if is_long => Some(Takeover::Down),
            Self::Restart | Self::Drain | Self::Failover => Some(Takeover::Skew),
            _ => None,
        }
    }

    /// Returns the longest gap between answers that this fault may cause, excluding delays that
    /// the machine adds to packets and processes.
    pub fn gap(self, length: Duration, router: &Router) -> Duration {
        let (down, skew) = (router.longest_down(), router.longest_skew());
        match self {
            // The master keeps the address, or restores it at once.
            Self::RemoveAddress
            | Self::FullDisk
            | Self::Reload
            | Self::Upgrade
            | Self::KillGuardian
            | Self::Calm => Duration::ZERO,
            Self::Restart | Self::Drain | Self::Failover => skew,
            Self::Kill
            | Self::KillAll
            | Self::KillRestart
            | Self::Abort
            | Self::Segfault
            | Self::Pause
            | Self::Cut
            | Self::Partition
            | Self::Duplicate
            | Self::Detach => down,
            // Each advert that gets through restarts the backups' timers; questions are lost or
            // delayed.
            Self::Flap | Self::LossTo | Self::Starve | Self::Delay | Self::Reorder => length + 2 * down,
            Self::LossFrom => 2 * down,
        }
    }
}

//! What the protocol allows for each kind of fault: how long a client may be without an answer, and
//! when another router must have taken over.

use std::time::Duration;

use super::fault::Kind;
use super::segment::Router;

/// The deadline of a takeover.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takeover {
    /// The master has stopped sending adverts: Active_Down_Interval.
    Down,
    /// The master has sent priority 0: Skew_Time.
    Skew,
    /// The master's guardian sends priority 0; without a guardian like [`Takeover::Down`].
    Guardian,
}

impl Takeover {
    /// Returns the deadline for the first advert of another router.
    pub fn deadline(self, router: &Router, guardian: bool) -> Duration {
        match self {
            Self::Guardian if guardian => router.longest_skew(),
            Self::Skew => router.longest_skew(),
            Self::Down | Self::Guardian => router.longest_down(),
        }
    }
}

impl Kind {
    /// Returns the deadline of the takeover that this fault causes on a router's master if it lasts
    /// for `length`, or `None` if none is required.
    pub fn takeover(self, length: Duration, router: &Router) -> Option<Takeover> {
        // A master that recovers about when the timer of its backup fires may win.
        let is_long = length > router.longest_down() + router.interval;
        match self {
            Self::Kill | Self::Abort | Self::Segfault if is_long => Some(Takeover::Guardian),
            Self::KillAll | Self::Pause | Self::Cut | Self::Starve if is_long => Some(Takeover::Down),
            Self::Restart | Self::Drain | Self::Failover => Some(Takeover::Skew),
            _ => None,
        }
    }

    /// Returns the longest gap between answers that this fault may cause, without the time by which
    /// the machine delays packets and processes.
    pub fn gap(self, length: Duration, router: &Router) -> Duration {
        let (down, skew) = (router.longest_down(), router.longest_skew());
        match self {
            // The owner keeps the address or restores it.
            Self::RemoveAddress | Self::FullDisk | Self::Reload | Self::Upgrade | Self::KillGuardian => {
                Duration::ZERO
            }
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
            // Adverts that get through restart the timers of the backups, and requests are lost.
            Self::Flap | Self::LossTo | Self::Starve | Self::Delay | Self::Reorder => length + 2 * down,
            Self::LossFrom => 2 * down,
        }
    }
}

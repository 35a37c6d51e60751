//! The protocol states, each with its own data.

mod backup;
mod initialize;
mod master;

use vipd_common::Timestamp;

pub(crate) use backup::Backup;
pub(crate) use initialize::{Initialize, startup};
pub(crate) use master::Master;

use crate::input::Fault;
use crate::interval::Nanos;
use crate::output::{Reason, State};

/// A state and its data. Leaving a state drops its timers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateData {
    Initialize(Initialize),
    Fault(Fault),
    Backup(Backup),
    Master(Master),
}

impl StateData {
    #[inline]
    pub(crate) fn state(&self) -> State {
        match self {
            Self::Initialize(_) => State::Initialize,
            Self::Fault(fault) => State::Fault(*fault),
            Self::Backup(_) => State::Backup,
            Self::Master(_) => State::Master,
        }
    }

    /// Returns the earliest deadline of the state's timers.
    #[inline]
    pub(crate) fn next_timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Initialize(initialize) => initialize.starts_at,
            Self::Fault(_) => None,
            Self::Backup(backup) => Some(backup.down_timer()),
            Self::Master(master) => Some(master.next_timeout()),
        }
    }
}

/// A change of state caused by an input.
#[derive(Clone, Debug)]
pub(crate) struct Transition {
    pub(crate) to: StateData,
    pub(crate) reason: Reason,
    /// Delay in handling the timer that caused the transition; 0 if no timer caused the transition.
    pub(crate) late: Nanos,
}

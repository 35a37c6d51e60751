//! Sabotage: defects of vipd that the judge must find. The lab simulates them from outside, so that
//! vipd itself contains no code for them.
//!
//! | sabotage | how it is simulated |
//! | --- | --- |
//! | `no-fence` | `fence = "off"` |
//! | `stuck-lease` | once an agent is suspended or dead, the leases in its BPF map never end |
//! | `permissive` | `mode = "permissive"` for signed adverts |
//! | `late-guardian` | the guardian is suspended before the agent is killed, and resumed 500 ms after the agent's death |

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, Map, MapData};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::processes::{self, Role};
use crate::agent::Agent;

/// How long a late guardian stays suspended after the death of its agent.
const DELAY: Duration = Duration::from_millis(500);
/// Name of vipd's map of leases.
const LEASES: &str = "LEASES";
/// A value of the map: the end of the lease in nanoseconds of `CLOCK_MONOTONIC`, or 0 without a
/// lease; the priority; whether the VIPs are fenced; and a word that is not used here.
type Lease = [u64; 4];

/// A simulated defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// VIPs are not fenced, and no guardian runs.
    NoFence,
    /// The leases of an agent that is suspended or dead never end.
    StuckLease,
    /// The guardian reacts late to the death of its agent.
    LateGuardian,
    /// The attacked routers accept unsigned adverts.
    Permissive,
}

impl Sabotage {
    /// All kinds of sabotage.
    pub const ALL: [Self; 4] = [Self::NoFence, Self::StuckLease, Self::LateGuardian, Self::Permissive];

    /// Returns the name used on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoFence => "no-fence",
            Self::StuckLease => "stuck-lease",
            Self::LateGuardian => "late-guardian",
            Self::Permissive => "permissive",
        }
    }

    /// Begins to tamper with an agent that is about to be suspended, or killed together with its
    /// guardian.
    pub(super) fn before_suspension(self, agent: &Agent) -> Result<Option<Tampering>> {
        match self {
            Self::StuckLease => leases(agent).map(Some),
            Self::NoFence | Self::LateGuardian | Self::Permissive => Ok(None),
        }
    }

    /// Begins to tamper with an agent that is about to be killed without its guardian.
    pub(super) fn before_death(self, agent: &Agent) -> Result<Option<Tampering>> {
        match self {
            Self::NoFence | Self::Permissive => Ok(None),
            Self::StuckLease => leases(agent).map(Some),
            Self::LateGuardian => suspend_guardian(agent).map(Some),
        }
    }
}

impl fmt::Display for Sabotage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Sabotage {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|sabotage| sabotage.name() == name) {
            Some(sabotage) => Ok(sabotage),
            None => {
                bail!("unknown sabotage {name:?}: expected one of {}", Self::ALL.map(Self::name).join(", "))
            }
        }
    }
}

/// Sabotage that has begun, to be completed once the agent is suspended or dead.
#[must_use]
pub(super) enum Tampering {
    /// The leases in these maps will be extended.
    Leases(Vec<Array<MapData, Lease>>),
    /// This guardian will be resumed after [`DELAY`].
    Guardian(OwnedFd),
}

impl Tampering {
    /// Completes the sabotage. The agent must be suspended or dead.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Self::Leases(maps) => maps.into_iter().try_for_each(extend),
            Self::Guardian(guardian) => {
                let resume = move || {
                    thread::sleep(DELAY);
                    match pidfd_send_signal(&guardian, Signal::CONT) {
                        // The guardian may have been killed in the meantime.
                        Ok(()) | Err(Errno::SRCH) => {}
                        Err(error) => eprintln!("cannot resume the guardian: {error}"),
                    }
                };
                let thread = thread::Builder::new().name("late-guardian".to_owned()).spawn(resume);
                thread.map(drop).context("starting the thread that resumes the guardian")
            }
        }
    }
}

/// Makes leases last forever, and clears fences that have already been set: on a busy machine, a
/// backup may already have taken over.
fn extend(mut leases: Array<MapData, Lease>) -> Result<()> {
    for row in 0..leases.len() {
        let mut lease = leases.get(&row, 0).with_context(|| format!("reading lease {row}"))?;
        if lease[0] != 0 {
            lease[0] = u64::MAX;
            lease[2] = 0;
            leases.set(row, lease, 0).with_context(|| format!("writing lease {row}"))?;
        }
    }
    Ok(())
}

/// Opens the lease maps that the agent's processes hold.
fn leases(agent: &Agent) -> Result<Tampering> {
    let held_by = |process| processes::bpf_objects(process, "map_id:");
    let ids: BTreeSet<u32> = agent.processes().into_iter().flat_map(held_by).collect();
    let mut maps = Vec::new();
    for id in ids {
        // The map may have been deleted since its ID was read.
        let Ok(map) = MapData::from_id(id) else { continue };
        if map.info().is_ok_and(|info| info.name_as_str() == Some(LEASES)) {
            let map = Array::try_from(Map::Array(map));
            maps.push(map.with_context(|| format!("the map {LEASES} has an unexpected layout"))?);
        }
    }
    ensure!(!maps.is_empty(), "{agent} has no BPF map {LEASES}");
    Ok(Tampering::Leases(maps))
}

fn suspend_guardian(agent: &Agent) -> Result<Tampering> {
    let guardian =
        processes::find(agent, Role::Guardian).with_context(|| format!("{agent} has no guardian"))?;
    let id = i32::try_from(guardian).ok().and_then(Pid::from_raw).context("not a process ID")?;
    let handle = pidfd_open(id, PidfdFlags::empty()).context("opening a pidfd of the guardian")?;
    pidfd_send_signal(&handle, Signal::STOP).context("suspending the guardian")?;
    processes::wait_for_suspension(guardian)?;
    Ok(Tampering::Guardian(handle))
}

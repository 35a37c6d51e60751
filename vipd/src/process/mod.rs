//! Signals, crash handlers, core dumps, users, privileges, resource limits, scheduling policies,
//! the wall clock, child processes, memory and mutexes shared with another process, the peers of
//! Unix sockets, descriptors from a service manager, and the locks that prevent a second agent with
//! the same runtime directory or on the same interface.

mod accounts;
pub(crate) mod capabilities;
pub(crate) mod child;
mod clock;
mod core_dump;
pub(crate) mod crash;
pub(crate) mod exec;
mod executable;
mod interface_claim;
mod launcher;
mod limits;
mod lock;
mod name_lock;
mod orphans;
mod output;
mod passed;
mod peer;
pub(crate) mod policy;
pub(crate) mod robust_mutex;
mod seccomp;
mod shared_memory;
mod signals;

pub(crate) use accounts::{group_id, user_ids};
pub(crate) use child::register;
pub(crate) use clock::{ClockState, STA_UNSYNC, wall_clock_offset};
pub(crate) use core_dump::prevent_core_dumps;
pub(crate) use executable::defect;
pub use interface_claim::{ClaimError, InterfaceClaim};
pub(crate) use launcher::{Privileges, launch, start_launcher};
pub use limits::raise_open_files;
pub use lock::{AgentLock, LockError, several_agents_run};
pub(crate) use lock::{
    agent_name, agent_stays, agents_here, another_agent_runs, other_agents_run, possible_agents,
};
pub(crate) use name_lock::{Holder, NameLock};
pub(crate) use orphans::reap_orphans;
pub(crate) use passed::take_passed;
pub(crate) use peer::{peer_groups, peer_process};
pub(crate) use shared_memory::SharedMemory;
pub(crate) use signals::ignore_abort;
#[cfg(test)]
pub(crate) use signals::raise;
pub use signals::{Received, SignalStream, Signals};

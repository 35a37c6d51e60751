//! Signals, users, resource limits, child processes, and the locks that prevent a second agent with
//! the same runtime directory or on the same interface.

mod accounts;
pub(crate) mod child;
pub(crate) mod exec;
mod executable;
mod interface_claim;
mod limits;
mod lock;
mod name_lock;
mod orphans;
mod output;
mod peer;
mod signals;

pub(crate) use accounts::{group_id, user_ids};
pub(crate) use child::register;
pub(crate) use executable::defect;
pub use interface_claim::{ClaimError, InterfaceClaim};
pub use limits::raise_open_files;
pub use lock::{AgentLock, LockError, several_agents_run};
pub(crate) use orphans::reap_orphans;
pub(crate) use peer::peer_groups;
#[cfg(test)]
pub(crate) use signals::raise;
pub use signals::{Received, SignalStream, Signals};

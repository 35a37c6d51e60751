//! The process as the kernel sees it: its signals, its limits, and the lock that makes it the only
//! agent of its name.

mod limits;
mod lock;
mod signals;

pub use limits::raise_open_files;
pub use lock::{AgentLock, LockError, several_agents_run};
#[cfg(test)]
pub(crate) use signals::raise;
pub use signals::{Received, SignalStream, Signals};

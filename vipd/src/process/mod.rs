//! Signals, resource limits, and the lock against a second agent with the same runtime directory.

mod limits;
mod lock;
mod signals;

pub use limits::raise_open_files;
pub use lock::{AgentLock, LockError, several_agents_run};
#[cfg(test)]
pub(crate) use signals::raise;
pub use signals::{Received, SignalStream, Signals};

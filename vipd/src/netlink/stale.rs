//! Removes stale VIPs of a killed agent.

use std::io;

use super::change::Change;
use super::message::{Address, Notice};
use super::requests::Requests;

impl Requests {
    /// Removes the addresses for which `is_stale` returns true from all interfaces, and returns
    /// them.
    ///
    /// # Errors
    /// Returns an error if a dump or a removal fails. All other removals are still carried out.
    pub fn remove_stale(&mut self, is_stale: impl Fn(&Address) -> bool) -> io::Result<Vec<Address>> {
        let mut stale = Vec::new();
        self.dump_addresses(0, |message| {
            if let Some(Notice::Address(found)) = Notice::decode(message)
                && is_stale(&found)
                && !stale.contains(&found)
            {
                stale.push(found);
            }
        })?;
        let changes: Vec<Change> = stale.iter().map(|found| Change::Remove(*found)).collect();
        let mut refused = Ok(());
        self.apply(&changes, |change, error| {
            refused = Err(io::Error::new(error.kind(), format!("cannot remove {change}: {error}")));
        })?;
        refused.map(|()| stale)
    }
}

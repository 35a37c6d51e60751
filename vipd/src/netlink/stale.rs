//! Removes stale VIPs, routes and rules of a killed agent.

use std::io;

use super::change::Change;
use super::message::{Address, Notice};
use super::requests::Requests;

impl Requests {
    /// Removes from all interfaces the addresses for which `is_stale` returns true, and returns
    /// these addresses.
    ///
    /// # Errors
    /// Returns an error if the dump fails, and then removes nothing. Also returns an error if a
    /// removal fails; all other removals are still carried out.
    pub fn remove_stale(&mut self, is_stale: impl Fn(&Address) -> bool) -> io::Result<Vec<Address>> {
        let mut stale = Vec::new();
        self.dump_addresses(0, |message| {
            if let Some(Notice::Address(found)) = Notice::decode(message)
                && !stale.contains(&found)
                && is_stale(&found)
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

    /// Sends a [prepared](super::RoutingEntry::removal_request) request and waits for the answer.
    /// Succeeds if the entry or its interface no longer exists.
    ///
    /// # Errors
    /// The error returned by the kernel.
    pub fn replay(&mut self, message: &[u8]) -> io::Result<()> {
        /// Position of the sequence number in `struct nlmsghdr`.
        const SEQUENCE: usize = 8;
        self.sequence = self.sequence.wrapping_add(1);
        self.outgoing.clear();
        self.outgoing.extend_from_slice(message);
        if let Some(sequence) = self.outgoing.get_mut(SEQUENCE..SEQUENCE + 4) {
            sequence.copy_from_slice(&self.sequence.to_ne_bytes());
        }
        self.traffic.requests += 1;
        self.socket.send(&self.outgoing, 0)?;
        match self.answers(self.sequence, |_| {}) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ESRCH | libc::ENOENT | libc::ENODEV)) => {
                Ok(())
            }
            result => result.map(drop),
        }
    }
}

//! Removes stale VIPs of a killed agent.

use std::io;
use std::net::IpAddr;

use super::change::Change;
use super::message::{Address, Notice, PROTO_VIPD};
use super::requests::Requests;

impl Requests {
    /// Removes the VIPs that have vipd's mark from all interfaces, and returns them.
    ///
    /// # Errors
    /// Returns an error if a dump or a removal fails. All other removals are still carried out.
    pub fn remove_stale(&mut self, vips: &[IpAddr]) -> io::Result<Vec<Address>> {
        let mut stale = Vec::new();
        self.dump_addresses(0, |message| {
            if let Some(Notice::Address(found)) = Notice::decode(message)
                && found.protocol == PROTO_VIPD
                && vips.contains(&found.address)
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

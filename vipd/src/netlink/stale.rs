//! Removal of stale addresses, which a killed agent has left on its interfaces.

use std::io;
use std::net::IpAddr;

use super::change::Change;
use super::message::{Address, LinkDetails, Notice, PROTO_VIPD};
use super::requests::Requests;

/// The configured VIPs of one virtual router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// Name of the router's VRRP interface.
    pub interface: String,
    /// VIPs of the router, including excluded addresses.
    pub addresses: Vec<IpAddr>,
}

impl Requests {
    /// Removes configured VIPs that have vipd's mark, and returns them.
    ///
    /// Skips the VIPs of a router whose interface has an XDP program or `is_served`, because another
    /// agent may be running there. The kernel has already detached the program of a killed agent.
    ///
    /// # Errors
    /// If a dump or a removal fails. All other removals are still carried out.
    pub fn remove_stale(
        &mut self,
        configured: &[Configured],
        is_served: impl Fn(&str) -> bool,
    ) -> io::Result<Vec<Address>> {
        let mut attached = Vec::new();
        self.dump_links(|message| {
            let link = LinkDetails::decode(message).filter(|link| link.has_xdp);
            attached.extend(link.and_then(|link| link.name));
        })?;
        let free = configured
            .iter()
            .filter(|router| !attached.contains(&router.interface) && !is_served(&router.interface));
        let ours: Vec<IpAddr> = free.flat_map(|router| router.addresses.iter().copied()).collect();
        let mut stale = Vec::new();
        self.dump(|notice| {
            if let Notice::Address(found) = notice
                && found.protocol == PROTO_VIPD
                && ours.contains(&found.address)
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

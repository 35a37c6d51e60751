//! Stale addresses: those of an agent that was killed.

use std::io;
use std::net::IpAddr;

use rtnetlink::packet_route::link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached};

use super::change::Change;
use super::message::{Address, Notice, PROTO_VIPD};
use super::requests::Requests;

/// Dumps in a row that may be interrupted by changes.
const DUMP_ATTEMPTS: usize = 8;

/// Virtual addresses of one virtual router, as its configuration has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configured {
    /// Name of the interface that its adverts use.
    pub interface: String,
    /// Its virtual addresses, excluded ones included.
    pub addresses: Vec<IpAddr>,
}

impl Requests {
    /// Removes configured virtual addresses with vipd's mark and returns them.
    ///
    /// The addresses of a router whose interface has an XDP program are left alone: another agent may be alive there.
    /// That of a dead agent is gone with its process.
    ///
    /// # Errors
    /// When the kernel refuses a dump or one of the removals; the others are made all the same.
    pub fn remove_stale(&mut self, configured: &[Configured]) -> io::Result<Vec<Address>> {
        let links = self.links()?;
        let attached: Vec<&str> = links.iter().filter(|link| has_xdp(link)).filter_map(name).collect();
        let free = configured.iter().filter(|router| !attached.contains(&router.interface.as_str()));
        let ours: Vec<IpAddr> = free.flat_map(|router| router.addresses.iter().copied()).collect();
        let stale = self.marked(&ours)?;
        let changes: Vec<Change> = stale.iter().map(|found| Change::Remove(*found)).collect();
        let mut refused = Ok(());
        self.apply(&changes, |change, error| {
            refused = Err(io::Error::new(error.kind(), format!("{change}: {error}")));
        })?;
        refused.map(|()| stale)
    }

    /// Those of the addresses that are there with vipd's mark.
    fn marked(&mut self, wanted: &[IpAddr]) -> io::Result<Vec<Address>> {
        let mut attempts = 0;
        loop {
            let mut marked = Vec::new();
            let dumped = self.dump(|notice| {
                if let Notice::Address(found) = notice
                    && found.protocol == PROTO_VIPD
                    && wanted.contains(&found.address)
                {
                    marked.push(found);
                }
            });
            attempts += 1;
            match dumped {
                Ok(()) => return Ok(marked),
                Err(error) if error.kind() == io::ErrorKind::Interrupted && attempts < DUMP_ATTEMPTS => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn name(link: &LinkMessage) -> Option<&str> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    })
}

/// Whether IFLA_XDP_ATTACHED names a mode.
fn has_xdp(link: &LinkMessage) -> bool {
    link.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::Xdp(all) => {
            all.iter().any(|xdp| matches!(xdp, LinkXdp::Attached(mode) if *mode != XdpAttached::None))
        }
        _ => false,
    })
}

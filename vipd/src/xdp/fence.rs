//! Attachments of the fence: the programs that drop packets to and from VIPs at TC.
//!
//! The program that receives adverts also drops packets to VIPs, so an interface with virtual
//! routers needs the fence only at egress.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::{AsFd as _, OwnedFd};

use super::pin::{PinName, Pins};
use super::program::{Entry, Programs};
use super::syscall;

/// How far this host is kept from using the VIPs of a dead or stopped master, from the least to the
/// most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fence {
    /// Not at all: configured, or no program could be attached.
    Off,
    /// Packets to and from the VIPs are dropped as long as a process of vipd is alive, for example
    /// one that is stopped.
    Process,
    /// Packets to the VIPs are dropped whatever happens to vipd, but packets from the VIPs are not.
    Ingress,
    /// Packets to and from the VIPs are dropped whatever happens to vipd.
    Full,
}

impl Fence {
    /// Returns the name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Process => "process",
            Self::Ingress => "ingress",
            Self::Full => "full",
        }
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A hook at which packets are filtered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hook {
    Ingress,
    Egress,
}

impl Hook {
    /// Returns the program, and the attach type and flags of `BPF_LINK_CREATE`. At ingress, the
    /// program runs before those already attached, because they may redirect packets; at egress, it
    /// runs after them, because they may change the source address.
    const fn attachment(self) -> (Entry, u32, u32) {
        match self {
            Self::Ingress => (Entry::FenceIngress, syscall::BPF_TCX_INGRESS, syscall::BPF_F_BEFORE),
            Self::Egress => (Entry::FenceEgress, syscall::BPF_TCX_EGRESS, syscall::BPF_F_AFTER),
        }
    }

    const fn pin_name(self, ifindex: u32) -> PinName {
        match self {
            Self::Ingress => (ifindex, "ingress"),
            Self::Egress => (ifindex, "egress"),
        }
    }
}

/// The attachments of the fence, by interface index and hook.
#[derive(Debug, Default)]
pub(super) struct FenceLinks(BTreeMap<(u32, Hook), (OwnedFd, bool)>);

impl FenceLinks {
    /// Attaches the program of a hook, or keeps it if it is attached. Returns whether it is
    /// attached, and whether the attachment outlives the process.
    pub(super) fn ensure(
        &mut self,
        programs: &mut Programs<'_>,
        pins: &mut Pins,
        ifindex: u32,
        hook: Hook,
    ) -> Result<bool, String> {
        let is_attached =
            |link: &OwnedFd| syscall::link_info(link.as_fd()).is_ok_and(|info| info.ifindex == ifindex);
        if let Some((_, is_pinned)) = self.0.get(&(ifindex, hook)).filter(|(link, _)| is_attached(link)) {
            return Ok(*is_pinned);
        }
        let (entry, attach_type, flags) = hook.attachment();
        let program = programs.load(entry).map_err(|error| super::error::rejection(entry.name(), &error))?;
        let inherited = pins.take(hook.pin_name(ifindex));
        let replaced = inherited.filter(|link| syscall::update_link(link.as_fd(), program).is_ok());
        let link = match replaced {
            Some(link) => link,
            None => syscall::create_link(program, ifindex, attach_type, flags)
                .map_err(|error| super::error::errno_name(&error))?,
        };
        let is_pinned = pins.pin(hook.pin_name(ifindex), link.as_fd());
        self.0.insert((ifindex, hook), (link, is_pinned));
        Ok(is_pinned)
    }

    /// Detaches the program of a hook, if it is attached.
    pub(super) fn detach(&mut self, pins: &Pins, ifindex: u32, hook: Hook) {
        if let Some((link, _)) = self.0.remove(&(ifindex, hook)) {
            // Detaching fails only for a link that is already detached.
            let _ = syscall::detach_link(link.as_fd());
            pins.unpin(hook.pin_name(ifindex));
        }
    }

    /// Detaches all programs.
    pub(super) fn detach_all(&mut self, pins: &Pins) {
        for (ifindex, hook) in self.0.keys().copied().collect::<Vec<_>>() {
            self.detach(pins, ifindex, hook);
        }
    }
}

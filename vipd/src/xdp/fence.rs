//! Attachments of the fence: the programs that drop packets to and from fenced VIPs at TC.
//!
//! The program that receives adverts also drops packets to fenced VIPs, so an interface with
//! virtual routers needs the fence only at egress.
//!
//! Kernels before Linux 6.6 have no links at TC (TCX). On these kernels, each program is attached
//! as a filter of the clsact queueing discipline (tc-bpf(8)), which outlives the process without a
//! pin.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use aya::programs::tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcAttachType};
use aya::programs::{ProgramError, SchedClassifier};
use serde::{Deserialize, Serialize};

use super::error::{errno_name, rejection};
use super::pin::{PinName, Pins};
use super::program::{Entry, Programs};
use super::syscall;

/// The extent to which this host drops packets to and from the agent's VIPs while the agent is dead
/// or stopped, in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FenceLevel {
    /// Packets to the VIPs are not dropped: `fence = "off"`, or the program that drops them cannot
    /// be attached.
    Off,
    /// Packets to the VIPs, and possibly packets from them, are dropped. In at least one direction,
    /// they are dropped only as long as the agent's process exists, for example while the process
    /// is stopped.
    Process,
    /// Packets to the VIPs are dropped even if all processes of vipd have ended. Packets from the
    /// VIPs are not dropped.
    Ingress,
    /// Packets to and from the VIPs are dropped even if all processes of vipd have ended.
    Full,
}

impl FenceLevel {
    /// Returns whether the fence outlives the agent's process in each direction in which packets
    /// are dropped. False for [`Off`](Self::Off), and for [`Process`](Self::Process) even if
    /// packets to the VIPs continue to be dropped.
    pub fn is_permanent(self) -> bool {
        matches!(self, Self::Ingress | Self::Full)
    }

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

impl fmt::Display for FenceLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A TC hook of the fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Hook {
    /// TC ingress, where packets to VIPs are dropped.
    Ingress,
    /// TC egress, where packets from VIPs are dropped.
    Egress,
}

/// An attachment of the fence to an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FenceInfo {
    /// Interface index.
    pub ifindex: u32,
    /// The TC hook to which the program is attached.
    pub hook: Hook,
    /// Whether the attachment outlives the process.
    pub is_pinned: bool,
}

impl Hook {
    /// Returns the program, and the attach type and flags for `BPF_LINK_CREATE`. At ingress, the
    /// program runs before programs that are already attached, because these may redirect packets.
    /// At egress, it runs after them, because they may change the source address.
    const fn attachment(self) -> (Entry, u32, u32) {
        match self {
            Self::Ingress => (Entry::FenceIngress, syscall::BPF_TCX_INGRESS, syscall::BPF_F_BEFORE),
            Self::Egress => (Entry::FenceEgress, syscall::BPF_TCX_EGRESS, syscall::BPF_F_AFTER),
        }
    }

    const fn filter(self) -> TcAttachType {
        match self {
            Self::Ingress => TcAttachType::Ingress,
            Self::Egress => TcAttachType::Egress,
        }
    }

    const fn pin_name(self, ifindex: u32) -> PinName {
        match self {
            Self::Ingress => (ifindex, "ingress"),
            Self::Egress => (ifindex, "egress"),
        }
    }
}

/// An attached program.
#[derive(Debug)]
enum Attachment {
    /// A BPF link.
    Link { link: OwnedFd, is_pinned: bool },
    /// A filter. Dropping `link` removes the filter; `None` if another process added the filter, or
    /// the filter has been left to a successor.
    Filter { link: Option<SchedClassifierLink> },
}

impl Attachment {
    /// Returns whether the attachment outlives the process.
    fn is_permanent(&self) -> bool {
        match self {
            Self::Link { is_pinned, .. } => *is_pinned,
            Self::Filter { .. } => true,
        }
    }

    fn is_attached(&self, ifindex: u32) -> bool {
        match self {
            Self::Link { link, .. } => {
                syscall::link_info(link.as_fd()).is_ok_and(|info| info.ifindex == ifindex)
            }
            Self::Filter { .. } => true,
        }
    }
}

/// The attachments of the fence, by interface index and hook.
#[derive(Debug, Default)]
pub(super) struct FenceLinks(BTreeMap<(u32, Hook), Known>);

#[derive(Debug)]
struct Known {
    attachment: Attachment,
    /// Whether the attachment belongs to another process: a predecessor, which may continue to use
    /// it, or a successor.
    is_borrowed: bool,
}

impl FenceLinks {
    /// Attaches the program for a hook unless it is already attached. Returns whether the
    /// attachment outlives the process.
    pub(super) fn ensure(
        &mut self,
        programs: &mut Programs<'_>,
        pins: &mut Pins,
        ifindex: u32,
        interface: &str,
        hook: Hook,
    ) -> Result<bool, String> {
        if let Some(Known { attachment, is_borrowed }) = self.0.get(&(ifindex, hook))
            && (*is_borrowed || attachment.is_attached(ifindex))
        {
            return Ok(attachment.is_permanent());
        }
        let (entry, attach_type, flags) = hook.attachment();
        let program = programs.load(entry).map_err(|error| rejection(entry.name(), &error))?;
        let inherited = pins.take(hook.pin_name(ifindex));
        let replaced = inherited.filter(|link| syscall::update_link(link.as_fd(), program).is_ok());
        let created = match replaced {
            Some(link) => Ok(link),
            None => syscall::create_link(program, ifindex, attach_type, flags),
        };
        let attachment = match created {
            Ok(link) => {
                let is_pinned = pins.pin(hook.pin_name(ifindex), link.as_fd());
                Attachment::Link { link, is_pinned }
            }
            // Kernels before 6.6 return `EINVAL`, because they lack TCX.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                Attachment::Filter { link: Some(attach_filter(programs, interface, hook)?) }
            }
            Err(error) => return Err(errno_name(&error)),
        };
        let is_permanent = attachment.is_permanent();
        self.0.insert((ifindex, hook), Known { attachment, is_borrowed: false });
        Ok(is_permanent)
    }

    /// Adds an attachment of a predecessor, and loads the program that will replace the
    /// predecessor's. `link` is `None` for a filter. Until [`take_over`](Self::take_over), the
    /// attachment is not changed.
    pub(super) fn borrow(
        &mut self,
        programs: &mut Programs<'_>,
        info: FenceInfo,
        link: Option<OwnedFd>,
    ) -> Result<(), ProgramError> {
        let FenceInfo { ifindex, hook, is_pinned } = info;
        programs.load(hook.attachment().0)?;
        let attachment = match link {
            Some(link) => Attachment::Link { link, is_pinned },
            None => Attachment::Filter { link: None },
        };
        self.0.insert((ifindex, hook), Known { attachment, is_borrowed: true });
        Ok(())
    }

    /// Replaces the programs of a predecessor. Returns the interface index of each link that keeps
    /// the predecessor's program, with the reason. The next [`ensure`](Self::ensure) replaces the
    /// predecessor's filters.
    pub(super) fn take_over(&mut self, programs: &mut Programs<'_>, pins: &mut Pins) -> Vec<(u32, String)> {
        let mut failed = Vec::new();
        self.0.retain(|_, known| !matches!(known.attachment, Attachment::Filter { link: None }));
        for ((ifindex, hook), Known { attachment, is_borrowed }) in &mut self.0 {
            if let (true, Attachment::Link { link, .. }) = (std::mem::take(is_borrowed), attachment) {
                // Closes the descriptor opened through the pin, which refers to the same link.
                drop(pins.take(hook.pin_name(*ifindex)));
                let (entry, ..) = hook.attachment();
                let program = programs.load(entry).map_err(|error| error.to_string());
                let replaced = program.and_then(|program| {
                    syscall::update_link(link.as_fd(), program).map_err(|error| errno_name(&error))
                });
                failed.extend(replaced.err().map(|reason| (*ifindex, reason)));
            }
        }
        failed
    }

    /// Leaves all attachments to a successor.
    pub(super) fn hand_over(&mut self) {
        for Known { attachment, is_borrowed } in self.0.values_mut() {
            *is_borrowed = true;
            if let Attachment::Filter { link } = attachment {
                // Dropping the link would remove the successor's filter, which has the same handle.
                #[expect(clippy::disallowed_methods, reason = "the successor removes the filter")]
                std::mem::forget(link.take());
            }
        }
    }

    /// Returns all attachments, each with a duplicate of its link's descriptor; `None` for a
    /// filter.
    pub(super) fn links(&self) -> io::Result<Vec<(FenceInfo, Option<OwnedFd>)>> {
        let link = |((ifindex, hook), known): (&(u32, Hook), &Known)| {
            let is_pinned = known.attachment.is_permanent();
            let info = FenceInfo { ifindex: *ifindex, hook: *hook, is_pinned };
            Ok(match &known.attachment {
                Attachment::Link { link, .. } => (info, Some(link.try_clone()?)),
                Attachment::Filter { .. } => (info, None),
            })
        };
        self.0.iter().map(link).collect()
    }

    /// Returns whether another program runs before the fence at TC egress. Such a program may send
    /// a packet without running the fence (`TC_ACT_OK`). Returns false if the fence is a filter,
    /// whose position is not checked, or if a query fails. Takes the rtnl lock.
    pub(super) fn is_behind_at_egress(&self, ifindex: u32) -> bool {
        let Some(Known { attachment: Attachment::Link { link, .. }, .. }) =
            self.0.get(&(ifindex, Hook::Egress))
        else {
            return false;
        };
        let Ok(info) = syscall::link_info(link.as_fd()) else { return false };
        syscall::first_link(ifindex, syscall::BPF_TCX_EGRESS).is_ok_and(|first| first != info.id)
    }

    /// Detaches the program for a hook. Does nothing if the program is not attached. An attachment
    /// that belongs to another process is removed from `self`, but not detached.
    pub(super) fn detach(&mut self, pins: &Pins, ifindex: u32, hook: Hook) {
        let attached = self.0.remove(&(ifindex, hook)).filter(|known| !known.is_borrowed);
        if let Some(Known { attachment: Attachment::Link { link, .. }, .. }) = attached {
            // Succeeds even if the link is already detached.
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

/// Adds the program for a hook as a filter, replacing a stale filter or a predecessor's filter.
fn attach_filter(
    programs: &mut Programs<'_>,
    interface: &str,
    hook: Hook,
) -> Result<SchedClassifierLink, String> {
    let (entry, ..) = hook.attachment();
    // The error is ignored: either the interface already has the queueing discipline, or adding the
    // filter will also fail.
    let _ = tc::qdisc_add_clsact(interface);
    remove_filters(interface, hook);
    let options = TcAttachOptions::Netlink(NlOptions::default());
    let attach = |program: &mut SchedClassifier| {
        let link = program.attach_with_options(interface, hook.filter(), options)?;
        program.take_link(link)
    };
    let attached = programs.classifier(entry).and_then(attach);
    attached.map_err(|error| format!("cannot add a clsact filter: {}", rejection(entry.name(), &error)))
}

/// Removes the filters at a hook that have the name of the hook's program. Returns whether at least
/// one was found and all were removed.
fn remove_filters(interface: &str, hook: Hook) -> bool {
    tc::qdisc_detach_program(interface, hook.filter(), hook.attachment().0.name()).is_ok()
}

/// Removes the stale filters on an interface. Returns whether any were removed. Filters are used
/// only on kernels without TCX.
pub fn remove_stale_filters(interface: &str) -> bool {
    [Hook::Ingress, Hook::Egress].map(|hook| remove_filters(interface, hook)).contains(&true)
}

#[cfg(test)]
mod tests {
    use anyhow::Result;
    use aya::EbpfLoader;
    use vipd_tests::lab::Lab;
    use vipd_tests::station::{INTERFACE, Station};

    use super::*;
    use crate::xdp::OBJECT;

    #[test]
    #[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_BPF and CAP_PERFMON"]
    fn filters_replace_a_dead_agents_filters() -> Result<()> {
        let lab = Lab::new(1)?;
        lab.host(Station::Node(1))?.run(|| {
            let mut ebpf = EbpfLoader::new().load(OBJECT)?;
            for hook in [Hook::Ingress, Hook::Egress] {
                let programs = &mut Programs::unlabelled(&mut ebpf);
                programs.load(hook.attachment().0)?;
                let attach = |programs: &mut Programs<'_>| {
                    attach_filter(programs, INTERFACE, hook).map_err(anyhow::Error::msg)
                };
                assert!(!remove_filters(INTERFACE, hook));
                #[expect(clippy::disallowed_methods, reason = "the filter must remain, as after SIGKILL")]
                std::mem::forget(attach(programs)?);
                let attached = attach(programs)?;
                assert!(remove_filters(INTERFACE, hook), "the filter is attached");
                assert!(!remove_filters(INTERFACE, hook), "only one filter is attached");
                drop(attached);
                drop(attach(programs)?);
                assert!(!remove_stale_filters(INTERFACE));
            }
            Ok(())
        })
    }
}

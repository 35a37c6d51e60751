//! Attachments of the program to interfaces.
//!
//! Each is a BPF link. [`Attachments::ensure`] is idempotent: a link that is attached in the wanted
//! mode, or was created for the same preference, is kept. Its program is replaced in place
//! (`BPF_LINK_UPDATE`), so that adverts are received throughout. Only a change of mode needs a new
//! link, because the kernel does not allow a native and a generic program on one interface at the same
//! time.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use super::driver;
use super::error::{AttachError, errno_name};
use super::extack;
use super::mode::{Candidate, Framing, Preference, Selection};
use super::syscall;

/// Where in the kernel the program runs on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// In the driver, before the kernel allocates a packet buffer.
    Native,
    /// In the kernel's generic hook, after the kernel has allocated a packet buffer.
    Generic,
}

impl Mode {
    fn flags(self) -> u32 {
        match self {
            Self::Native => syscall::XDP_FLAGS_DRV_MODE,
            Self::Generic => syscall::XDP_FLAGS_SKB_MODE,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Native => "native",
            Self::Generic => "generic",
        })
    }
}

/// Result of [`Kernel::attach`](super::Kernel::attach).
#[derive(Clone, Debug)]
pub struct Attached {
    /// Mode of the attachment.
    pub mode: Mode,
    /// Why this mode was chosen, for the log. `None` if the attachment existed and was kept.
    pub reason: Option<String>,
    /// Checks whether the program is still attached.
    pub probe: LinkProbe,
}

/// Queries the kernel whether a program is still attached. Cheap to clone, and usable from any thread.
///
/// A probe does not keep the program attached: [`Kernel::detach`](super::Kernel::detach) detaches the
/// link even if probes exist, and the kernel closes all descriptors when the process ends.
#[derive(Clone, Debug)]
pub struct LinkProbe(Arc<OwnedFd>);

impl LinkProbe {
    /// Returns whether the program is still attached. Returns false after `BPF_LINK_DETACH`
    /// (`bpftool link detach`) and after the interface was deleted, and true if the query fails.
    ///
    /// Makes one system call and does not allocate. The kernel takes the rtnl lock, so the call blocks
    /// while another process reconfigures an interface.
    pub fn is_attached(&self) -> bool {
        syscall::link_ifindex(self.0.as_fd()).map_or(true, |ifindex| ifindex != 0)
    }
}

/// The programs that can be attached.
#[derive(Clone, Copy)]
pub(super) struct Programs<'a> {
    pub(super) linear: BorrowedFd<'a>,
    pub(super) frags: BorrowedFd<'a>,
}

impl<'a> Programs<'a> {
    /// Creates the set that contains only the program for interfaces without a link-layer header.
    pub(super) fn bare(program: BorrowedFd<'a>) -> Self {
        Self { linear: program, frags: program }
    }

    fn get(self, frags: bool) -> BorrowedFd<'a> {
        if frags { self.frags } else { self.linear }
    }
}

#[derive(Debug)]
struct Attachment {
    link: LinkProbe,
    /// The preference for which it was created or kept. With `Native`, a driver that has refused native
    /// mode is not tried again.
    preference: Preference,
    mode: Mode,
    frags: bool,
}

/// The attachments, by interface index.
#[derive(Debug, Default)]
pub(super) struct Attachments(BTreeMap<u32, Attachment>);

impl Attachments {
    /// Attaches to an interface, or keeps the existing attachment.
    pub(super) fn ensure(
        &mut self,
        programs: Programs<'_>,
        ifindex: u32,
        interface: &str,
        preference: Preference,
        framing: Framing,
    ) -> Result<Attached, AttachError> {
        let selection = Selection::new(preference, framing, driver::find(interface).as_ref());
        let wanted = selection.candidates[0];
        if let Some(present) = self.attached(ifindex) {
            if present.mode == wanted.mode
                || preference == present.preference
                || preference == Preference::Auto
            {
                present.preference = preference;
                // The first attempt may have been refused because of an MTU that has changed since.
                if present.mode == wanted.mode
                    && present.frags != wanted.frags
                    && syscall::update_link(present.link.0.as_fd(), programs.get(wanted.frags)).is_ok()
                {
                    present.frags = wanted.frags;
                }
                let Attachment { link, mode, .. } = &*present;
                return Ok(Attached { mode: *mode, reason: None, probe: link.clone() });
            }
            self.detach(ifindex);
        }
        self.0.remove(&ifindex);
        self.create(programs, ifindex, interface, &selection)
    }

    /// Creates a link for the first candidate that the kernel accepts.
    fn create(
        &mut self,
        programs: Programs<'_>,
        ifindex: u32,
        interface: &str,
        selection: &Selection,
    ) -> Result<Attached, AttachError> {
        let mut reason = selection.reason.clone();
        let preference = selection.preference;
        for (position, candidate) in selection.candidates.iter().enumerate() {
            let Candidate { mode, frags } = *candidate;
            let error = match syscall::create_link(programs.get(frags), ifindex, mode.flags()) {
                Ok(link) => {
                    let probe = LinkProbe(Arc::new(link));
                    self.0.insert(ifindex, Attachment { link: probe.clone(), preference, mode, frags });
                    return Ok(Attached { mode, reason: Some(reason), probe });
                }
                Err(error) => error,
            };
            // `EINVAL` for an interface that does not exist (`bpf_xdp_link_attach`).
            if !driver::exists(ifindex) {
                return Err(AttachError::NoDevice { interface: interface.to_owned() });
            }
            if let Some(fatal) = AttachError::fatal(interface, &error) {
                return Err(fatal);
            }
            // Determined before a program is attached in the other mode, because that attachment
            // would itself be a reason for refusal.
            if selection.candidates.get(position + 1).is_none_or(|next| next.mode != mode) {
                let detail = describe(programs, ifindex, *candidate, &error);
                reason = format!("{reason}; {mode} mode refused: {detail}");
            }
        }
        let interface = interface.to_owned();
        Err(AttachError::Refused { interface, preference, reason })
    }

    fn attached(&mut self, ifindex: u32) -> Option<&mut Attachment> {
        self.0.get_mut(&ifindex).filter(|attachment| attachment.link.is_attached())
    }

    pub(super) fn get(&self, ifindex: u32) -> Option<(Mode, LinkProbe)> {
        self.0.get(&ifindex).map(|attachment| (attachment.mode, attachment.link.clone()))
    }

    pub(super) fn detach(&mut self, ifindex: u32) {
        if let Some(attachment) = self.0.remove(&ifindex) {
            // Detaching fails only for a link that is already detached.
            let _ = syscall::detach_link(attachment.link.0.as_fd());
        }
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        for attachment in self.0.values() {
            let _ = syscall::detach_link(attachment.link.0.as_fd());
        }
    }
}

/// Describes a refusal: the errno by name, and the kernel's extended ack.
fn describe(programs: Programs<'_>, ifindex: u32, refused: Candidate, error: &io::Error) -> String {
    let errno = errno_name(error);
    match extack::reason(programs.get(refused.frags), ifindex, refused.mode.flags()) {
        Some(text) => format!("{errno}: {text}"),
        None => errno,
    }
}

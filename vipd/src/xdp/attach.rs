//! Attachments of the program to interfaces.
//!
//! Each attachment is a BPF link. [`Attachments::ensure`] is idempotent. It keeps a link that is in
//! the wanted mode or was last requested with the same preference; with `Auto`, it keeps any link.
//! If only the program differs, the program is replaced in place (`BPF_LINK_UPDATE`), and
//! no advert is missed. A new link is created only if there is no link, if the present link was
//! detached, if the mode changes, or if another program runs before this one. With
//! [pins](super::pin), links outlive the process. A stale link of a dead agent is reused if it has
//! the preferred mode, its program runs first and the kernel accepts the new program; otherwise it
//! is detached.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use aya::programs::ProgramError;

use super::error::{AttachError, errno, errno_name, rejection};
use super::extack;
use super::inherited::AttachmentInfo;
use super::mode::{Candidate, Framing, Mode, Preference, Selection};
use super::pin::Pins;
use super::program::{Entry, Programs};
use super::syscall;
use super::{device, driver};

/// The names of all modes, which serve as hook names in the names of pins.
const MODES: [&str; 3] = [Mode::Native.as_str(), Mode::Tc.as_str(), Mode::Generic.as_str()];

impl Mode {
    /// Returns the attach type and flags for `BPF_LINK_CREATE`.
    fn hook(self) -> (u32, u32) {
        match self {
            Self::Native => (syscall::BPF_XDP, syscall::XDP_FLAGS_DRV_MODE),
            // Runs before programs that are already attached, because these may drop or redirect
            // adverts.
            Self::Tc => (syscall::BPF_TCX_INGRESS, syscall::BPF_F_BEFORE),
            Self::Generic => (syscall::BPF_XDP, syscall::XDP_FLAGS_SKB_MODE),
        }
    }
}

/// Result of [`Kernel::attach`](super::Kernel::attach).
#[derive(Clone, Debug)]
pub struct Attached {
    /// Mode of the attachment.
    pub mode: Mode,
    /// The reason for choosing this mode, for the log. `None` if an existing attachment was kept.
    pub reason: Option<String>,
    /// Queries the program's position at its hook.
    pub probe: LinkProbe,
    /// Whether the attachment outlives the process.
    pub is_pinned: bool,
}

/// The position of a program among those at its hook, as found by a [`LinkProbe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Position {
    /// The program is attached and is the first to run at its hook.
    First,
    /// Another program, which may drop or redirect adverts, runs first at TC ingress.
    Behind,
    /// The program is no longer attached.
    Detached,
}

/// Queries the kernel for the position of a program. Cheap to clone, and usable from any thread.
///
/// A probe does not keep the program attached: [`Kernel::detach`](super::Kernel::detach) detaches
/// the link even if probes exist, and the kernel closes all descriptors when the process ends.
#[derive(Clone, Debug)]
pub struct LinkProbe {
    link: Arc<OwnedFd>,
    mode: Mode,
}

impl LinkProbe {
    /// Returns the program's position. It is [`Position::Detached`] after `BPF_LINK_DETACH`
    /// (`bpftool link detach`) and after the interface was deleted, and [`Position::First`] if a
    /// query fails.
    ///
    /// Makes one system call, or two at TC ingress, and does not allocate. The kernel takes the
    /// rtnl lock, so the calls block while another process reconfigures an interface.
    pub fn position(&self) -> Position {
        let Ok(info) = syscall::link_info(self.link.as_fd()) else { return Position::First };
        if info.ifindex == 0 {
            return Position::Detached;
        }
        let (hook, _) = self.mode.hook();
        // An interface has at most one XDP program, so only TC ingress must be queried.
        match (self.mode == Mode::Tc).then(|| syscall::first_link(info.ifindex, hook)) {
            Some(Ok(first)) if first != info.id => Position::Behind,
            _ => Position::First,
        }
    }

    /// Returns the ID of the BPF link, as `bpftool link` prints it, or `None` if the query fails.
    pub fn id(&self) -> Option<u32> {
        syscall::link_info(self.link.as_fd()).ok().map(|info| info.id)
    }
}

#[derive(Debug)]
struct Attachment {
    link: LinkProbe,
    /// The preference for which the link was last created or kept. A repeated `Native` preference
    /// does not retry native mode on a driver that has refused it.
    preference: Preference,
    mode: Mode,
    entry: Entry,
    is_pinned: bool,
    /// Whether the link belongs to a predecessor, which may continue to use it, or to a successor.
    is_borrowed: bool,
}

/// The attachments, by interface index.
#[derive(Debug)]
pub(super) struct Attachments {
    links: BTreeMap<u32, Attachment>,
    pub(super) pins: Pins,
}

impl Attachments {
    pub(super) fn new(pins: Pins) -> Self {
        Self { links: BTreeMap::new(), pins }
    }

    /// Attaches to an interface, or keeps the existing attachment.
    pub(super) fn ensure(
        &mut self,
        programs: &mut Programs<'_>,
        ifindex: u32,
        interface: &str,
        preference: Preference,
        framing: Framing,
    ) -> Result<Attached, AttachError> {
        if let Some(borrowed) = self.links.get(&ifindex).filter(|attachment| attachment.is_borrowed) {
            let Attachment { link, mode, is_pinned, .. } = borrowed;
            return Ok(Attached { mode: *mode, reason: None, probe: link.clone(), is_pinned: *is_pinned });
        }
        let selection = Selection::new(preference, framing, driver::find(interface).as_ref());
        let wanted = selection.candidates[0];
        if let Some(present) = self.attached(ifindex)
            && (present.mode == wanted.mode
                || preference == present.preference
                || preference == Preference::Auto)
        {
            present.preference = preference;
            // The driver may have refused this program because of the MTU, which may have changed
            // since.
            if present.mode == wanted.mode
                && present.entry != wanted.entry
                && replace(programs, &present.link, wanted.entry)
            {
                present.entry = wanted.entry;
            }
            let Attachment { link, mode, is_pinned, .. } = &*present;
            return Ok(Attached { mode: *mode, reason: None, probe: link.clone(), is_pinned: *is_pinned });
        }
        self.detach(ifindex);
        self.create(programs, ifindex, interface, &selection)
    }

    /// Reuses a dead agent's link, or creates a link for the first candidate that the kernel
    /// accepts.
    fn create(
        &mut self,
        programs: &mut Programs<'_>,
        ifindex: u32,
        interface: &str,
        selection: &Selection,
    ) -> Result<Attached, AttachError> {
        let mut reason = selection.reason.clone();
        let preference = selection.preference;
        if let Some((link, candidate)) = self.inherit(programs, ifindex, selection) {
            let reason = format!("{reason}; replaces the program of a previous run");
            return Ok(self.insert(ifindex, link, preference, candidate, reason));
        }
        let mut refused = None;
        for (position, candidate) in selection.candidates.iter().enumerate() {
            let Candidate { mode, .. } = *candidate;
            let error = match attach(programs, ifindex, *candidate) {
                Ok(link) => return Ok(self.insert(ifindex, link, preference, *candidate, reason)),
                Err(error) => error,
            };
            // The errno is ambiguous: for a missing interface, `bpf_xdp_link_attach` returns
            // `EINVAL`.
            if !device::exists(ifindex) {
                return Err(AttachError::NoDevice { interface: interface.to_owned() });
            }
            if let Some(fatal) = AttachError::fatal(interface, &error) {
                return Err(fatal);
            }
            // Describes the refusal of a mode after its last candidate, and before the next mode is
            // tried. If a program had already been attached in the other XDP mode, the kernel would
            // report that attachment as the reason.
            if selection.candidates.get(position + 1).is_none_or(|next| next.mode != mode) {
                let detail = describe(programs, ifindex, *candidate, &error);
                reason = format!("{reason}; {mode} mode refused: {detail}");
            }
            refused = Some(error);
        }
        let interface = interface.to_owned();
        Err(match refused.as_ref().and_then(Refusal::errno) {
            Some(libc::EBUSY | libc::EEXIST) => AttachError::Busy { interface },
            _ => AttachError::Refused { interface, preference, reason },
        })
    }

    fn insert(
        &mut self,
        ifindex: u32,
        link: OwnedFd,
        preference: Preference,
        candidate: Candidate,
        reason: String,
    ) -> Attached {
        let Candidate { mode, entry } = candidate;
        let is_pinned = self.pins.pin((ifindex, mode.as_str()), link.as_fd());
        let link = LinkProbe { link: Arc::new(link), mode };
        let attached = Attached { mode, reason: Some(reason), probe: link.clone(), is_pinned };
        let new = Attachment { link, preference, mode, entry, is_pinned, is_borrowed: false };
        self.links.insert(ifindex, new);
        attached
    }

    /// If a dead agent's link to an interface is in the wanted mode and its program runs first,
    /// replaces the program and returns the link; detaches the link and returns `None` if the
    /// program cannot be replaced. Detaches all other links of that agent to the interface, except
    /// the fence's links.
    fn inherit(
        &mut self,
        programs: &mut Programs<'_>,
        ifindex: u32,
        selection: &Selection,
    ) -> Option<(OwnedFd, Candidate)> {
        let wanted = selection.candidates[0].mode;
        let link = self.pins.take((ifindex, wanted.as_str()));
        self.pins.detach_inherited(|other, hook| other == ifindex && MODES.contains(&hook));
        let probe = LinkProbe { link: Arc::new(link?), mode: wanted };
        let mut candidates = selection.candidates.iter().filter(|candidate| candidate.mode == wanted);
        let replaced = (probe.position() == Position::First)
            .then(|| candidates.find(|candidate| replace(programs, &probe, candidate.entry)))
            .flatten()
            .copied();
        if replaced.is_none() {
            let _ = syscall::detach_link(probe.link.as_fd());
            self.pins.unpin((ifindex, wanted.as_str()));
        }
        Some((Arc::into_inner(probe.link)?, replaced?))
    }

    /// Returns the attachment to an interface if the kernel has not removed it and no other program
    /// runs before it. Otherwise, [`ensure`](Self::ensure) creates a new attachment that runs
    /// first.
    fn attached(&mut self, ifindex: u32) -> Option<&mut Attachment> {
        self.links.get_mut(&ifindex).filter(|attachment| attachment.link.position() == Position::First)
    }

    /// Adds an attachment of a predecessor, and loads the program that will replace the
    /// predecessor's. Until [`take_over`](Self::take_over), the attachment is not changed.
    pub(super) fn borrow(
        &mut self,
        programs: &mut Programs<'_>,
        info: AttachmentInfo,
        link: OwnedFd,
    ) -> Result<(), ProgramError> {
        let AttachmentInfo { ifindex, mode, entry, preference, is_pinned } = info;
        programs.load(entry)?;
        let link = LinkProbe { link: Arc::new(link), mode };
        let borrowed = Attachment { link, preference, mode, entry, is_pinned, is_borrowed: true };
        self.links.insert(ifindex, borrowed);
        Ok(())
    }

    /// Replaces the programs of a predecessor. Returns the interface index of each link that keeps
    /// the predecessor's program, with the reason.
    pub(super) fn take_over(&mut self, programs: &mut Programs<'_>) -> Vec<(u32, String)> {
        let mut failed = Vec::new();
        for (ifindex, attachment) in &mut self.links {
            if std::mem::take(&mut attachment.is_borrowed) {
                // Closes the descriptor opened through the pin, which refers to the same link.
                drop(self.pins.take((*ifindex, attachment.mode.as_str())));
                let program = programs.load(attachment.entry).map_err(|error| error.to_string());
                let replaced = program.and_then(|program| {
                    let link = attachment.link.link.as_fd();
                    syscall::update_link(link, program).map_err(|error| errno_name(&error))
                });
                failed.extend(replaced.err().map(|reason| (*ifindex, reason)));
            }
        }
        failed
    }

    /// Leaves all links and pins to a successor. They are no longer changed by this process.
    pub(super) fn hand_over(&mut self) {
        for attachment in self.links.values_mut() {
            attachment.is_borrowed = true;
        }
        self.pins.abandon();
    }

    /// Returns duplicates of the descriptors of all links.
    pub(super) fn links(&self) -> io::Result<Vec<(AttachmentInfo, OwnedFd)>> {
        let link = |(ifindex, attachment): (&u32, &Attachment)| {
            let Attachment { link, preference, mode, entry, is_pinned, .. } = attachment;
            let (ifindex, mode, entry, preference) = (*ifindex, *mode, *entry, *preference);
            let info = AttachmentInfo { ifindex, mode, entry, preference, is_pinned: *is_pinned };
            Ok((info, link.link.try_clone()?))
        };
        self.links.iter().map(link).collect()
    }

    pub(super) fn detach(&mut self, ifindex: u32) {
        let attached = self.links.remove(&ifindex).filter(|attachment| !attachment.is_borrowed);
        if let Some(Attachment { link, mode, .. }) = attached {
            // Succeeds even if the link is already detached.
            let _ = syscall::detach_link(link.link.as_fd());
            self.pins.unpin((ifindex, mode.as_str()));
        }
    }
}

impl Drop for Attachments {
    fn drop(&mut self) {
        for ifindex in self.links.keys().copied().collect::<Vec<_>>() {
            self.detach(ifindex);
        }
        std::mem::replace(&mut self.pins, Pins::none()).clear();
    }
}

/// The kernel's refusal to attach a program.
pub(super) enum Refusal {
    /// The kernel refuses to load the program.
    Load(ProgramError),
    /// The kernel refuses to attach the program.
    Attach(io::Error),
}

impl Refusal {
    pub(super) fn errno(&self) -> Option<i32> {
        match self {
            Self::Load(error) => errno(error),
            Self::Attach(error) => error.raw_os_error(),
        }
    }
}

fn attach(programs: &mut Programs<'_>, ifindex: u32, candidate: Candidate) -> Result<OwnedFd, Refusal> {
    let program = programs.load(candidate.entry).map_err(Refusal::Load)?;
    let (hook, flags) = candidate.mode.hook();
    syscall::create_link(program, ifindex, hook, flags).map_err(Refusal::Attach)
}

/// Replaces the program of a link and returns whether that succeeded.
fn replace(programs: &mut Programs<'_>, link: &LinkProbe, entry: Entry) -> bool {
    programs.load(entry).is_ok_and(|program| syscall::update_link(link.link.as_fd(), program).is_ok())
}

/// Describes a refusal: the errno by name, and the kernel's message if there is one.
fn describe(programs: &mut Programs<'_>, ifindex: u32, candidate: Candidate, refusal: &Refusal) -> String {
    let error = match refusal {
        Refusal::Load(error) => return rejection(candidate.entry.name(), error),
        Refusal::Attach(error) => error,
    };
    let name = errno_name(error);
    if candidate.mode == Mode::Tc {
        // Kernels before 6.6 return `EINVAL` for `BPF_TCX_INGRESS`.
        let old = error.raw_os_error() == Some(libc::EINVAL);
        return if old {
            format!("{name}: requires Linux 6.6 or later with CONFIG_NET_XGRESS")
        } else {
            name
        };
    }
    let (_, flags) = candidate.mode.hook();
    let text = programs.load(candidate.entry).ok().and_then(|fd| extack::reason(fd, ifindex, flags));
    text.map_or_else(|| name.clone(), |text| format!("{name}: {text}"))
}

//! Receives the frames of interfaces, including the adverts that an agent drops at the XDP hook.

use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::time::{ClockId, clock_gettime};

use super::dissect::{Packet, dissect};
use super::survey::Survey;
use crate::netlink::{Link, Notice, Requests};
use crate::packet::{Membership, Sniffer, Solicitation};
use crate::process::{Holder, NameLock, Received, Signals};
use crate::xdp::{Action, Consumer, Tap, TapError, Tapped, exists};

/// Interval at which the interfaces' XDP programs are checked, because an agent may start or end.
const CHECK: Duration = Duration::from_millis(500);
/// Maximum time after a deadline for returning the frames that were queued before it.
const DRAIN: Duration = Duration::from_millis(100);
/// Maximum number of frames from other interfaces that are skipped in a tap before signals and the
/// deadline are checked again.
const SKIPPED: usize = 256;
/// Name of the lock that a process with taps holds in its network namespace.
const LOCK: &str = "vipd-tap";

/// The reason why adverts that an XDP program drops are not visible.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Obstacle {
    /// Only one process at a time can have taps.
    #[error(
        "another vipd command{} copies these adverts",
        .pid.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    Busy { pid: Option<u32> },
    #[error("CAP_SYS_ADMIN is missing")]
    Privilege,
    #[error("XDP program {0} is not vipd's")]
    Foreign(u32),
    #[error("{0}")]
    System(String),
}

impl Obstacle {
    /// Returns the action that makes the adverts visible.
    pub(crate) fn remedy(&self) -> String {
        match self {
            Self::Busy { .. } => "wait until that command ends, or end it".to_owned(),
            Self::Privilege => "run this command as root".to_owned(),
            Self::Foreign(program) => {
                format!(
                    "make that program pass IP protocol 112; `bpftool prog show id {program}` describes it"
                )
            }
            Self::System(_) => {
                "use Linux 5.18 or later; if memory or file descriptors have run out, free some".to_owned()
            }
        }
    }

    /// Describes the obstacle on an interface, with the remedy.
    pub(crate) fn describe(&self, interface: &str) -> String {
        let remedy = self.remedy();
        format!("adverts dropped by the XDP program of {interface} are not visible: {self}; {remedy}")
    }
}

impl From<TapError> for Obstacle {
    fn from(error: TapError) -> Self {
        match error {
            TapError::Foreign(program) => Self::Foreign(program),
            TapError::System { cause, .. } if cause.kind() == io::ErrorKind::PermissionDenied => {
                Self::Privilege
            }
            error => Self::System(error.to_string()),
        }
    }
}

/// A frame of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Position of the interface in the listener.
    pub(crate) interface: usize,
    /// Time since the Unix epoch.
    pub(crate) time: Duration,
    /// The same time on the monotonic clock, which cannot be set.
    pub(crate) arrival: Duration,
    /// Whether this host sent the frame.
    pub(crate) is_local: bool,
    /// The decision of vipd's program at the XDP hook about a VRRP packet; `None` for other frames,
    /// and if no such program processed the packet.
    pub(crate) action: Option<Action>,
    pub(crate) bytes: Vec<u8>,
    /// Length on the wire, in bytes.
    pub(crate) length: usize,
}

/// Receives the frames of interfaces without consuming them.
///
/// A packet socket receives sent frames, and received frames before TC ingress. Adverts that an
/// agent drops at the XDP hook do not reach the socket, so they are read from a [`Tap`]. The
/// listener joins the VRRP groups, so that the NIC and snooping switches deliver adverts even
/// without an agent.
#[derive(Debug)]
pub(crate) struct Listener {
    interfaces: Vec<Interface>,
    requests: Requests,
    taps: Vec<Tap>,
    /// Index of the source that is read first. The taps are numbered before the interfaces.
    turn: usize,
    /// Held while there are taps, unless an unprivileged process holds the name.
    lock: Option<NameLock>,
    next_check: Instant,
    signals: Signals,
    /// Whether a signal asked the process to end.
    is_ended: bool,
}

#[derive(Debug)]
struct Interface {
    link: Link,
    sniffer: Sniffer,
    /// ID of the interface's XDP program, and its program array if the program is vipd's.
    consumer: Option<(u32, Option<Consumer>)>,
    /// The reason why adverts that the XDP program drops are not visible.
    obstacle: Option<Obstacle>,
    /// Number of frames that were lost since the last call of [`Listener::take_lost`].
    lost: u64,
    _groups: Vec<Membership>,
}

impl Listener {
    /// Creates a listener without interfaces. Blocks signals as [`Signals::block`] does, so that
    /// the taps are removed when the process is asked to end; must be called before any thread is
    /// started.
    ///
    /// # Errors
    /// Returns an error if the netlink socket or the signalfd(2) cannot be opened.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            interfaces: Vec::new(),
            requests: Requests::open().context("cannot open a netlink socket")?,
            taps: Vec::new(),
            turn: 0,
            lock: None,
            next_check: Instant::now(),
            signals: Signals::block().context("cannot receive signals")?,
            is_ended: false,
        })
    }

    /// Adds an interface, and returns its position.
    ///
    /// # Errors
    /// Returns an error if the interfaces of this host cannot be read, if this interface or one
    /// that was added before does not exist, or if the frames of this interface cannot be received,
    /// for example without CAP_NET_RAW.
    pub(crate) fn add(&mut self, name: &str) -> anyhow::Result<usize> {
        let mut link = None;
        let mut names = Vec::new();
        let dumped = self.requests.dump(|notice| {
            if let Notice::Link(found) = notice {
                names.push(found.name.clone());
                if found.name == name {
                    link = Some(found);
                }
            }
        });
        dumped.context("cannot read the interfaces")?;
        let Some(link) = link else {
            bail!("interface {name} does not exist; interfaces: {}", names.join(", "));
        };
        let sniffer =
            Sniffer::open(link.ifindex, link.mac.is_some()).map_err(|error| match error.kind() {
                io::ErrorKind::PermissionDenied => {
                    anyhow!("cannot receive the frames of {name}: CAP_NET_RAW is missing; run this as root")
                }
                _ => anyhow!("cannot receive the frames of {name}: {error}"),
            })?;
        // Fails for a family that the interface does not have, such as IPv6 with an MTU below 1280.
        let groups = [4, 6].into_iter().filter_map(|family| Membership::join(link.ifindex, family).ok());
        let groups = groups.collect();
        self.interfaces.push(Interface {
            link,
            sniffer,
            consumer: None,
            obstacle: None,
            lost: 0,
            _groups: groups,
        });
        self.check_programs()?;
        Ok(self.interfaces.len() - 1)
    }

    /// Returns whether the frames of an interface have an Ethernet header.
    pub(crate) fn has_ethernet(&self, interface: usize) -> bool {
        self.interfaces[interface].link.mac.is_some()
    }

    /// Returns why adverts that the interface's XDP program drops are not visible.
    pub(crate) fn obstacle(&self, interface: usize) -> Option<&Obstacle> {
        self.interfaces[interface].obstacle.as_ref()
    }

    /// Returns whether a signal asked the process to end.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended
    }

    /// Requests the MAC of `address` with ARP or NDP. `source` is an address of this host.
    pub(crate) fn solicit(&self, interface: usize, source: IpAddr, address: IpAddr) {
        let Interface { link, sniffer, .. } = &self.interfaces[interface];
        if let Some(solicitation) = link.mac.and_then(|mac| Solicitation::new(mac, source, address)) {
            // A failure has the same effect as a missing answer: the address counts as unused.
            let _ = sniffer.send(solicitation.bytes());
        }
    }

    /// Waits for a frame and returns it, or `None` at `deadline` or when a signal asks the process
    /// to end.
    ///
    /// # Errors
    /// Returns an error if an interface no longer exists, or a socket cannot be read or polled.
    pub(crate) fn next(&mut self, deadline: Option<Instant>) -> anyhow::Result<Option<Frame>> {
        loop {
            let now = Instant::now();
            self.is_ended |= self.signals.take().is_some_and(Received::ends_command);
            if self.is_ended || deadline.is_some_and(|deadline| deadline + DRAIN <= now) {
                return Ok(None);
            }
            if self.next_check <= now {
                self.check_programs()?;
            }
            if let Some(frame) = self.queued()? {
                return Ok(Some(frame));
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return Ok(None);
            }
            let wake = deadline.map_or(self.next_check, |deadline| deadline.min(self.next_check));
            self.wait(wake.saturating_duration_since(now))?;
        }
    }

    /// Adds to `surveys` the packets that each interface receives and sends until `deadline`.
    ///
    /// # Errors
    /// See [`next`](Self::next).
    pub(crate) fn survey(&mut self, deadline: Instant, surveys: &mut Vec<Survey>) -> anyhow::Result<()> {
        surveys.resize_with(self.interfaces.len(), Survey::default);
        while let Some(frame) = self.next(Some(deadline))? {
            let packet = dissect(&frame.bytes, self.has_ethernet(frame.interface));
            if let (Some(packet), Some(survey)) = (packet, surveys.get_mut(frame.interface)) {
                survey.add(packet, frame.arrival, frame.is_local);
            }
        }
        let end = monotonic();
        let epoch = wall_clock().saturating_sub(end);
        for (number, survey) in surveys.iter_mut().enumerate() {
            (survey.end, survey.epoch) = (end, epoch);
            survey.unrecorded += self.take_lost(number);
        }
        Ok(())
    }

    /// Returns the number of frames that were lost since the last call, because they arrived faster
    /// than they were read. Frames lost in a tap may also be those of other interfaces of the
    /// agent.
    pub(crate) fn take_lost(&mut self, interface: usize) -> u64 {
        self.count_lost();
        std::mem::take(&mut self.interfaces[interface].lost)
    }

    fn count_lost(&mut self) {
        for interface in &mut self.interfaces {
            interface.lost += interface.sniffer.lost();
        }
        for tap in &mut self.taps {
            let lost = tap.lost();
            let is_source = |one: &&mut Interface| {
                one.consumer.is_some_and(|(_, consumer)| consumer == Some(tap.consumer()))
            };
            self.interfaces.iter_mut().filter(is_source).for_each(|interface| interface.lost += lost);
        }
    }

    /// Returns a queued frame. Reads the sources in turn, so that a flood at one source does not
    /// block the others.
    fn queued(&mut self) -> anyhow::Result<Option<Frame>> {
        let (first, sources) = (self.turn, self.taps.len() + self.interfaces.len());
        for source in (0..sources).map(|step| (first + step) % sources) {
            let frame = match source.checked_sub(self.taps.len()) {
                None => self.tapped_frame(source),
                Some(interface) => self.sniffed_frame(interface)?,
            };
            if frame.is_some() {
                self.turn = source + 1;
                return Ok(frame);
            }
        }
        Ok(None)
    }

    fn tapped_frame(&mut self, tap: usize) -> Option<Frame> {
        for _ in 0..SKIPPED {
            let frame = self.taps[tap].next_frame()?;
            // The agent may use more interfaces than this listener.
            let mut links = self.interfaces.iter();
            if let Some(interface) = links.position(|one| one.link.ifindex == frame.ifindex) {
                return Some(tapped(interface, frame));
            }
        }
        None
    }

    fn sniffed_frame(&mut self, number: usize) -> anyhow::Result<Option<Frame>> {
        let interface = &mut self.interfaces[number];
        let received = match interface.sniffer.receive() {
            // The interface is down, and may come up again, or was deleted; `check_programs`
            // reports deleted interfaces.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => None,
            received => received.with_context(|| format!("cannot receive from {}", interface.link.name))?,
        };
        let Some(received) = received else { return Ok(None) };
        let is_vrrp =
            !matches!(dissect(received.bytes, interface.link.mac.is_some()), None | Some(Packet::Claim(_)));
        let is_judged = is_vrrp && !received.outgoing && matches!(interface.consumer, Some((_, Some(_))));
        // The kernel's timestamp is wall-clock time.
        let age = wall_clock().saturating_sub(received.time);
        Ok(Some(Frame {
            interface: number,
            time: received.time,
            arrival: monotonic().saturating_sub(age),
            is_local: received.outgoing,
            action: is_judged.then_some(Action::Pass),
            bytes: received.bytes.to_vec(),
            length: received.length,
        }))
    }

    fn wait(&self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout).map_err(|_| io::ErrorKind::InvalidInput)?;
        let sniffers = self.interfaces.iter().map(|interface| interface.sniffer.as_fd());
        let sources = sniffers.chain(self.taps.iter().map(|tap| tap.as_fd())).chain([self.signals.as_fd()]);
        let mut sources: Vec<_> =
            sources.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)).collect();
        match poll(&mut sources, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => Ok(()),
            result => Ok(result.map(drop)?),
        }
    }

    /// Installs the taps that the interfaces' XDP programs need, and drops the taps on agents that
    /// have ended or been replaced by a successor.
    ///
    /// # Errors
    /// Returns an error if an interface no longer exists.
    fn check_programs(&mut self) -> anyhow::Result<()> {
        self.next_check = Instant::now() + CHECK;
        self.count_lost();
        self.taps.retain(Tap::is_installed);
        for number in 0..self.interfaces.len() {
            let interface = &mut self.interfaces[number];
            if !exists(interface.link.ifindex) {
                bail!("interface {} no longer exists", interface.link.name);
            }
            // The next check tries again.
            let Ok(program) = self.requests.xdp_program(&interface.link.name) else { continue };
            if program != interface.consumer.map(|(program, _)| program) {
                interface.obstacle = None;
                interface.consumer = program.map(|program| match Consumer::of(program) {
                    Ok(consumer) => (program, Some(consumer)),
                    Err(error) => {
                        interface.obstacle = Some(error.into());
                        (program, None)
                    }
                });
            }
            if let Some((_, Some(consumer))) = interface.consumer {
                self.interfaces[number].obstacle = self.ensure_tap(consumer).err();
            }
        }
        if self.taps.is_empty() {
            self.lock = None;
        }
        Ok(())
    }

    fn ensure_tap(&mut self, consumer: Consumer) -> Result<(), Obstacle> {
        if self.taps.iter().any(|tap| tap.consumer() == consumer) {
            return Ok(());
        }
        if self.lock.is_none() {
            self.lock = acquire_lock()?;
        }
        self.taps.extend(Tap::install(consumer)?);
        Ok(())
    }
}

/// Acquires the lock. Returns `None` if the process that holds the name lacks the privilege to
/// install taps, because otherwise any user could prevent taps by holding the name.
fn acquire_lock() -> Result<Option<NameLock>, Obstacle> {
    match NameLock::acquire(LOCK) {
        Ok(lock) => Ok(Some(lock)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => match Holder::find(LOCK) {
            Some(holder) if !holder.is_trusted() => Ok(None),
            holder => Err(Obstacle::Busy { pid: holder.and_then(|holder| holder.pid) }),
        },
        Err(error) => Err(Obstacle::System(format!("cannot lock the taps: {error}"))),
    }
}

fn tapped(interface: usize, frame: Tapped) -> Frame {
    let arrival = Duration::from_nanos(frame.time);
    Frame {
        interface,
        time: wall_clock().saturating_sub(monotonic().saturating_sub(arrival)),
        arrival,
        is_local: false,
        action: Some(Action::Drop),
        bytes: frame.bytes,
        length: frame.length,
    }
}

/// Returns the time of the monotonic clock.
fn monotonic() -> Duration {
    Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default()
}

/// Returns the time since the Unix epoch.
fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

//! What the engine waits for: adverts, a deadline, netlink, commands.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use vipd_common::Timestamp;

const TIMER: u64 = 0;
const WAKE: u64 = 1;

/// What else it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The ring.
    Adverts = 2,
    /// Notices of links and addresses.
    Netlink = 3,
}

/// An epoll set with a timer of nanoseconds and a bell.
#[derive(Debug)]
pub(crate) struct Wait {
    epoll: OwnedFd,
    timer: OwnedFd,
    bell: Arc<OwnedFd>,
    armed: Option<Timestamp>,
    /// The timer has run out, and is ready until it is set anew.
    expired: bool,
}

/// Rings the engine's bell from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Bell(Arc<OwnedFd>);

impl Bell {
    /// Wakes the engine up.
    pub(crate) fn ring(&self) {
        // It fails only where 2^64 rings are unanswered, and then the engine is awake.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl Wait {
    /// An empty set.
    ///
    /// # Errors
    /// Without file descriptors left.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        epoll::add(&epoll, &bell, EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Self { epoll, timer, bell, armed: None, expired: false })
    }

    /// Waits for this descriptor, too, as long as it is readable.
    ///
    /// # Errors
    /// When it cannot be polled.
    pub(crate) fn add(&self, descriptor: impl AsFd, source: Source) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, descriptor, EventData::new_u64(source as u64), EventFlags::IN)?)
    }

    /// The bell of this set.
    pub(crate) fn bell(&self) -> Bell {
        Bell(Arc::clone(&self.bell))
    }

    /// Waits until something is ready, or until `deadline`; returns whether [`Source::Netlink`] is. At most one more system
    /// call than the wait itself, and none for a deadline that is set already.
    ///
    /// # Errors
    /// Never in practice; the descriptors are ours.
    pub(crate) fn wait(&mut self, deadline: Option<Timestamp>) -> io::Result<bool> {
        if self.expired || deadline != self.armed {
            self.arm(deadline)?;
        }
        self.take(None)
    }

    /// What is ready now; returns whether [`Source::Netlink`] is. One system call.
    ///
    /// # Errors
    /// Never in practice; the descriptors are ours.
    pub(crate) fn poll(&mut self) -> io::Result<bool> {
        self.take(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    fn take(&mut self, timeout: Option<&Timespec>) -> io::Result<bool> {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(TIMER) }; 8];
        let count = match epoll::wait(&self.epoll, &mut events[..], timeout) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut netlink = false;
        for event in events.iter().take(count) {
            match event.data.u64() {
                // Not read: to set it anew takes its expiry back.
                TIMER => self.expired = true,
                WAKE => {
                    let mut rings = [0; size_of::<u64>()];
                    let _ = rustix::io::read(&self.bell, &mut rings);
                }
                other => netlink |= other == Source::Netlink as u64,
            }
        }
        Ok(netlink)
    }

    fn arm(&mut self, deadline: Option<Timestamp>) -> io::Result<()> {
        // All zeros disarm, so the beginning of the clock is told as its first nanosecond.
        let nanos = deadline.map_or(0, |at| at.as_nanos().max(1));
        let time = Timespec {
            tv_sec: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
            tv_nsec: i64::try_from(nanos % 1_000_000_000).unwrap_or(0),
        };
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let new = Itimerspec { it_interval: zero, it_value: time };
        timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &new)?;
        (self.armed, self.expired) = (deadline, false);
        Ok(())
    }
}

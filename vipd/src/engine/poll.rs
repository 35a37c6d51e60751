//! Waits for adverts, deadlines, netlink notifications and commands.

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
const EVENT: u64 = 1;

/// A pollable source of events. The values are the epoll user data and follow `TIMER` and `EVENT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The ring buffer.
    Adverts = 2,
    /// The netlink socket for notifications.
    Netlink = 3,
    /// The wall clock was set.
    WallClock = 4,
}

/// The sources that are ready, apart from the timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ready {
    /// Whether netlink notifications are pending.
    pub(crate) netlink: bool,
    /// Whether the wall clock was set.
    pub(crate) wall_clock: bool,
    /// Whether records are pending in the ring, or another thread has woken the engine.
    pub(crate) other: bool,
}

/// An epoll set with a timerfd and an eventfd.
#[derive(Debug)]
pub(crate) struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    event: Arc<OwnedFd>,
    armed: Option<Timestamp>,
    /// Whether the timer has expired. The timerfd stays readable until the timer is set again.
    expired: bool,
}

/// Wakes the engine from another thread.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<OwnedFd>);

impl Waker {
    pub(crate) fn wake(&self) {
        // Fails only if the counter would overflow. The engine is then already being woken.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl Poll {
    /// Creates an empty set.
    ///
    /// # Errors
    /// `EMFILE` or `ENFILE` if no file descriptor is available.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        let event = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN)?;
        epoll::add(&epoll, &event, EventData::new_u64(EVENT), EventFlags::IN)?;
        Ok(Self { epoll, timer, event, armed: None, expired: false })
    }

    /// Adds a descriptor in level-triggered mode.
    ///
    /// # Errors
    /// Returns an error if the descriptor cannot be polled.
    pub(crate) fn add(&self, descriptor: impl AsFd, source: Source) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, descriptor, EventData::new_u64(source as u64), EventFlags::IN)?)
    }

    /// Returns a handle with which other threads can end the wait.
    pub(crate) fn waker(&self) -> Waker {
        Waker(Arc::clone(&self.event))
    }

    /// Waits until a source is ready, `deadline` has passed or a signal arrives. Returns the
    /// sources that are ready. If the deadline has changed or the timer has expired, setting the
    /// timer takes an additional system call.
    ///
    /// # Errors
    /// Not expected, because the descriptors are valid.
    pub(crate) fn wait(&mut self, deadline: Option<Timestamp>) -> io::Result<Ready> {
        if self.expired || deadline != self.armed {
            self.arm(deadline)?;
        }
        self.take(None)
    }

    /// Returns the sources that are ready, without waiting. Makes one system call, and a second one
    /// if another thread has woken the engine.
    ///
    /// # Errors
    /// Not expected, because the descriptors are valid.
    pub(crate) fn poll(&mut self) -> io::Result<Ready> {
        self.take(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    fn take(&mut self, timeout: Option<&Timespec>) -> io::Result<Ready> {
        let mut events = [Event { flags: EventFlags::empty(), data: EventData::new_u64(TIMER) }; 8];
        let count = match epoll::wait(&self.epoll, &mut events[..], timeout) {
            Ok(count) => count,
            Err(Errno::INTR) => 0,
            Err(error) => return Err(error.into()),
        };
        let mut ready = Ready::default();
        for event in events.iter().take(count) {
            match event.data.u64() {
                // The timer need not be read: setting it again clears its readiness.
                TIMER => self.expired = true,
                EVENT => {
                    let mut count = [0; size_of::<u64>()];
                    let _ = rustix::io::read(&self.event, &mut count);
                    ready.other = true;
                }
                source if source == Source::Netlink as u64 => ready.netlink = true,
                source if source == Source::WallClock as u64 => ready.wall_clock = true,
                _ => ready.other = true,
            }
        }
        Ok(ready)
    }

    fn arm(&mut self, deadline: Option<Timestamp>) -> io::Result<()> {
        // Zero would disarm the timer, so a deadline of 0 becomes 1 ns.
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

//! Carries the latest state change of each virtual router from the engine to the service.
//!
//! Each router has a slot that holds its latest state change and the number of changes so far. A
//! slot is a seqlock. Its only writer, the engine, never waits, allocates or fails; a reader that
//! overlaps with a write retries. The first change after [`Transitions::take`] wakes the reader;
//! further changes cost only a few stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use tokio::sync::mpsc;
use vipd_common::Timestamp;

use crate::engine::id::{Id as _, RouterId};
use crate::vrrp::{Fault, Reason, State};

/// The latest state change of a router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Transition {
    /// The new state.
    pub(crate) state: State,
    pub(crate) reason: Reason,
    /// Time of the change.
    pub(crate) at: Timestamp,
    /// Number of changes since the router was created, including this one.
    pub(crate) count: u64,
}

/// The slot of one router, in its own cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Slot {
    /// Odd while a write is in progress.
    sequence: AtomicU64,
    /// The router's generation in the upper 32 bits, the reason in byte 1 and the state in byte 0.
    packed: AtomicU64,
    at: AtomicU64,
    count: AtomicU64,
}

impl Slot {
    /// Returns the latest change in the slot and the generation of its router; `None` before the
    /// first change.
    fn read(&self) -> Option<(u32, Transition)> {
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            let packed = self.packed.load(Ordering::Relaxed);
            let at = self.at.load(Ordering::Relaxed);
            let count = self.count.load(Ordering::Relaxed);
            // Orders the loads above before the second load of `sequence`.
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Ordering::Relaxed) == before {
                let (generation, state, reason) = decode(packed)?;
                let at = Timestamp::from_nanos(at);
                return (count > 0).then_some((generation, Transition { state, reason, at, count }));
            }
            std::hint::spin_loop();
        }
    }

    /// Stores a state change. Calls must not overlap.
    fn write(&self, generation: u32, state: State, reason: Reason, at: Timestamp) {
        let same = generation_of(self.packed.load(Ordering::Relaxed)) == generation;
        let before = if same { self.count.load(Ordering::Relaxed) } else { 0 };
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // Orders the store above before the stores below.
        fence(Ordering::Release);
        self.packed.store(encode(generation, state, reason), Ordering::Relaxed);
        self.at.store(at.as_nanos(), Ordering::Relaxed);
        self.count.store(before + 1, Ordering::Relaxed);
        self.sequence.store(sequence + 2, Ordering::Release);
    }
}

#[derive(Debug)]
struct Shared {
    slots: Box<[Slot]>,
    /// Whether a change has been published since the last [`Transitions::take`].
    changed: AtomicBool,
}

/// The engine's end of the bus.
#[derive(Debug)]
pub(crate) struct Publisher {
    shared: Arc<Shared>,
    /// Wakes the reader. The channel's capacity is 1, because one pending wake-up is enough.
    wake: mpsc::Sender<()>,
}

impl Publisher {
    /// Publishes a state change. Does nothing if the router has no slot.
    pub(crate) fn publish(&mut self, router: RouterId, state: State, reason: Reason, at: Timestamp) {
        let Some(slot) = self.shared.slots.get(router.index()) else { return };
        slot.write(router.generation(), state, reason, at);
        if !self.shared.changed.swap(true, Ordering::SeqCst) {
            // If the channel is full, a wake-up is already pending.
            let _ = self.wake.try_send(());
        }
    }
}

/// Reads the latest state change of a router without waiting for the engine.
#[derive(Clone, Debug)]
pub(crate) struct Latest(Arc<Shared>);

impl Latest {
    /// Returns the latest state change of a router; `None` before the first one, if the router has
    /// no slot, or once another router uses the slot.
    pub(crate) fn get(&self, router: RouterId) -> Option<Transition> {
        let (generation, transition) = self.0.slots.get(router.index())?.read()?;
        (generation == router.generation()).then_some(transition)
    }
}

/// The control thread's end of the bus.
#[derive(Debug)]
pub(crate) struct Transitions {
    shared: Arc<Shared>,
    woken: mpsc::Receiver<()>,
}

impl Transitions {
    /// Returns a reader for the latest state change of any router.
    pub(crate) fn latest(&self) -> Latest {
        Latest(Arc::clone(&self.shared))
    }

    /// Waits until a change is published that [`take`](Self::take) has not yet returned. May return
    /// early.
    pub(crate) async fn changed(&mut self) {
        if self.woken.recv().await.is_none() {
            // The engine has ended.
            std::future::pending::<()>().await;
        }
    }

    /// Returns the latest change of each router that has ever changed state, and re-arms the
    /// wake-up.
    pub(crate) fn take(&mut self) -> Vec<(RouterId, Transition)> {
        // Cleared before the slots are read, so that changes during the read wake the reader again.
        self.shared.changed.store(false, Ordering::SeqCst);
        let slots = (0..).zip(&self.shared.slots);
        let found = slots.filter_map(|(index, slot)| {
            let (generation, transition) = slot.read()?;
            Some((RouterId::new(index, generation), transition))
        });
        found.collect()
    }
}

/// Creates a bus for routers whose slot numbers are below `routers`.
pub(crate) fn bus(routers: usize) -> (Publisher, Transitions) {
    let slots = (0..routers).map(|_| Slot::default()).collect();
    let shared = Arc::new(Shared { slots, changed: AtomicBool::new(false) });
    let (wake, woken) = mpsc::channel(1);
    (Publisher { shared: Arc::clone(&shared), wake }, Transitions { shared, woken })
}

/// State and reason codes from this value upward represent faults.
const FIRST_FAULT: u8 = 32;

/// Defines functions that convert an enum to codes and back. Compilation fails if a variant has no
/// code.
macro_rules! codes {
    ($encode:ident, $decode:ident: $type:ident { $($variant:ident = $code:literal,)* } $($fault:ident)?) => {
        fn $encode(variant: $type) -> u8 {
            match variant {
                $($type::$variant => $code,)*
                $($type::$fault(fault) => FIRST_FAULT + encode_fault(fault),)?
            }
        }

        fn $decode(code: u8) -> Option<$type> {
            $(if code >= FIRST_FAULT {
                return decode_fault(code - FIRST_FAULT).map($type::$fault);
            })?
            match code {
                $($code => Some($type::$variant),)*
                _ => None,
            }
        }
    };
}

codes!(encode_state, decode_state: State { Initialize = 0, Backup = 1, Master = 2, } Fault);
codes!(encode_reason, decode_reason: Reason {
    Startup = 0,
    InterfaceUp = 1,
    PrimaryAddress = 2,
    Shutdown = 3,
    MasterTimeout = 4,
    PriorityZero = 5,
    Preempted = 6,
    HigherPriority = 7,
    Stalled = 8,
    Failover = 9,
    Group = 10,
} Fault);
codes!(encode_fault, decode_fault: Fault {
    NoInterface = 0,
    InterfaceDown = 1,
    NotAttached = 2,
    NotReceiving = 3,
    NoHardwareAddress = 4,
    NoPrimaryAddress = 5,
    PrimaryIsVirtual = 6,
    AddressInterface = 7,
    Tracking = 8,
    Group = 9,
    Administrator = 10,
    Drained = 11,
});

fn encode(generation: u32, state: State, reason: Reason) -> u64 {
    u64::from(generation) << 32 | u64::from(encode_reason(reason)) << 8 | u64::from(encode_state(state))
}

fn generation_of(packed: u64) -> u32 {
    let [.., a, b, c, d] = packed.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn decode(packed: u64) -> Option<(u32, State, Reason)> {
    let [state, reason, ..] = packed.to_le_bytes();
    Some((generation_of(packed), decode_state(state)?, decode_reason(reason)?))
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn states_and_reasons_survive_encoding() {
        let states: Vec<State> = (0..=u8::MAX).filter_map(decode_state).collect();
        let reasons: Vec<Reason> = (0..=u8::MAX).filter_map(decode_reason).collect();
        assert_eq!((states.len(), reasons.len()), (15, 23), "each fault is both a state and a reason");
        for (state, reason) in states.iter().flat_map(|state| reasons.iter().map(|reason| (*state, *reason)))
        {
            assert_eq!(decode(encode(7, state, reason)), Some((7, state, reason)));
        }
    }

    #[test]
    fn bus_keeps_the_latest_change_and_the_count() {
        let (mut publisher, mut transitions) = bus(2);
        let router = RouterId::new(1, 0);
        assert_eq!(transitions.take(), []);
        for at in 1..=10_000 {
            let state = if at % 2 == 0 { State::Master } else { State::Backup };
            publisher.publish(router, state, Reason::MasterTimeout, Timestamp::from_nanos(at));
        }
        let latest = Transition {
            state: State::Master,
            reason: Reason::MasterTimeout,
            at: Timestamp::from_nanos(10_000),
            count: 10_000,
        };
        assert_eq!(transitions.take(), [(router, latest)]);
        assert_eq!(transitions.latest().get(router), Some(latest));
        // The count restarts for the next router in the same slot.
        let next = RouterId::new(1, 1);
        publisher.publish(next, State::Backup, Reason::Startup, Timestamp::from_nanos(10_001));
        assert_eq!(transitions.latest().get(router), None);
        assert_eq!(transitions.latest().get(next).map(|found| found.count), Some(1));
    }

    #[test]
    fn concurrent_reader_never_sees_a_partial_change() {
        const CHANGES: u64 = 100_000;
        let (mut publisher, mut transitions) = bus(1);
        let writer = thread::spawn(move || {
            for at in 1..=CHANGES {
                let fault = if at % 2 == 0 { Fault::NoInterface } else { Fault::InterfaceDown };
                publisher.publish(
                    RouterId::new(0, 3),
                    State::Fault(fault),
                    Reason::Fault(fault),
                    Timestamp::from_nanos(at),
                );
            }
        });
        let mut last = 0;
        while last < CHANGES {
            let Some((_, found)) = transitions.take().pop() else { continue };
            assert_eq!(found.at.as_nanos(), found.count);
            assert!(found.count >= last);
            assert!(matches!((found.state, found.reason), (State::Fault(a), Reason::Fault(b)) if a == b));
            last = found.count;
        }
        writer.join().expect("no panic");
    }

    #[test]
    fn reader_is_woken_once_between_two_reads() {
        let (mut publisher, mut transitions) = bus(1);
        let mut publish = || {
            publisher.publish(RouterId::new(0, 0), State::Backup, Reason::Startup, Timestamp::from_nanos(1));
        };
        let woken = |transitions: &mut Transitions| transitions.woken.try_recv().is_ok();
        publish();
        publish();
        assert!(woken(&mut transitions) && !woken(&mut transitions), "once for both");
        publish();
        assert!(!woken(&mut transitions), "no further wake-up before the reader has taken the changes");
        drop(transitions.take());
        publish();
        assert!(woken(&mut transitions));
    }
}

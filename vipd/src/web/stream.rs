//! Streams the changes of the status page to a client as server-sent events.
//!
//! A stream buffers at most one update that its connection has not accepted. The next update is
//! rendered when there is room again, and contains all changes since the previous one. A slow
//! client therefore neither delays other clients nor uses more and more memory. It is disconnected
//! if it accepts nothing for too long. A client that stops reading accepts updates until its
//! receive buffer is full.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::Source;
use super::cache::Cache;
use super::server::MAX_DURATION;

/// Interval of updates.
const PERIOD: Duration = Duration::from_secs(1);

/// The times of updates: multiples of a period after a common start, so that all clients share the
/// snapshots. Only the first update of a stream is sent at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    period: Duration,
}

impl Clock {
    /// Starts a clock.
    pub(super) fn start() -> Self {
        Self { start: Instant::now(), period: PERIOD }
    }
}

/// The time at which a connection is closed.
#[derive(Clone, Debug)]
pub(super) struct Deadline(Arc<Mutex<Instant>>);

impl Deadline {
    /// Sets the deadline to the end of this duration.
    pub(super) fn after(duration: Duration) -> Self {
        Self(Arc::new(Mutex::new(Instant::now() + duration)))
    }

    /// Postpones the deadline to the end of this duration.
    fn postpone(&self, duration: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + duration;
    }

    fn until(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the deadline has passed.
    pub(super) async fn passed(&self) {
        loop {
            let until = self.until();
            if until <= Instant::now() {
                return;
            }
            sleep_until(until).await;
        }
    }
}

/// The body of a stream: the events that [`send`] sends.
pub(super) struct Events(Receiver<Bytes>);

impl Events {
    /// Creates a body that buffers one event.
    pub(super) fn new() -> (Sender<Bytes>, Self) {
        let (sender, receiver) = channel(1);
        (sender, Self(receiver))
    }
}

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|event| event.map(|event| Ok(Frame::data(event))))
    }
}

/// Sends updates until the client has disconnected.
pub(super) async fn send<S: Source>(
    cache: Arc<Cache<S>>,
    Clock { start, period }: Clock,
    sender: Sender<Bytes>,
    deadline: Deadline,
    _permit: OwnedSemaphorePermit,
) {
    let mut ticks = interval_at(start, period);
    // A slow client skips updates.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut former = None;
    // An update is rendered only when there is room for it.
    while let Ok(room) = sender.reserve().await {
        ticks.tick().await;
        let event = match cache.page().await {
            Ok(page) => {
                let event = page.event(former.as_deref());
                former = Some(page.frame());
                event
            }
            Err(reason) => format!("event: problem\ndata: {reason}\n\n").into(),
        };
        room.send(event);
        deadline.postpone(period + MAX_DURATION);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use http_body_util::BodyExt as _;
    use tokio::sync::Semaphore;
    use tokio::time::{sleep, timeout};

    use super::*;
    use crate::web::tests::{block_on, cache, scrape};

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn deadline_can_be_postponed_while_it_is_awaited() {
        block_on(async {
            loop {
                let deadline = Deadline::after(10 * SHORT);
                let mut passed = pin!(deadline.passed());
                tokio::select! {
                    biased;
                    // This thread was not scheduled in time; try again.
                    () = &mut passed => continue,
                    () = std::future::ready(()) => {}
                }
                deadline.postpone(40 * SHORT);
                let postponed = deadline.until();
                passed.await;
                assert!(Instant::now() >= postponed);
                return;
            }
        });
    }

    /// Starts a stream in a local task.
    fn stream(deadline: &Deadline, has_answer: bool) -> (Events, Arc<Semaphore>) {
        let (_, cache) = cache(has_answer.then(scrape));
        let streams = Arc::new(Semaphore::new(1));
        let permit = Arc::clone(&streams).try_acquire_owned().expect("a permit");
        let (sender, body) = Events::new();
        let clock = Clock { start: Instant::now(), period: SHORT };
        tokio::spawn(send(Arc::new(cache), clock, sender, deadline.clone(), permit));
        (body, streams)
    }

    async fn next(body: &mut Events) -> String {
        let frame = timeout(LONG, body.frame()).await.expect("in time").expect("a frame").expect("no error");
        String::from_utf8(frame.into_data().expect("data").to_vec()).expect("UTF-8")
    }

    #[test]
    fn first_event_has_all_elements_and_the_next_one_only_changes() {
        block_on(async {
            let (mut body, _streams) = stream(&Deadline::after(LONG), true);
            let first = next(&mut body).await;
            let json = first.strip_prefix("data: ").and_then(|rest| rest.strip_suffix("\n\n"));
            assert!(!json.expect("an event").contains('\n'), "{first}");
            assert!(first.contains("\"summary\"") && first.contains("\"instance-1\""), "{first}");
            let second = next(&mut body).await;
            assert!(second.ends_with("\"elements\":[],\"values\":{}}\n\n"), "{second}");
        });
    }

    #[test]
    fn agent_that_does_not_answer_is_reported() {
        block_on(async {
            let (mut body, _streams) = stream(&Deadline::after(LONG), false);
            assert_eq!(next(&mut body).await, "event: problem\ndata: the agent is stopping\n\n");
        });
    }

    /// The deadline of a client that accepts nothing is postponed by the first event alone, and
    /// closing the client's connection ends the stream.
    #[test]
    fn stream_of_a_client_that_accepts_nothing_ends_with_its_connection() {
        block_on(async {
            let deadline = Deadline::after(Duration::ZERO);
            let (body, streams) = stream(&deadline, true);
            // The channel holds one event, so only the first one postpones the deadline.
            let accepted = async {
                while deadline.until() <= Instant::now() {
                    sleep(SHORT).await;
                }
            };
            timeout(LONG, accepted).await.expect("the first event");
            let postponed = deadline.until();
            sleep(50 * SHORT).await;
            assert_eq!((deadline.until(), streams.available_permits()), (postponed, 0));
            drop(body);
            let permit = timeout(LONG, streams.acquire()).await.expect("the stream has ended");
            assert!(permit.is_ok());
        });
    }
}

//! Streams events to a client.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::broadcast;
use tokio::time::timeout;

use super::server::{WRITE_TIMEOUT, error_line};

/// Once a write has this many bytes, no further event is added to it.
const EVENT_BATCH: usize = 64 * 1024;

/// Events, each an encoded line.
#[derive(Debug)]
pub struct Subscription {
    /// The stored events, the oldest first.
    pub history: Vec<Arc<str>>,
    /// Receives all later events.
    pub live: broadcast::Receiver<Arc<str>>,
}

/// Sends the stored events and, with `follow`, later events until the client disconnects, sends
/// anything, is too slow or loses the right to receive events, or until the agent stops.
pub(super) async fn stream_events(
    events: Option<Subscription>,
    follow: bool,
    is_allowed: impl Fn() -> bool,
    reader: &mut (impl AsyncBufRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let Some(Subscription { history, mut live }) = events else {
        return writer.write_all(&error_line("this agent does not store events".to_owned())).await;
    };
    timeout(WRITE_TIMEOUT, writer.write_all(history.concat().as_bytes())).await??;
    drop(history);
    if !follow {
        return Ok(());
    }
    loop {
        let first = tokio::select! {
            event = live.recv() => event,
            _ = reader.fill_buf() => return Ok(()),
        };
        // An error means that the client is too far behind, or the agent is stopping.
        let Ok(first) = first else { return Ok(()) };
        if !is_allowed() {
            return Ok(());
        }
        let mut lines = first.to_string();
        while lines.len() < EVENT_BATCH
            && let Ok(next) = live.try_recv()
        {
            lines += &next;
        }
        timeout(WRITE_TIMEOUT, writer.write_all(lines.as_bytes())).await??;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, BufReader};
    use tokio::net::UnixStream;

    use super::*;

    /// Streams events to a client until the stream ends, and returns the received text.
    fn stream(events: Subscription, follow: bool, request: &[u8]) -> String {
        stream_if(events, follow, request, || true)
    }

    fn stream_if(
        events: Subscription,
        follow: bool,
        request: &[u8],
        is_allowed: impl Fn() -> bool,
    ) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (mut agent, mut client) = UnixStream::pair().expect("a socket pair");
            client.write_all(request).await.expect("sent");
            let (read_half, mut write_half) = agent.split();
            let mut reader = BufReader::new(read_half);
            let streamed =
                stream_events(Some(events), follow, is_allowed, &mut reader, &mut write_half).await;
            streamed.expect("streamed");
            drop(agent);
            let mut text = String::new();
            // Fails if the agent closes the connection before reading all input, because the
            // connection is then reset.
            let _ = client.read_to_string(&mut text).await;
            text
        })
    }

    fn subscription(live: &broadcast::Sender<Arc<str>>) -> Subscription {
        Subscription { history: vec!["1\n".into(), "2\n".into()], live: live.subscribe() }
    }

    #[test]
    fn follower_receives_stored_events_and_then_later_events() {
        let live = broadcast::Sender::new(4);
        let events = subscription(&live);
        for event in ["3\n", "4\n"] {
            live.send(event.into()).expect("followed");
        }
        assert_eq!(stream(subscription(&live), false, b""), "1\n2\n");
        drop(live);
        assert_eq!(stream(events, true, b""), "1\n2\n3\n4\n");
    }

    #[test]
    fn follower_that_is_too_far_behind_is_disconnected() {
        let live = broadcast::Sender::new(4);
        let events = subscription(&live);
        for _ in 0..5 {
            live.send("late\n".into()).expect("followed");
        }
        assert_eq!(stream(events, true, b""), "1\n2\n");
    }

    /// A reload that configures other groups can revoke a follower's right to receive events.
    #[test]
    fn follower_that_loses_the_right_receives_no_further_event() {
        let live = broadcast::Sender::new(4);
        let events = subscription(&live);
        live.send("3\n".into()).expect("followed");
        assert_eq!(stream_if(events, true, b"", || false), "1\n2\n");
    }

    #[test]
    fn stream_ends_when_the_follower_sends_anything() {
        let live = broadcast::Sender::new(4);
        // This call returns only if the input ends the stream.
        stream(subscription(&live), true, b"x");
    }
}

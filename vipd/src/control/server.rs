//! Server of the control socket.
//!
//! The number of clients is limited, and so are the memory and time that each client may use. A
//! stuck or hostile client occupies only its own slot and does not delay others. Requests that
//! arrive while a report is being built share the next report, because each report for thousands of
//! routers also takes time on the engine thread.

use std::io::{self, Write as _};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::access::{Access, Credentials, Generation, Right};
use super::model::{ChangeReport, StatsReport, StatusReport};
use super::protocol::{ErrorReply, MAX_REQUEST_BYTES, Request};
use super::stream::{Subscription, stream_events};

/// Maximum number of simultaneous clients. Further clients receive an error and are disconnected.
pub const MAX_CLIENTS: usize = 64;
/// Slots reserved for clients that may change the agent. Other clients may follow events
/// indefinitely, and could otherwise occupy all slots.
const RESERVED: usize = 8;
/// Maximum time for a client to send its next request.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum time for a client to read a reply.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// Maximum time for the agent to build a report.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// An encoded reply, which may be shared by several clients.
type Line = Arc<Vec<u8>>;

/// Builds the reports. An `Err` is a message for the user.
pub trait Source: Send + Sync + 'static {
    /// Returns the reply to `status`.
    fn status(&self) -> impl Future<Output = Result<StatusReport, String>> + Send;
    /// Returns the reply to `stats`.
    fn stats(&self) -> impl Future<Output = Result<StatsReport, String>> + Send;
    /// Carries out a request that changes the agent, and returns the reply.
    fn change(
        &self,
        request: Request,
        by: Credentials,
    ) -> impl Future<Output = Result<ChangeReport, String>> + Send;
    /// Returns the stored events and a receiver of later events; `None` if the source does not
    /// store events.
    fn events(&self) -> Option<Subscription> {
        None
    }
}

/// Serves the clients that `access` admits, until the future is dropped, which closes their
/// connections. Must be called in a tokio runtime.
///
/// # Errors
/// Returns an error if the listener cannot be registered with the runtime. Otherwise, the future
/// never completes.
pub async fn serve(listener: StdUnixListener, source: Arc<impl Source>, access: Access) -> io::Result<()> {
    let (_open, is_open) = watch::channel(true);
    serve_while(listener, source, access, is_open).await
}

/// Serves clients like [`serve`], but accepts new clients only while `is_open` is true. Otherwise,
/// new clients stay in the listener's queue, so that a successor can accept them.
///
/// # Errors
/// See [`serve`].
pub async fn serve_while(
    listener: StdUnixListener,
    source: Arc<impl Source>,
    access: Access,
    mut is_open: watch::Receiver<bool>,
) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let mut clients = JoinSet::new();
    // One slot per client suffices: a client's next request is read only after the reply to the
    // previous one has been sent.
    let (queries, received) = mpsc::channel(MAX_CLIENTS);
    let mut answers = std::pin::pin!(answer_queries(&*source, received));
    let mut accepts = true;
    loop {
        let accepted = tokio::select! {
            // The order matters: no client is accepted after `is_open` has become false, and new
            // connections, even a flood of them, do not delay the answers to other clients.
            biased;
            Ok(()) = is_open.changed() => continue,
            Some(_) = clients.join_next(), if !clients.is_empty() => continue,
            () = &mut answers => continue,
            accepted = listener.accept(), if *is_open.borrow() => accepted,
        };
        while clients.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) => {
                accepts = true;
                match admit(&stream, &access, clients.len()) {
                    Ok(peer) => {
                        let queries = queries.clone();
                        clients.spawn(serve_client(
                            stream,
                            peer,
                            queries,
                            Arc::clone(&source),
                            access.clone(),
                            access.generation(),
                        ));
                    }
                    Err(error) => reject_client(stream, error),
                }
            }
            Err(error) => {
                // Most likely, the process has no file descriptors left. Only the first error is
                // logged until a client has been accepted.
                if std::mem::take(&mut accepts) {
                    tracing::warn!(%error, "cannot accept a client on the control socket; trying again");
                }
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                    () = &mut answers => {}
                }
            }
        }
    }
}

/// Returns the credentials of a client, or the error to send to a client that is not served. A
/// client without the right to query the agent occupies no slot.
fn admit(stream: &UnixStream, access: &Access, clients: usize) -> Result<Credentials, String> {
    let peer = Credentials::of(stream).map_err(|error| format!("cannot identify the client: {error}"))?;
    let right = access.right(&peer);
    if right < Right::Query {
        return Err(access.refusal(&peer, Right::Query).to_string());
    }
    if clients >= limit(right) {
        return Err(format!("{clients} clients are already connected; try again later"));
    }
    Ok(peer)
}

/// Returns the maximum number of connected clients, including a new client with this right.
fn limit(right: Right) -> usize {
    if right < Right::Change { MAX_CLIENTS - RESERVED } else { MAX_CLIENTS }
}

/// Sends an error to a client that is not served. Does not block: the buffer of a new socket has
/// room for one line.
fn reject_client(stream: UnixStream, error: String) {
    if let Ok(mut stream) = stream.into_std() {
        let _ = stream.write(&error_line(error));
    }
}

/// A kind of report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Status,
    Stats,
}

/// A pending request for a report.
#[derive(Debug)]
struct Query {
    wanted: Wanted,
    reply: oneshot::Sender<Line>,
}

/// Answers all waiting requests from one report of each kind. Requests that arrive in the meantime
/// are answered from the next report.
///
/// A report is never older than the requests answered from it.
async fn answer_queries(source: &impl Source, mut received: mpsc::Receiver<Query>) {
    while let Some(first) = received.recv().await {
        let mut waiting = vec![first];
        while let Ok(query) = received.try_recv() {
            waiting.push(query);
        }
        let wants = |wanted| waiting.iter().any(|query| query.wanted == wanted);
        let (states, counters) = tokio::join!(
            report(wants(Wanted::Status), source.status()),
            report(wants(Wanted::Stats), source.stats())
        );
        for Query { wanted, reply } in waiting {
            let line = match wanted {
                Wanted::Status => &states,
                Wanted::Stats => &counters,
            };
            if let Some(line) = line {
                // The client may have disconnected.
                let _ = reply.send(Arc::clone(line));
            }
        }
    }
}

/// Builds and encodes a report, if any client has requested one.
async fn report<T: Serialize>(
    is_wanted: bool,
    building: impl Future<Output = Result<T, String>>,
) -> Option<Line> {
    if is_wanted { Some(reply_line(in_time(building).await).into()) } else { None }
}

/// Serves one client until the client disconnects, is idle for longer than [`READ_TIMEOUT`],
/// exceeds a limit or loses the right to query the agent, or until its stream of events ends.
async fn serve_client(
    mut stream: UnixStream,
    peer: Credentials,
    queries: mpsc::Sender<Query>,
    source: Arc<impl Source>,
    access: Access,
    connected: Generation,
) {
    // Checked again for each request and batch of events, because a reload may change the rules.
    let is_admitted = || access.still_admits(&peer, connected);
    let (read_half, mut write_half) = stream.split();
    let mut reader = BufReader::new(read_half);
    loop {
        let Ok(Ok(request)) = timeout(READ_TIMEOUT, read_request(&mut reader)).await else { return };
        if !is_admitted() {
            let refusal = error_line(access.refusal(&peer, Right::Query).to_string());
            let _ = timeout(WRITE_TIMEOUT, write_half.write_all(&refusal)).await;
            return;
        }
        if let Received::Request(text) = &request
            && let Ok(Request::Events { follow }) = serde_json::from_slice(text)
        {
            // Closing the connection ends the stream of events.
            let _ = stream_events(source.events(), follow, is_admitted, &mut reader, &mut write_half).await;
            return;
        }
        let line = match &request {
            Received::Request(text) => respond(text, &peer, &queries, &*source, &access).await,
            Received::TooLong => {
                error_line(format!("a request is longer than {MAX_REQUEST_BYTES} bytes")).into()
            }
            Received::End => return,
        };
        let written = timeout(WRITE_TIMEOUT, write_half.write_all(&line)).await;
        // After a truncated request, the start of the next request is unknown.
        if !matches!(written, Ok(Ok(()))) || matches!(request, Received::TooLong) {
            return;
        }
    }
}

/// Input from a client.
enum Received {
    Request(Vec<u8>),
    TooLong,
    End,
}

/// Reads one line. The last line may lack its newline.
async fn read_request(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Received> {
    let mut line = Vec::new();
    reader.take(MAX_REQUEST_BYTES as u64 + 1).read_until(b'\n', &mut line).await?;
    Ok(match line.last() {
        None => Received::End,
        Some(b'\n') => {
            line.pop();
            Received::Request(line)
        }
        Some(_) if line.len() > MAX_REQUEST_BYTES => Received::TooLong,
        Some(_) => Received::Request(line),
    })
}

async fn respond(
    text: &[u8],
    peer: &Credentials,
    queries: &mpsc::Sender<Query>,
    source: &impl Source,
    access: &Access,
) -> Line {
    let wanted = match serde_json::from_slice(text) {
        Ok(Request::Status) => Wanted::Status,
        Ok(Request::Stats) => Wanted::Stats,
        Ok(_) if access.right(peer) < Right::Change => {
            return error_line(access.refusal(peer, Right::Change).to_string()).into();
        }
        Ok(request) => return reply_line(source.change(request, peer.clone()).await).into(),
        Err(error) => {
            return error_line(format!(
                "not a request: {error}; send {{\"command\":\"status\"}} or {{\"command\":\"stats\"}}"
            ))
            .into();
        }
    };
    let (reply, answered) = oneshot::channel();
    let sent = queries.send(Query { wanted, reply }).await.is_ok();
    match answered.await {
        Ok(line) if sent => line,
        _ => error_line("the agent is stopping".to_owned()).into(),
    }
}

async fn in_time<T>(report: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match timeout(REPORT_TIMEOUT, report).await {
        Ok(report) => report,
        Err(_) => Err(format!("the agent did not reply within {} s", REPORT_TIMEOUT.as_secs())),
    }
}

/// Encodes a report or an error as one line of JSON.
fn reply_line<T: Serialize>(result: Result<T, String>) -> Vec<u8> {
    match result {
        Ok(report) => encode(&report),
        Err(error) => error_line(error),
    }
}

pub(super) fn error_line(error: String) -> Vec<u8> {
    encode(&ErrorReply { error })
}

fn encode(reply: &impl Serialize) -> Vec<u8> {
    let encoded = serde_json::to_vec(reply);
    let mut line = encoded.unwrap_or_else(|_| br#"{"error":"failed to serialize the report"}"#.to_vec());
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicUsize);

    impl Source for Counting {
        async fn status(&self) -> Result<StatusReport, String> {
            Err("not today".to_owned())
        }

        async fn stats(&self) -> Result<StatsReport, String> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(StatsReport {
                global: super::super::model::GlobalStatistics::default(),
                instances: Vec::new(),
            })
        }

        async fn change(&self, _request: Request, _by: Credentials) -> Result<ChangeReport, String> {
            Err("unexpected request".to_owned())
        }
    }

    #[test]
    fn slots_are_reserved_for_clients_that_may_change_the_agent() {
        assert_eq!(limit(Right::Change), MAX_CLIENTS);
        assert_eq!(limit(Right::Query), MAX_CLIENTS - RESERVED);
    }

    #[test]
    fn waiting_requests_are_answered_from_one_report() {
        let (queries, received) = mpsc::channel(MAX_CLIENTS);
        let query = |wanted| {
            let (reply, answered) = oneshot::channel();
            queries.try_send(Query { wanted, reply }).expect("room");
            answered
        };
        let mut stats: Vec<_> = (1..MAX_CLIENTS).map(|_| query(Wanted::Stats)).collect();
        let mut other = query(Wanted::Status);
        drop(queries);
        let source = Counting::default();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        runtime.block_on(answer_queries(&source, received));
        assert_eq!(source.0.load(Ordering::Relaxed), 1);
        let lines: Vec<Line> =
            stats.iter_mut().map(|answered| answered.try_recv().expect("answered")).collect();
        assert!(lines.iter().all(|line| Arc::ptr_eq(line, &lines[0])));
        assert_eq!(&*other.try_recv().expect("answered"), b"{\"error\":\"not today\"}\n");
    }
}

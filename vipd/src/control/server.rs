//! The server side of the control socket.
//!
//! Each client is bounded in memory and time, and their number is bounded: a client that is stuck
//! or hostile occupies only its own slot and does not delay other clients. Requests that wait while
//! reports are built are answered together, from one report: building a report for thousands of
//! routers is work for the engine, too.

use std::io::{self, Write as _};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::model::{StatsReport, StatusReport};
use super::protocol::{ErrorAnswer, MAX_REQUEST_BYTES, Request};

/// Clients served at a time; one more gets an error and is closed.
pub const MAX_CLIENTS: usize = 64;
/// How long a client may take between two requests, and for one request.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to read an answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the agent may take to build a report.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// An answer, shared by the clients that get it.
type Line = Arc<[u8]>;

/// Builds the reports. An `Err` is a sentence for the user.
pub trait Source: Send + Sync + 'static {
    /// Returns the answer to `status`.
    fn status(&self) -> impl Future<Output = Result<StatusReport, String>> + Send;
    /// Returns the answer to `stats`.
    fn stats(&self) -> impl Future<Output = Result<StatsReport, String>> + Send;
}

/// Serves clients until it is dropped, which closes their connections; call it inside a tokio
/// runtime.
///
/// # Errors
/// When the listener cannot be registered with the runtime. Afterwards it does not return.
pub async fn serve(listener: StdUnixListener, source: Arc<impl Source>) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let mut clients = JoinSet::new();
    // A client waits for its answer before it sends the next request.
    let (queries, received) = mpsc::channel(MAX_CLIENTS);
    let mut answers = std::pin::pin!(answer_queries(&*source, received));
    let mut accepts = true;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = clients.join_next(), if !clients.is_empty() => continue,
            () = &mut answers => continue,
        };
        while clients.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if clients.len() >= MAX_CLIENTS => turn_away(stream),
            Ok((stream, _)) => {
                accepts = true;
                clients.spawn(converse(stream, queries.clone()));
            }
            Err(error) => {
                // Most likely out of file descriptors. Logged once until a client is accepted
                // again.
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

/// Sends an error to a client that is one too many, without waiting: a new socket has room for one
/// line.
fn turn_away(stream: UnixStream) {
    if let Ok(mut stream) = stream.into_std() {
        let line = refusal(format!("{MAX_CLIENTS} clients are connected already; try again later"));
        let _ = stream.write(&line);
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
struct Query {
    request: Request,
    answer: oneshot::Sender<Line>,
}

/// Answers all waiting requests from one report of each kind, then those that have come meanwhile
/// from the next.
///
/// A report is never older than the request it answers.
async fn answer_queries(source: &impl Source, mut received: mpsc::Receiver<Query>) {
    while let Some(first) = received.recv().await {
        let mut waiting = vec![first];
        while let Ok(query) = received.try_recv() {
            waiting.push(query);
        }
        let wants = |wanted| waiting.iter().any(|query| query.request == wanted);
        let (states, counters) = tokio::join!(
            report(wants(Request::Status), source.status()),
            report(wants(Request::Stats), source.stats())
        );
        for Query { request, answer } in waiting {
            let line = match request {
                Request::Status => &states,
                Request::Stats => &counters,
            };
            if let Some(line) = line {
                // The client may have gone.
                let _ = answer.send(Arc::clone(line));
            }
        }
    }
}

/// Builds a report, if it is wanted.
async fn report<T: Serialize>(
    is_wanted: bool,
    building: impl Future<Output = Result<T, String>>,
) -> Option<Line> {
    if is_wanted { Some(answer(in_time(building).await).into()) } else { None }
}

/// Answers one client until it closes, is idle for too long or exceeds the limits of the protocol.
async fn converse(mut stream: UnixStream, queries: mpsc::Sender<Query>) {
    let (read_half, mut write_half) = stream.split();
    let mut reader = BufReader::new(read_half);
    loop {
        let Ok(Ok(request)) = timeout(READ_TIMEOUT, read_request(&mut reader)).await else { return };
        let line = match &request {
            Received::Request(text) => respond(text, &queries).await,
            Received::TooLong => {
                refusal(format!("a request is longer than {MAX_REQUEST_BYTES} bytes")).into()
            }
            Received::End => return,
        };
        let written = timeout(WRITE_TIMEOUT, write_half.write_all(&line)).await;
        // The start of the next request is unknown after one that was cut off.
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

/// Reads one line; the last may lack its newline.
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

async fn respond(text: &[u8], queries: &mpsc::Sender<Query>) -> Line {
    let request = match serde_json::from_slice(text) {
        Ok(request) => request,
        Err(error) => {
            return refusal(format!(
                "not a request: {error}; send {{\"command\":\"status\"}} or {{\"command\":\"stats\"}}"
            ))
            .into();
        }
    };
    let (answer, answered) = oneshot::channel();
    let sent = queries.send(Query { request, answer }).await.is_ok();
    match answered.await {
        Ok(line) if sent => line,
        _ => refusal("the agent is stopping".to_owned()).into(),
    }
}

async fn in_time<T>(report: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match timeout(REPORT_TIMEOUT, report).await {
        Ok(report) => report,
        Err(_) => Err(format!("the agent did not answer within {} s", REPORT_TIMEOUT.as_secs())),
    }
}

/// Returns a report or an error as one line of JSON.
fn answer<T: Serialize>(result: Result<T, String>) -> Vec<u8> {
    match result {
        Ok(report) => encode(&report),
        Err(error) => refusal(error),
    }
}

fn refusal(error: String) -> Vec<u8> {
    encode(&ErrorAnswer { error })
}

fn encode(answer: &impl Serialize) -> Vec<u8> {
    let encoded = serde_json::to_vec(answer);
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
    }

    #[test]
    fn requests_that_wait_are_answered_from_one_report() {
        let (queries, received) = mpsc::channel(MAX_CLIENTS);
        let query = |request| {
            let (answer, answered) = oneshot::channel();
            queries.try_send(Query { request, answer }).expect("room");
            answered
        };
        let mut stats: Vec<_> = (1..MAX_CLIENTS).map(|_| query(Request::Stats)).collect();
        let mut other = query(Request::Status);
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

//! The server's side of the control socket.
//!
//! Every client is bounded in memory and time, and so is their number: a client that is stuck, or means harm,
//! costs its own slot and nobody else's time.

use std::io::{self, Write as _};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::model::{StatsReport, StatusReport};
use super::protocol::{ErrorAnswer, MAX_REQUEST_BYTES, Request};

/// Clients served at a time; one more is told so and closed.
pub const MAX_CLIENTS: usize = 64;
/// A client may be silent this long between two requests.
pub const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// A client has this long to take an answer.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(5);
/// The agent has this long to make a report.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(2);

/// Where the reports come from. An `Err` is one sentence for the person who asked.
pub trait Source: Send + Sync + 'static {
    /// The answer to `status`.
    fn status(&self) -> impl Future<Output = Result<StatusReport, String>> + Send;
    /// The answer to `stats`.
    fn stats(&self) -> impl Future<Output = Result<StatsReport, String>> + Send;
}

/// Serves clients until dropped, which closes their connections; call it inside a tokio runtime.
///
/// # Errors
/// When the listener cannot be handed to the runtime. Afterwards it only returns by being dropped.
pub async fn serve(listener: StdUnixListener, source: Arc<impl Source>) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
    let mut clients = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = clients.join_next(), if !clients.is_empty() => continue,
        };
        while clients.try_join_next().is_some() {}
        match accepted {
            Ok((stream, _)) if clients.len() >= MAX_CLIENTS => turn_away(stream),
            Ok((stream, _)) => {
                clients.spawn(converse(stream, Arc::clone(&source)));
            }
            Err(error) => {
                // Out of file descriptors, most likely: waiting is all that helps.
                tracing::warn!(%error, "cannot accept a client on the control socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Tells a client that there are too many, without waiting for it: a fresh socket has room for one line.
fn turn_away(stream: UnixStream) {
    if let Ok(mut stream) = stream.into_std() {
        let line =
            answer(Err::<(), _>(format!("{MAX_CLIENTS} clients are connected already; try again later")));
        let _ = stream.write(&line);
    }
}

/// Answers one client until it leaves, is silent for too long or breaks the protocol's bounds.
async fn converse(mut stream: UnixStream, source: Arc<impl Source>) {
    let (read_half, mut write_half) = stream.split();
    let mut reader = BufReader::new(read_half);
    loop {
        let Ok(Ok(request)) = timeout(READ_TIMEOUT, read_request(&mut reader)).await else { return };
        let line = match &request {
            Line::Request(text) => respond(text, &*source).await,
            Line::TooLong => {
                answer(Err::<(), _>(format!("a request is longer than {MAX_REQUEST_BYTES} bytes")))
            }
            Line::End => return,
        };
        let written = timeout(WRITE_TIMEOUT, write_half.write_all(&line)).await;
        // Where the next request begins is not known after one that was cut off.
        if !matches!(written, Ok(Ok(()))) || matches!(request, Line::TooLong) {
            return;
        }
    }
}

enum Line {
    Request(Vec<u8>),
    TooLong,
    End,
}

/// One line; the last may lack its newline.
async fn read_request(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Line> {
    let mut line = Vec::new();
    reader.take(MAX_REQUEST_BYTES as u64 + 1).read_until(b'\n', &mut line).await?;
    Ok(match line.last() {
        None => Line::End,
        Some(b'\n') => {
            line.pop();
            Line::Request(line)
        }
        Some(_) if line.len() > MAX_REQUEST_BYTES => Line::TooLong,
        Some(_) => Line::Request(line),
    })
}

async fn respond(text: &[u8], source: &impl Source) -> Vec<u8> {
    match serde_json::from_slice(text) {
        Ok(Request::Status) => answer(in_time(source.status()).await),
        Ok(Request::Stats) => answer(in_time(source.stats()).await),
        Err(error) => answer(Err::<(), _>(format!(
            "not a request: {error}; send {{\"command\":\"status\"}} or {{\"command\":\"stats\"}}"
        ))),
    }
}

async fn in_time<T>(report: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    match timeout(REPORT_TIMEOUT, report).await {
        Ok(report) => report,
        Err(_) => Err(format!("the agent did not answer within {} s", REPORT_TIMEOUT.as_secs())),
    }
}

/// A report or an error as one line of JSON.
fn answer<T: Serialize>(result: Result<T, String>) -> Vec<u8> {
    let encoded = match result {
        Ok(report) => serde_json::to_vec(&report),
        Err(error) => serde_json::to_vec(&ErrorAnswer { error }),
    };
    let mut line = encoded.unwrap_or_else(|_| br#"{"error":"the report cannot be said in JSON"}"#.to_vec());
    line.push(b'\n');
    line
}

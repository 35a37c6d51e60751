//! The HTTP server: listens, and limits the number of connections, their duration and the size of
//! requests.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http_body_util::Either;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::cache::Cache;
use super::respond::{Answer, respond};
use super::stream::{self, Clock, Deadline, Events};
use super::{Controls, Settings, Source};

/// Maximum number of connections. Further clients wait in the listener's queue.
pub(crate) const MAX_CONNECTIONS: usize = 32;
/// Maximum number of connections that stream events. The remaining ones are for short requests.
pub(super) const MAX_STREAMS: usize = 16;
/// Maximum size of a request line and headers, in bytes.
const MAX_HEADER: usize = 8192;
/// Maximum time for a client to send its request line and headers.
const MAX_HEADER_DURATION: Duration = Duration::from_secs(2);
/// Maximum duration of a connection, which serves one request. For a stream of events, maximum time
/// until the client has accepted the next event.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(10);
/// Size of the send buffer of a connection, in bytes.
const SEND_BUFFER: usize = 32 * 1024;
/// Pause between the first and the second attempt to listen.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Pause before each later attempt to listen.
const RETRY: Duration = Duration::from_secs(1);
/// Pause after a failure to accept a connection.
const PAUSE: Duration = Duration::from_millis(100);

/// State shared by all connections.
struct Shared<S> {
    cache: Arc<Cache<S>>,
    /// Permits for streams of events.
    streams: Arc<Semaphore>,
    clock: Clock,
}

// A derived implementation would require `S: Clone`.
impl<S> Clone for Shared<S> {
    fn clone(&self) -> Self {
        Self { cache: Arc::clone(&self.cache), streams: Arc::clone(&self.streams), clock: self.clock }
    }
}

/// Serves clients until one of the two senders of `controls` is dropped.
pub(super) async fn run<S: Source>(source: Arc<S>, controls: Controls) {
    let Controls { mut settings, mut is_open } = controls;
    loop {
        let present = *settings.borrow_and_update();
        let may_listen = *is_open.borrow_and_update();
        tokio::select! {
            // Any change closes the listener and all connections.
            changed = settings.changed() => if changed.is_err() { return },
            changed = is_open.changed() => if changed.is_err() { return },
            () = serve(Arc::clone(&source), present), if may_listen => {}
        }
    }
}

/// Listens at the configured address, and serves clients until the future is dropped.
async fn serve<S: Source>(source: Arc<S>, settings: Settings) {
    let listener = listen(settings.listen).await;
    let shared = Shared {
        cache: Arc::new(Cache::new(source, settings.keepalived_names)),
        streams: Arc::new(Semaphore::new(MAX_STREAMS)),
        clock: Clock::start(),
    };
    let mut connections = JoinSet::new();
    let mut accepts = true;
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                accepts = true;
                connections.spawn(serve_connection(stream, shared.clone()));
            }
            Err(error) => {
                // Most likely, no file descriptor is available. Only the first error is logged
                // until a client has been accepted again.
                if std::mem::take(&mut accepts) {
                    tracing::warn!(%error, "cannot accept a connection to the metrics server; trying again");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Listens at an address. Retries until this succeeds, because the address may be added to an
/// interface later. Logs an error if its kind differs from that of the last logged error. The first
/// attempt's error is not logged, because a predecessor may not have closed its listener yet.
async fn listen(address: SocketAddr) -> TcpListener {
    let mut logged = None;
    let mut pause = FIRST_RETRY;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                tracing::info!(%address, "serving metrics");
                return listener;
            }
            Err(error) => {
                if pause == RETRY && logged.replace(error.kind()) != Some(error.kind()) {
                    let remedy = remedy(&error);
                    tracing::error!(%error, "cannot serve metrics at {address}: {remedy}; trying again every second");
                }
                sleep(pause).await;
                pause = RETRY;
            }
        }
    }
}

/// Returns the remedy for a failure to listen.
fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "another program uses the port; stop it, or choose another port for metrics.listen"
        }
        io::ErrorKind::AddrNotAvailable => {
            "no interface has the address; add it to an interface, or choose another address for metrics.listen"
        }
        io::ErrorKind::PermissionDenied => {
            "the port is reserved for privileged programs; choose port 1024 or higher for metrics.listen"
        }
        _ => "choose another address for metrics.listen",
    }
}

/// Limits the amount of data that the kernel buffers for a client, and the time for which the data
/// may remain unacknowledged. Writing to the socket succeeds as long as there is room in the
/// buffer, so the deadline of a stream, which each event postpones, would take too long to
/// disconnect a client that no longer reads.
fn limit(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket.set_tcp_user_timeout(Some(MAX_DURATION))
}

/// Serves one request.
async fn serve_connection<S: Source>(stream: TcpStream, shared: Shared<S>) {
    if let Err(error) = limit(&stream) {
        tracing::debug!(%error, "cannot limit the send buffer of a connection to the metrics server");
    }
    let deadline = Deadline::after(MAX_DURATION);
    // The stream of a client ends with its connection.
    let streams = Arc::new(Mutex::new(JoinSet::new()));
    let until = deadline.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let (shared, deadline, tasks) = (shared.clone(), deadline.clone(), Arc::clone(&streams));
        async move {
            let Shared { cache, streams, clock } = shared;
            let response = match respond(&cache, &streams, &request).await {
                Answer::Complete(response) => response.map(Either::Left),
                Answer::Stream(head, permit) => {
                    let (sender, body) = Events::new();
                    let sending = stream::send(cache, clock, sender, deadline, permit);
                    tasks.lock().unwrap_or_else(PoisonError::into_inner).spawn(sending);
                    head.map(|()| Either::Right(body))
                }
            };
            Ok::<_, Infallible>(response)
        }
    });
    let connection = http1::Builder::new()
        // Keep-alive is off, so that idle clients do not occupy connections.
        .keep_alive(false)
        .max_header_size(MAX_HEADER)
        .max_buf_size(2 * MAX_HEADER)
        .timer(TokioTimer::new())
        .header_read_timeout(MAX_HEADER_DURATION)
        .serve_connection(TokioIo::new(stream), service);
    tokio::select! {
        // All errors are caused by the client, which has disconnected or sent an invalid request.
        _ = connection => {}
        () = until.passed() => {}
    }
}

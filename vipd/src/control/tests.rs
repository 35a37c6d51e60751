//! Tests of the control socket, with real sockets in temporary directories.

use std::io::{BufRead as _, BufReader, ErrorKind, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::access::{Access, Credentials};
use super::client::{Client, ClientError, NoAgent};
use super::model::{ChangeReport, GlobalStatistics, StatsReport, StatusReport};
use super::protocol::{MAX_REQUEST_BYTES, Request};
use super::runtime::{RuntimeDir, RuntimeError, socket_path};
use super::server::{MAX_CLIENTS, Source, WRITE_TIMEOUT, serve};

/// Replies to `stats` with a report and to `status` with an error.
struct Fixed;

impl Source for Fixed {
    async fn status(&self) -> Result<StatusReport, String> {
        Err("not today".to_owned())
    }

    async fn stats(&self) -> Result<StatsReport, String> {
        Ok(report())
    }

    async fn change(&self, _request: Request, by: Credentials) -> Result<ChangeReport, String> {
        let changes = vec![format!("requested by user {}", by.uid)];
        Ok(ChangeReport { changes, ..ChangeReport::default() })
    }
}

fn report() -> StatsReport {
    StatsReport { global: GlobalStatistics { vrid_errors: 7, ..Default::default() }, instances: Vec::new() }
}

/// A runtime directory with a running server, which stops when the value is dropped.
struct Served {
    directory: TempDir,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Served {
    fn start() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        let runtime_dir = RuntimeDir::open(directory.path()).expect("opened");
        let listener = runtime_dir.listen(&Access::default()).expect("listen");
        let (stop, stopped) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
            runtime.block_on(async {
                tokio::select! {
                    ended = serve(listener, Arc::new(Fixed), Access::default()) => panic!("the server ended: {ended:?}"),
                    _ = stopped => {}
                }
            });
            drop(runtime_dir);
        });
        Self { directory, _stop: stop }
    }

    fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(socket_path(self.directory.path())).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("timeout");
        BufReader::new(stream)
    }
}

fn ask(client: &mut BufReader<UnixStream>, line: &[u8]) -> String {
    client.get_mut().write_all(line).expect("write");
    read_line(client)
}

fn read_line(client: &mut BufReader<UnixStream>) -> String {
    let mut reply = String::new();
    client.read_line(&mut reply).expect("read");
    reply
}

#[test]
fn the_client_returns_the_report_or_the_agents_error() {
    let served = Served::start();
    let client = Client::new(served.directory.path());
    assert_eq!(client.stats().expect("stats"), report());
    let refused = client.status().expect_err("refused");
    assert_eq!(refused.to_string(), "the agent refused the request: not today");
}

#[test]
fn garbage_on_a_connection_does_not_affect_the_next_request() {
    let served = Served::start();
    let mut client = served.connect();
    let first = ask(&mut client, b"{\"command\":\"stats\"}\n");
    assert!(first.starts_with("{\"global\":{"), "{first}");
    for garbage in [&b"hello\n"[..], b"\n", b"\xff\xfe\n", b"{\"command\":\"reboot\"}\n", b"[[[[\n", b"{}\n"]
    {
        let reply = ask(&mut client, garbage);
        assert!(reply.starts_with("{\"error\":\"not a request: "), "{garbage:?}: {reply}");
    }
    assert_eq!(ask(&mut client, b"{\"command\":\"stats\"}\n"), first);
}

#[test]
fn a_last_line_without_a_newline_is_a_request() {
    let served = Served::start();
    let mut client = served.connect();
    client.get_mut().write_all(b"{\"command\":\"stats\"}").expect("write");
    client.get_mut().shutdown(std::net::Shutdown::Write).expect("shutdown");
    assert!(read_line(&mut client).starts_with("{\"global\":{"));
    assert_eq!(read_line(&mut client), "");
}

#[test]
fn an_oversized_line_is_rejected_and_the_connection_closed() {
    let served = Served::start();
    let mut client = served.connect();
    let reply = ask(&mut client, &vec![b'x'; MAX_REQUEST_BYTES + 1]);
    assert_eq!(reply, "{\"error\":\"a request is longer than 65536 bytes\"}\n");
    assert_eq!(read_line(&mut client), "");

    let mut padded = b"{\"command\":\"stats\"}".to_vec();
    padded.resize(MAX_REQUEST_BYTES, b' ');
    padded.push(b'\n');
    assert!(ask(&mut served.connect(), &padded).starts_with("{\"global\":{"));
}

#[test]
fn a_stuck_client_does_not_delay_another() {
    let served = Served::start();
    // One client sends half a request, and one never reads a reply.
    let mut half = served.connect();
    half.get_mut().write_all(b"{\"command\":").expect("write");
    let unread = served.connect();
    unread.get_ref().set_nonblocking(true).expect("non-blocking");
    while unread.get_ref().write(b"{\"command\":\"stats\"}\n").is_ok() {}

    let begun = Instant::now();
    assert_eq!(Client::new(served.directory.path()).stats().expect("stats"), report());
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_client_that_never_reads_loses_its_slot() {
    let served = Served::start();
    let mut unread = UnixStream::connect(socket_path(served.directory.path())).expect("connect");
    unread.set_nonblocking(true).expect("non-blocking");
    let deadline = Instant::now() + WRITE_TIMEOUT + Duration::from_secs(10);
    loop {
        match unread.write(b"{\"command\":\"stats\"}\n") {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(Duration::from_millis(20)),
            Err(_) => break,
        }
        assert!(Instant::now() < deadline, "the server never times out");
    }
}

#[test]
fn a_client_beyond_the_limit_gets_an_error() {
    let served = Served::start();
    let mut clients: Vec<_> = (0..MAX_CLIENTS).map(|_| served.connect()).collect();
    // A reply shows that the client has been accepted.
    for client in &mut clients {
        assert!(ask(client, b"{\"command\":\"stats\"}\n").starts_with("{\"global\":{"));
    }
    let reply = read_line(&mut served.connect());
    assert_eq!(reply, "{\"error\":\"64 clients are already connected; try again later\"}\n");
    drop(clients);
    // The server detects asynchronously that the clients have disconnected.
    let deadline = Instant::now() + Duration::from_secs(10);
    while Client::new(served.directory.path()).stats().is_err() {
        assert!(Instant::now() < deadline, "the slots were not released");
    }
}

#[test]
fn without_an_agent_the_error_gives_the_remedy() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let missing = Client::new(directory.path()).stats().expect_err("no agent");
    let expected = format!(
        "no agent is running with the runtime directory {0}; start one with `sudo vipd run -c FILE --runtime-dir \
         {0}`, or ",
        directory.path().display()
    );
    let missing = missing.to_string();
    assert!(missing.starts_with(&expected), "{missing}");
    for (directory, others, expected) in [
        (
            "/run/vipd",
            &[][..],
            "no agent is running with the runtime directory /run/vipd; start one with `systemctl start vipd` or `sudo \
             vipd run -c FILE`, or specify the directory of a running one with --runtime-dir DIR",
        ),
        (
            "/run/vipd",
            &["/run/vipd-second"],
            "no agent is running with the runtime directory /run/vipd; start one with `systemctl start vipd` or `sudo \
             vipd run -c FILE`, or use the running one with --runtime-dir /run/vipd-second",
        ),
        (
            "/run/x",
            &["/run/a", "/run/b"],
            "no agent is running with the runtime directory /run/x; start one with `sudo vipd run -c FILE --runtime-dir \
             /run/x`, or use a running one with --runtime-dir DIR, where DIR is /run/a or /run/b",
        ),
    ] {
        let others = others.iter().map(|other| (*other).to_owned()).collect();
        assert_eq!(NoAgent { directory: directory.into(), others }.to_string(), expected);
    }

    // The socket exists, but no agent listens on it.
    drop(std::os::unix::net::UnixListener::bind(socket_path(directory.path())).expect("bind"));
    let stale = Client::new(directory.path()).stats().expect_err("no agent");
    assert!(matches!(stale, ClientError::NoAgent(_)), "{stale}");

    let long = Client::new("x".repeat(100)).stats().expect_err("too long");
    assert!(matches!(long, ClientError::PathTooLong(_)), "{long}");
}

#[test]
fn a_directory_in_use_is_rejected_without_affecting_its_agent() {
    let served = Served::start();
    let path = served.directory.path();
    let refused = RuntimeDir::open(path).expect_err("taken");
    let expected = format!(
        "another vipd (pid {}) is already running with the runtime directory {}; stop it first, or choose another \
         directory with --runtime-dir DIR",
        std::process::id(),
        path.display()
    );
    assert_eq!(refused.to_string(), expected);
    assert_eq!(Client::new(path).stats().expect("still served"), report());
}

#[test]
fn dropping_the_directory_releases_it_and_removes_the_socket() {
    let parent = tempfile::tempdir().expect("temporary directory");
    let path = parent.path().join("new");
    let first = RuntimeDir::open(&path).expect("opened");
    let _listener = first.listen(&Access::default()).expect("listen");
    assert!(socket_path(&path).exists());
    // A child that outlives the agent must not keep the lock.
    let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
    drop(first);
    assert!(!socket_path(&path).exists());

    // A killed agent leaves its socket behind.
    drop(std::os::unix::net::UnixListener::bind(socket_path(&path)).expect("bind"));
    let second = open_once_released(&path);
    child.kill().and_then(|()| child.wait()).expect("child");
    let second = second.expect("opened");
    second.listen(&Access::default()).expect("the stale socket was removed");
}

/// Opens the runtime directory once its lock has been released. A child process that another test
/// has forked keeps all descriptors open until it calls exec.
fn open_once_released(path: &Path) -> Result<RuntimeDir, RuntimeError> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match RuntimeDir::open(path) {
            Err(RuntimeError::Taken { .. }) if Instant::now() < end => thread::yield_now(),
            result => return result,
        }
    }
}

#[test]
fn a_directory_that_cannot_be_created_is_reported() {
    let parent = tempfile::tempdir().expect("temporary directory");
    let file = parent.path().join("file");
    std::fs::write(&file, "").expect("write");
    let refused = RuntimeDir::open(&file).expect_err("a file");
    assert!(matches!(refused, RuntimeError::System { action: "create", .. }), "{refused}");
}

//! The control socket: each line from a client is answered with one line of JSON, and every
//! connection ends.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream as StdUnixStream};
use std::sync::Arc;
use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;
use vipd::control::access::{Access, Credentials};
use vipd::control::model::{ChangeReport, GlobalStatistics, StatsReport, StatusReport};
use vipd::control::protocol::{MAX_REQUEST_BYTES, Request};
use vipd::control::server::{Source, serve};

/// Time limit for a connection, below the server's timeout for idle clients.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An action of a client.
#[derive(Debug, Arbitrary)]
enum Step<'a> {
    /// Sends these bytes.
    Send(&'a [u8]),
    /// Sends one byte this many times, to create long lines. A newline is replaced by a space,
    /// because newlines would create many empty lines instead.
    Repeat(u8, u16),
    /// Sends `MAX_REQUEST_BYTES - 128` spaces and this many more, to reach the maximum line length.
    Longest(u8),
    /// Sends a `status` request.
    Status,
    /// Sends a `stats` request.
    Stats,
    /// Sends a newline.
    End,
    /// Lets the server read the data sent so far.
    Pause,
}

impl Step<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Send(bytes) => bytes.to_vec(),
            Self::Repeat(b'\n', times) => vec![b' '; usize::from(*times)],
            Self::Repeat(byte, times) => vec![*byte; usize::from(*times)],
            Self::Longest(more) => vec![b' '; MAX_REQUEST_BYTES - 128 + usize::from(*more)],
            Self::Status => br#"{"command":"status"}"#.to_vec(),
            Self::Stats => br#"{"command":"stats"}"#.to_vec(),
            Self::End => b"\n".to_vec(),
            Self::Pause => Vec::new(),
        }
    }
}

/// An agent that has empty statistics and rejects all other requests.
struct Agent;

impl Source for Agent {
    async fn status(&self) -> Result<StatusReport, String> {
        Err("refused".to_owned())
    }

    async fn stats(&self) -> Result<StatsReport, String> {
        Ok(StatsReport { global: GlobalStatistics::default(), instances: Vec::new() })
    }

    async fn change(&self, _request: Request, _by: Credentials) -> Result<ChangeReport, String> {
        Err("unchanged".to_owned())
    }
}

/// A control server in this process.
struct Server {
    runtime: Runtime,
    address: SocketAddr,
}

impl Server {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // An abstract name leaves no file behind when libFuzzer aborts the process.
        let name = format!("vipd-fuzz-{}-{:?}", std::process::id(), std::thread::current().id());
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        listener.set_nonblocking(true)?;
        drop(runtime.spawn(serve(listener, Arc::new(Agent), Access::default())));
        Ok(Self { runtime, address })
    }

    /// Performs the steps on a new connection, and returns everything that the server sends.
    fn exchange(&self, steps: &[Step<'_>]) -> io::Result<Vec<u8>> {
        self.runtime.block_on(async {
            let stream = StdUnixStream::connect_addr(&self.address)?;
            stream.set_nonblocking(true)?;
            let (mut reader, writer) = UnixStream::from_std(stream)?.into_split();
            let mut answers = Vec::new();
            let both = async { tokio::join!(reader.read_to_end(&mut answers), send(writer, steps)) };
            let (read, ()) = timeout(TIMEOUT, both).await?;
            match read {
                // The server may close the connection before it has read everything.
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
                _ => Ok(answers),
            }
        })
    }
}

/// Performs the steps and closes the connection. The server may close it earlier.
async fn send(mut writer: OwnedWriteHalf, steps: &[Step<'_>]) {
    for step in steps {
        if writer.write_all(&step.bytes()).await.is_err() {
            return;
        }
        if matches!(step, Step::Pause) {
            tokio::task::yield_now().await;
        }
    }
}

thread_local! {
    static SERVER: io::Result<Server> = Server::start();
}

/// Runs one input: a sequence of client actions.
///
/// # Panics
/// Panics if a reply is missing, unexpected or not JSON, or the connection does not end.
pub fn run(input: &[u8]) {
    let Ok(steps) = Vec::<Step>::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let answers = SERVER.with(|server| {
        let server = server.as_ref().expect("start the server");
        server.exchange(&steps).expect("exchange data with the server")
    });
    let sent: Vec<u8> = steps.iter().flat_map(Step::bytes).collect();
    let wanted = wanted(&sent);
    let answers: Vec<&[u8]> = answers.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(answers.len(), wanted.len(), "one reply per line");
    for (answer, wanted) in answers.into_iter().zip(wanted) {
        assert_eq!(answer.last(), Some(&b'\n'), "a reply is a line");
        let answer: Value = serde_json::from_slice(answer).expect("a reply is JSON");
        let object = answer.as_object().expect("a reply is an object");
        match wanted {
            Answer::Report => assert!(object.contains_key("global"), "{answer}"),
            Answer::Error(begin) => {
                let text = answer["error"].as_str().expect("an error is a string");
                assert!(object.len() == 1 && text.starts_with(begin), "{answer}");
            }
        }
    }
}

/// The expected reply to a line.
#[derive(Debug)]
enum Answer {
    Report,
    /// An error with this prefix.
    Error(&'static str),
}

/// Returns the expected replies to the sent bytes. The last line may lack its newline. The reply to
/// an overlong line or an `events` request is the last one.
fn wanted(sent: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for line in sent.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if text.len() > MAX_REQUEST_BYTES {
            answers.push(Answer::Error("a request is longer than 65536 bytes"));
            break;
        }
        if matches!(serde_json::from_slice(text), Ok(Request::Events { .. })) {
            // Ends the connection.
            answers.push(Answer::Error("this agent does not store events"));
            break;
        }
        answers.push(match serde_json::from_slice(text) {
            Ok(Request::Stats) => Answer::Report,
            Ok(Request::Status) => Answer::Error("refused"),
            Ok(_) => Answer::Error("unchanged"),
            Err(_) => Answer::Error("not a request: "),
        });
    }
    answers
}

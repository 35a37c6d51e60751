//! The control socket: whatever a client sends, each line gets one line of JSON, and the conversation ends.

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
use vipd::control::model::{GlobalStatistics, StatsReport, StatusReport};
use vipd::control::protocol::{MAX_REQUEST_BYTES, Request};
use vipd::control::server::{Source, serve};

/// Far less than the server's own patience with a silent client: nothing here waits for that.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client does.
#[derive(Debug, Arbitrary)]
enum Step<'a> {
    /// Sends these bytes.
    Send(&'a [u8]),
    /// Sends one byte this many times, for long lines. A newline would make so many empty ones: that is a space.
    Repeat(u8, u16),
    /// Sends so many spaces more than 128 less than a line may have.
    Longest(u8),
    /// Sends a request that is right.
    Status,
    /// Sends the other one.
    Stats,
    /// Ends a line.
    End,
    /// Lets the server read what was sent so far.
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

/// An agent that has nothing to report, and will not say how it is.
struct Agent;

impl Source for Agent {
    async fn status(&self) -> Result<StatusReport, String> {
        Err("not today".to_owned())
    }

    async fn stats(&self) -> Result<StatsReport, String> {
        Ok(StatsReport { global: GlobalStatistics::default(), instances: Vec::new() })
    }
}

/// The one server of this process: its runtime, and where it listens.
struct Server {
    runtime: Runtime,
    address: SocketAddr,
}

impl Server {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        // An abstract name: nothing is left behind by a process that libFuzzer aborts.
        let name = format!("vipd-fuzz-{}-{:?}", std::process::id(), std::thread::current().id());
        let address = SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        listener.set_nonblocking(true)?;
        drop(runtime.spawn(serve(listener, Arc::new(Agent))));
        Ok(Self { runtime, address })
    }

    /// Everything that the server answers.
    fn converse(&self, steps: &[Step<'_>]) -> io::Result<Vec<u8>> {
        self.runtime.block_on(async {
            let stream = StdUnixStream::connect_addr(&self.address)?;
            stream.set_nonblocking(true)?;
            let (mut reader, writer) = UnixStream::from_std(stream)?.into_split();
            let mut answers = Vec::new();
            let both = async { tokio::join!(reader.read_to_end(&mut answers), send(writer, steps)) };
            let (read, ()) = timeout(PATIENCE, both).await?;
            match read {
                // So ends a connection that the server closed before it had read all.
                Err(error) if error.kind() != io::ErrorKind::ConnectionReset => Err(error),
                _ => Ok(answers),
            }
        })
    }
}

/// Takes the steps, and hangs up; the server may do so before.
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

/// An input is what a client does, step by step.
///
/// # Panics
/// When an answer is missing, is no JSON, or is another than the line deserves, and when the conversation does not end.
pub fn run(input: &[u8]) {
    let Ok(steps) = Vec::<Step>::arbitrary_take_rest(Unstructured::new(input)) else { return };
    let answers = SERVER.with(|server| {
        let server = server.as_ref().expect("a server on an abstract socket");
        server.converse(&steps).expect("a conversation")
    });
    let said: Vec<u8> = steps.iter().flat_map(Step::bytes).collect();
    let wanted = wanted(&said);
    let answers: Vec<&[u8]> = answers.split_inclusive(|byte| *byte == b'\n').collect();
    assert_eq!(answers.len(), wanted.len(), "an answer a line");
    for (answer, wanted) in answers.into_iter().zip(wanted) {
        assert_eq!(answer.last(), Some(&b'\n'), "an answer is a line");
        let answer: Value = serde_json::from_slice(answer).expect("an answer is JSON");
        let object = answer.as_object().expect("an answer is an object");
        match wanted {
            Answer::Report => assert!(object.contains_key("global"), "{answer}"),
            Answer::Error(begin) => {
                let text = answer["error"].as_str().expect("an error is a sentence");
                assert!(object.len() == 1 && text.starts_with(begin), "{answer}");
            }
        }
    }
}

/// What a line deserves.
#[derive(Debug)]
enum Answer {
    Report,
    /// An error that begins like this.
    Error(&'static str),
}

/// The answers to all that a client says: the last line may lack its newline, and nothing is read after one that is
/// too long.
fn wanted(said: &[u8]) -> Vec<Answer> {
    let mut answers = Vec::new();
    for line in said.split_inclusive(|byte| *byte == b'\n') {
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        if text.len() > MAX_REQUEST_BYTES {
            answers.push(Answer::Error("a request is longer than 65536 bytes"));
            break;
        }
        answers.push(match serde_json::from_slice(text) {
            Ok(Request::Stats) => Answer::Report,
            Ok(Request::Status) => Answer::Error("not today"),
            Err(_) => Answer::Error("not a request: "),
        });
    }
    answers
}

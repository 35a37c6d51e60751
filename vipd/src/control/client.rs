//! The client's side of the control socket: blocking, with an end to every wait.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use super::model::{StatsReport, StatusReport};
use super::protocol::{ErrorAnswer, MAX_ANSWER_BYTES, Request};
use super::runtime::socket_path;

/// How long the agent may take to connect, to read or to answer.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no answer; each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error(
        "no agent runs in {}; start one with `vipd run`, or say where it is with --runtime-dir DIR",
        .0.display()
    )]
    NoAgent(PathBuf),
    /// The socket belongs to somebody else.
    #[error(
        "permission denied to talk to the agent in {}; run as its user (usually root), or as a member of its \
         socket's group",
        .0.display()
    )]
    Permission(PathBuf),
    /// The agent took too long.
    #[error(
        "the agent in {} did not answer within {} s; it is overloaded or stopped; see its log",
        .0.display(),
        TIMEOUT.as_secs()
    )]
    Timeout(PathBuf),
    /// No socket can have such a path.
    #[error(
        "the path of the runtime directory {} is too long: with the socket's name it must be shorter than 108 \
         bytes; name another with --runtime-dir DIR",
        .0.display()
    )]
    PathTooLong(PathBuf),
    /// Something else of the system.
    #[error("cannot talk to the agent in {}: {cause}; see whether it still runs", .directory.display())]
    System {
        /// The runtime directory.
        directory: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// An answer that this version does not understand.
    #[error(
        "the agent in {} answered something else than expected: {reason}; is it of another version?",
        .directory.display()
    )]
    Protocol {
        /// The runtime directory.
        directory: PathBuf,
        /// What was wrong with it.
        reason: String,
    },
    /// The agent's own words.
    #[error("the agent says: {0}")]
    Agent(String),
}

/// Asks the agent of one runtime directory; a connection a question.
#[derive(Clone, Debug)]
pub struct Client {
    directory: PathBuf,
}

impl Client {
    /// A client of the agent that runs in `directory`.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self { directory: directory.as_ref().to_owned() }
    }

    /// Asks for `status`.
    ///
    /// # Errors
    /// When there is no agent, it may not be asked, or it does not answer properly within [`TIMEOUT`].
    pub fn status(&self) -> Result<StatusReport, ClientError> {
        self.ask(Request::Status)
    }

    /// Asks for `stats`.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn stats(&self) -> Result<StatsReport, ClientError> {
        self.ask(Request::Stats)
    }

    fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<T, ClientError> {
        let answer = self.exchange(request).map_err(|cause| self.explain(cause))?;
        if let Ok(ErrorAnswer { error }) = serde_json::from_slice(&answer) {
            return Err(ClientError::Agent(error));
        }
        serde_json::from_slice(&answer).map_err(|error| ClientError::Protocol {
            directory: self.directory.clone(),
            reason: if answer.is_empty() { "nothing".to_owned() } else { error.to_string() },
        })
    }

    fn exchange(&self, request: Request) -> io::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(&request)?;
        line.push(b'\n');
        let mut stream = self.connect()?;
        stream.write_all(&line)?;
        let mut answer = Vec::new();
        BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_until(b'\n', &mut answer)?;
        Ok(answer)
    }

    /// `UnixStream::connect` with a timeout: it would wait for ever on an agent that has stopped accepting.
    fn connect(&self) -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.set_write_timeout(Some(TIMEOUT))?;
        socket.set_read_timeout(Some(TIMEOUT))?;
        socket.connect(&SockAddr::unix(socket_path(&self.directory))?)?;
        Ok(socket.into())
    }

    fn explain(&self, cause: io::Error) -> ClientError {
        let directory = self.directory.clone();
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => ClientError::NoAgent(directory),
            io::ErrorKind::PermissionDenied => ClientError::Permission(directory),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Timeout(directory),
            io::ErrorKind::InvalidInput => ClientError::PathTooLong(directory),
            _ => ClientError::System { directory, cause },
        }
    }
}

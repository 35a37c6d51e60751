//! The client side of the control socket: blocking, with a timeout for each wait.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use super::model::{StatsReport, StatusReport};
use super::protocol::{ErrorAnswer, MAX_ANSWER_BYTES, Request};
use super::runtime::socket_path;

/// How long connecting, sending the request and each read of the answer may take.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Reason for a missing answer, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent listens there.
    #[error(
        "no agent runs with the runtime directory {}; start one with `vipd run`, or name its directory with \
         --runtime-dir DIR",
        .0.display()
    )]
    NoAgent(PathBuf),
    /// The socket is not accessible to this user.
    #[error(
        "permission denied on the control socket in {}; run as the user of the agent (usually root), or as a member \
         of the socket's group",
        .0.display()
    )]
    Permission(PathBuf),
    /// The agent took too long.
    #[error(
        "the agent in {} did not answer within {} s; it is overloaded or stopped: see its log",
        .0.display(),
        TIMEOUT.as_secs()
    )]
    Timeout(PathBuf),
    /// The path does not fit into a socket address.
    #[error(
        "the path of the runtime directory {} is too long: with the name of the socket it must be shorter than 108 \
         bytes; use another with --runtime-dir DIR",
        .0.display()
    )]
    PathTooLong(PathBuf),
    /// Another error of the system.
    #[error("cannot query the agent in {}: {cause}; check whether it still runs", .directory.display())]
    System {
        /// The runtime directory.
        directory: PathBuf,
        /// The system's error.
        cause: io::Error,
    },
    /// An answer that this version cannot parse.
    #[error("unexpected reply from the agent in {}: {reason} (version mismatch?)", .directory.display())]
    Protocol {
        /// The runtime directory.
        directory: PathBuf,
        /// The error in the answer.
        reason: String,
    },
    /// The agent refused the request.
    #[error("the agent refused the request: {0}")]
    Agent(String),
}

/// Queries the agent of one runtime directory, with a connection for each request.
#[derive(Clone, Debug)]
pub struct Client {
    directory: PathBuf,
}

impl Client {
    /// Creates a client of the agent with this runtime directory.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self { directory: directory.as_ref().to_owned() }
    }

    /// Requests `status`.
    ///
    /// # Errors
    /// When there is no agent, access is denied, or there is no valid answer within [`TIMEOUT`].
    pub fn status(&self) -> Result<StatusReport, ClientError> {
        self.request(Request::Status)
    }

    /// Requests `stats`.
    ///
    /// # Errors
    /// As [`Client::status`].
    pub fn stats(&self) -> Result<StatsReport, ClientError> {
        self.request(Request::Stats)
    }

    fn request<T: DeserializeOwned>(&self, request: Request) -> Result<T, ClientError> {
        let answer = self.exchange(request).map_err(|cause| self.explain(cause))?;
        if let Ok(ErrorAnswer { error }) = serde_json::from_slice(&answer) {
            return Err(ClientError::Agent(error));
        }
        serde_json::from_slice(&answer).map_err(|error| ClientError::Protocol {
            directory: self.directory.clone(),
            reason: if answer.is_empty() { "empty".to_owned() } else { error.to_string() },
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

    /// Connects with a timeout: `UnixStream::connect` would wait for ever for an agent that has
    /// stopped accepting.
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

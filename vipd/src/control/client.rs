//! Client of the control socket. Blocks, with a timeout on each operation except reading events
//! with `follow`.

use std::error::Error;
use std::fmt;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use socket2::{Domain, SockAddr, Socket, Type};

use super::model::{ChangeReport, StatsReport, StatusReport};
use super::protocol::{ErrorReply, MAX_REPLY_BYTES, Request};
use super::runtime::{DEFAULT_DIRECTORY, running_agents, socket_path};
use crate::process::peer_process;

/// Timeout for connecting, for sending the request, and for each read of the reply.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// Timeout for the reply to a change. A reload of thousands of instances takes seconds, and must
/// wait until earlier changes are complete.
pub const CHANGE_TIMEOUT: Duration = Duration::from_secs(60);

/// The reason why a request failed, with the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No agent listens on the socket.
    #[error(transparent)]
    NoAgent(NoAgent),
    /// The socket is not accessible to this user.
    #[error(
        "permission denied on the control socket in {}; run as the agent's user (usually root), or as a member of \
         the socket's group",
        .0.display()
    )]
    Permission(PathBuf),
    /// The agent did not reply in time.
    #[error(
        "the agent in {} did not reply within {} s; it may be overloaded or stopped; check its log",
        .0.display(),
        TIMEOUT.as_secs()
    )]
    Timeout(PathBuf),
    /// The agent did not reply to a change in time.
    #[error(
        "the agent in {} did not reply within {} s; it may still make the change; check its log",
        .0.display(),
        CHANGE_TIMEOUT.as_secs()
    )]
    ChangeTimeout(PathBuf),
    /// The path does not fit in a socket address.
    #[error(
        "the path of the runtime directory {} is too long: including the socket's name, it must be shorter than \
         108 bytes; use another directory with --runtime-dir DIR",
        .0.display()
    )]
    PathTooLong(PathBuf),
    /// Any other system error.
    #[error("cannot query the agent in {}: {cause}; check whether it is still running", .directory.display())]
    System {
        /// The runtime directory.
        directory: PathBuf,
        /// The underlying error.
        cause: io::Error,
    },
    /// The reply cannot be parsed.
    #[error(
        "unexpected reply from the agent in {}: {reason}; try again; if this persists, check whether the agent and \
         this command have the same version",
        .directory.display()
    )]
    Protocol {
        /// The runtime directory.
        directory: PathBuf,
        /// The reason why the reply cannot be parsed.
        reason: String,
    },
    /// The agent refused the request.
    #[error("the agent refused the request: {0}")]
    Agent(String),
}

/// No agent is running with the given runtime directory.
#[derive(Debug)]
pub struct NoAgent {
    /// The runtime directory.
    pub directory: PathBuf,
    /// Runtime directories of other agents that were found.
    pub others: Vec<String>,
}

/// The message names the command that starts the agent, and the option that selects another agent.
impl fmt::Display for NoAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { directory, others } = self;
        let is_default = directory == Path::new(DEFAULT_DIRECTORY);
        let directory = directory.display();
        write!(f, "no agent is running with the runtime directory {directory}; start one with ")?;
        if is_default {
            f.write_str("`systemctl start vipd` or `sudo vipd run -c FILE`")?;
        } else {
            write!(f, "`sudo vipd run -c FILE --runtime-dir {directory}`")?;
        }
        match others.as_slice() {
            [] => f.write_str(", or specify the directory of a running one with --runtime-dir DIR"),
            [one] => write!(f, ", or use the running one with --runtime-dir {one}"),
            several => {
                write!(
                    f,
                    ", or use a running one with --runtime-dir DIR, where DIR is {}",
                    several.join(" or ")
                )
            }
        }
    }
}

impl Error for NoAgent {}

/// Queries the agent with a given runtime directory. Opens a connection for each request.
#[derive(Clone, Debug)]
pub struct Client {
    directory: PathBuf,
}

impl Client {
    /// Creates a client for the agent with this runtime directory.
    pub fn new(directory: impl AsRef<Path>) -> Self {
        Self { directory: directory.as_ref().to_owned() }
    }

    /// Requests `status`.
    ///
    /// # Errors
    /// Returns an error if there is no agent, access is denied, the agent refuses the request, or
    /// no valid reply arrives within [`TIMEOUT`].
    pub fn status(&self) -> Result<StatusReport, ClientError> {
        self.request(&Request::Status)
    }

    /// Requests `stats`.
    ///
    /// # Errors
    /// See [`Client::status`].
    pub fn stats(&self) -> Result<StatsReport, ClientError> {
        self.request(&Request::Stats)
    }

    /// Returns the ID of the process that opened the control socket: the agent, unless it was
    /// replaced by `vipd upgrade`. `None` if the process is in another PID namespace, or if the
    /// client cannot connect.
    pub fn agent_process(&self) -> Option<u32> {
        peer_process(self.connect().ok()?.as_fd())
    }

    /// Requests a change.
    ///
    /// # Errors
    /// See [`Client::status`]; the time limit is [`CHANGE_TIMEOUT`].
    pub fn change(&self, request: &Request) -> Result<ChangeReport, ClientError> {
        let stream = self.submit(request).map_err(|cause| self.explain(cause))?;
        let reply = receive(stream, CHANGE_TIMEOUT).map_err(|cause| match self.explain(cause) {
            // The agent may have received the request.
            ClientError::Timeout(directory) => ClientError::ChangeTimeout(directory),
            other => other,
        })?;
        self.decode(&reply)
    }

    /// Requests events and passes each line of JSON to `on_event`: the events stored by the agent
    /// and, with `follow`, later events until the agent closes the connection.
    ///
    /// # Errors
    /// See [`Client::status`]. Errors of `on_event` are also returned.
    pub fn events(
        &self,
        follow: bool,
        mut on_event: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let explain = |cause| self.explain(cause);
        let mut request = serde_json::to_vec(&Request::Events { follow })?;
        request.push(b'\n');
        let mut stream = self.connect().map_err(explain)?;
        send(&mut stream, &request).map_err(explain)?;
        if follow {
            stream.set_read_timeout(None).map_err(explain)?;
        }
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while reader.read_line(&mut line).map_err(explain)? > 0 {
            if let Ok(ErrorReply { error }) = serde_json::from_str(&line) {
                return Err(ClientError::Agent(error).into());
            }
            on_event(&line)?;
            line.clear();
        }
        Ok(())
    }

    fn request<T: DeserializeOwned>(&self, request: &Request) -> Result<T, ClientError> {
        let reply = self.submit(request).and_then(|stream| receive(stream, TIMEOUT));
        self.decode(&reply.map_err(|cause| self.explain(cause))?)
    }

    fn decode<T: DeserializeOwned>(&self, reply: &[u8]) -> Result<T, ClientError> {
        if let Ok(ErrorReply { error }) = serde_json::from_slice(reply) {
            return Err(ClientError::Agent(error));
        }
        serde_json::from_slice(reply).map_err(|error| ClientError::Protocol {
            directory: self.directory.clone(),
            reason: if reply.is_empty() { "empty".to_owned() } else { error.to_string() },
        })
    }

    /// Sends a request. Returns the connection, from which the reply can be read.
    fn submit(&self, request: &Request) -> io::Result<UnixStream> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let mut stream = self.connect()?;
        send(&mut stream, &line)?;
        Ok(stream)
    }

    /// Connects with a timeout. `UnixStream::connect` would wait forever for an agent that has
    /// stopped accepting connections.
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
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                let others = running_agents(&directory);
                ClientError::NoAgent(NoAgent { directory, others })
            }
            io::ErrorKind::PermissionDenied => ClientError::Permission(directory),
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => ClientError::Timeout(directory),
            io::ErrorKind::InvalidInput => ClientError::PathTooLong(directory),
            _ => ClientError::System { directory, cause },
        }
    }
}

/// Reads the reply to a request. `wait` applies to each read.
fn receive(stream: UnixStream, wait: Duration) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(wait))?;
    let mut reply = Vec::new();
    match BufReader::new(stream.take(MAX_REPLY_BYTES)).read_until(b'\n', &mut reply) {
        Err(error) if reply.is_empty() => Err(error),
        _ => Ok(reply),
    }
}

/// Sends a request. Succeeds even if the agent has already closed the connection. An agent that
/// rejects a client sends the reason without waiting for the request, and this reason can still be
/// read.
fn send(stream: &mut UnixStream, request: &[u8]) -> io::Result<()> {
    match stream.write_all(request) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

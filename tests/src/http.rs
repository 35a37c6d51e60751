//! An HTTP client for servers on a host's loopback address: vipd and Prometheus.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::namespace::Namespace;
use crate::wait::try_wait_until;

/// How long to wait for the server and for its responses.
const TIMEOUT: Duration = Duration::from_secs(30);

/// An HTTP response.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers, with names in lower case.
    pub headers: BTreeMap<String, String>,
    /// Everything after the headers, as received: no transfer coding is decoded.
    pub body: String,
}

/// Returns the loopback address with this port.
pub fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Connects to a server on a host. Retries while the server is not listening yet.
///
/// # Errors
/// Returns an error if the server is not listening in time.
pub fn connect(host: &Namespace, port: u16) -> Result<TcpStream> {
    let mut stream = None;
    try_wait_until(&format!("a connection to port {port}"), TIMEOUT, || {
        stream = host.run(move || TcpStream::connect(address(port))).ok();
        Ok(stream.is_some())
    })?;
    let stream = stream.context("no connection")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(stream)
}

/// Sends a request, and reads the response until the server closes the connection.
///
/// # Errors
/// Returns an error if the connection fails, or if the response is not HTTP/1 in UTF-8.
pub fn exchange(mut stream: &TcpStream, request: &str) -> Result<Answer> {
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    // If the server has not read the whole request, the connection is reset after the response.
    if let Err(error) = stream.read_to_end(&mut bytes)
        && error.kind() != ErrorKind::ConnectionReset
    {
        return Err(error).with_context(|| format!("reading the response (after {} bytes)", bytes.len()));
    }
    let text = String::from_utf8(bytes)?;
    let (head, body) =
        text.split_once("\r\n\r\n").with_context(|| format!("no end of the headers in {text:?}"))?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(": "));
    Ok(Answer {
        status: status.with_context(|| format!("no status in {head:?}"))?,
        headers: headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: body.to_owned(),
    })
}

/// Sends a request on a new connection.
///
/// # Errors
/// See [`connect`] and [`exchange`].
pub fn request(host: &Namespace, port: u16, request: &str) -> Result<Answer> {
    exchange(&connect(host, port)?, request)
}

/// Requests a path with GET.
///
/// # Errors
/// See [`request`].
pub fn get(host: &Namespace, port: u16, target: &str) -> Result<Answer> {
    request(host, port, &format!("GET {target} HTTP/1.1\r\nHost: vipd\r\n\r\n"))
}

//! Makes the guardian of a dead agent leave when another agent starts: the new agent removes stale
//! VIPs itself, and may soon be master.

use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::geteuid;

/// Prefix of the name of the guardian's abstract unix socket; the agent's name follows.
const PREFIX: &str = "vipd-guardian ";
/// Longest time that a starting agent waits for a guardian to leave.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Listens for the next agent with this name. Returns `None` if another process uses the name.
pub(super) fn listen(agent: &str) -> Option<UnixListener> {
    let listener = UnixListener::bind_addr(&address(agent).ok()?).ok()?;
    listener.set_nonblocking(true).ok()?;
    Some(listener)
}

/// Returns whether an agent has connected, and closes the connection. Ignores users other than root
/// and this process's user. Once this has returned true, the guardian must not remove anything,
/// because the agent continues when the connection is closed.
pub(super) fn is_asked(listener: &UnixListener) -> bool {
    listener.accept().is_ok_and(|(client, _)| is_trusted(&client))
}

/// Makes the guardian of a dead agent with this name leave, if there is one, and waits until the
/// guardian has closed the connection. The caller must have made sure that the agent is dead,
/// usually by acquiring its lock. Returns false if a guardian may still remove something.
pub fn stand_down(agent: &str) -> bool {
    let Ok(mut guardian) = connect(agent) else { return true };
    // Root also waits for the guardian of another user.
    if !is_trusted(&guardian) && !geteuid().is_root() {
        return true;
    }
    let ended = guardian.set_read_timeout(Some(TIMEOUT)).and_then(|()| guardian.read(&mut [0]));
    match ended {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => true,
        Err(_) => {
            tracing::warn!(
                "the guardian of the previous run has not ended within {TIMEOUT:?}; it may remove VIPs of this agent: \
                 kill the process `vipd guardian {agent}`"
            );
            false
        }
    }
}

/// Connects to a guardian without waiting: any user may bind this name and accept no connection.
fn connect(agent: &str) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let address = SocketAddrUnix::new_abstract_name(format!("{PREFIX}{agent}").as_bytes())?;
    rustix::net::connect(&socket, &address)?;
    let guardian = UnixStream::from(socket);
    guardian.set_nonblocking(false)?;
    Ok(guardian)
}

fn address(agent: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_abstract_name(format!("{PREFIX}{agent}"))
}

/// Returns whether the other process runs as root or as this process's user.
fn is_trusted(socket: &impl AsFd) -> bool {
    socket_peercred(socket).is_ok_and(|other| other.uid.is_root() || other.uid == geteuid())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Any user may bind the name of a guardian and never accept a connection.
    #[test]
    fn a_listener_that_accepts_nothing_does_not_block_the_start() {
        let agent = format!("busy-{}", std::process::id());
        let name = SocketAddrUnix::new_abstract_name(format!("{PREFIX}{agent}").as_bytes()).expect("a name");
        let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
        let listener = listener.expect("a socket");
        rustix::net::bind(&listener, &name).expect("bound");
        rustix::net::listen(&listener, 0).expect("listening");
        let _waiting = connect(&agent).expect("room for one connection");
        assert_eq!(connect(&agent).expect_err("no room").kind(), io::ErrorKind::WouldBlock);
        stand_down(&agent);
    }

    #[test]
    fn starting_agent_waits_for_the_guardian_to_leave() {
        let name = format!("/test/{}", std::process::id());
        stand_down(&name);
        let listener = listen(&name).expect("free");
        assert!(!is_asked(&listener));
        assert!(listen(&name).is_none(), "taken");
        let agent = thread::spawn({
            let name = name.clone();
            move || stand_down(&name)
        });
        while !is_asked(&listener) {
            thread::yield_now();
        }
        drop(listener);
        agent.join().expect("no panic");
    }
}

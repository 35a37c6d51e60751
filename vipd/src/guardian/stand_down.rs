//! Makes the guardian of a dead agent exit when another agent starts or opens an interface of the
//! dead agent, or when `vipd cleanup` runs: both remove stale VIPs themselves, and the other agent
//! may soon be master.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
use std::time::Duration;

use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use rustix::process::geteuid;

/// Prefix of the name of the guardian's abstract unix socket; the agent's name follows.
const PREFIX: &str = "vipd-guardian ";
/// The guardian's answer to the process that asks it to exit.
const LEAVES: u8 = 1;
/// Longest time that an agent or `vipd cleanup` waits for a guardian's answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Listens for requests to exit, under the name of this guardian's agent. Returns `None` if another
/// process uses the name.
pub(super) fn listen(agent: &str) -> Option<UnixListener> {
    let listener = UnixListener::bind_addr(&address(agent).ok()?).ok()?;
    listener.set_nonblocking(true).ok()?;
    Some(listener)
}

/// Returns whether a process has connected and the answer [`LEAVES`] has been sent to it. Ignores
/// users other than root and this process's user. Once this has returned true, the guardian must
/// not remove anything, because the process continues, and may be an agent that adds VIPs.
pub(super) fn is_asked(listener: &UnixListener) -> bool {
    listener.accept().is_ok_and(|(mut client, _)| is_trusted(&client) && client.write_all(&[LEAVES]).is_ok())
}

/// Makes the guardian of a dead agent with this name exit, if there is one, and waits up to 2 s
/// for the guardian's answer. The caller must have made sure that the agent is dead, usually by
/// acquiring the agent's lock. Returns false if a guardian may still remove something.
pub fn stand_down(agent: &str) -> bool {
    let Ok(mut guardian) = connect(agent) else { return true };
    // Root also waits for the guardian of another user.
    if !is_trusted(&guardian) && !geteuid().is_root() {
        return true;
    }
    let mut answer = [0];
    let received = guardian.set_read_timeout(Some(TIMEOUT)).and_then(|()| guardian.read(&mut answer));
    let leaves = match received {
        Ok(1) => answer == [LEAVES],
        // The guardian has ended by itself, or does not trust this user and is still listening.
        Ok(_) => connect(agent).is_err(),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => connect(agent).is_err(),
        Err(_) => false,
    };
    if !leaves {
        tracing::warn!("{}", stand_down_failure(agent));
    }
    leaves
}

/// Returns the user-facing message for a failure of [`stand_down`].
pub fn stand_down_failure(agent: &str) -> String {
    format!(
        "the guardian of a dead agent does not exit; it may remove VIPs of a running agent: kill the process whose \
         command line contains `guardian {agent}`"
    )
}

/// Connects to a guardian without waiting: any user may bind this name and never accept a
/// connection.
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
    fn starting_agent_waits_for_the_answer_of_the_guardian() {
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
        assert!(agent.join().expect("no panic"), "while the guardian still listens");
    }

    #[test]
    fn guardian_that_closes_the_connection_without_an_answer_still_runs() {
        let name = format!("/test/silent-{}", std::process::id());
        let listener = listen(&name).expect("free");
        let agent = thread::spawn({
            let name = name.clone();
            move || stand_down(&name)
        });
        // Behaves like a guardian that does not trust the agent's user.
        while listener.accept().is_err() {
            thread::yield_now();
        }
        assert!(!agent.join().expect("no panic"));
    }
}

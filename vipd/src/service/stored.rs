//! The part of a restart by systemd that runs in the new process: takes the predecessor's state
//! from systemd's descriptor store.
//!
//! A state that cannot be continued is discarded. An ordinary start then removes everything that
//! the predecessor left on the host, as after a crash. If the process cannot start at all, it
//! removes only the VIPs, routes and rules.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};

use super::leftovers::claim_interfaces;
use super::successor::{Inheritance, assemble, receive};
use super::systemd::store::{self, STORED};
use super::{Start, start};
use crate::config::machine::Machine;
use crate::config::{Config, ConfigError, Problems};
use crate::engine::succession::{Source, Suspension};
use crate::handover::{self, Channel, MAX_QUEUED, Message, Offer, Origin, READABLE};
use crate::process::{Signals, agent_name, raise_open_files, take_passed};

/// Maximum age of a state. A start takes a fraction of it.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Maximum time to wait for a message: zero, because the sender has ended and no further message
/// can arrive.
const TIMEOUT: Duration = Duration::ZERO;

/// The state that a predecessor has left with systemd.
pub struct Stored(Channel);

/// A start that continues with a stored state.
pub struct Continuation(Box<dyn FnOnce(Signals) -> Start>);

/// Returns the state that systemd has passed to this process, if there is one. Removes it from the
/// store, so that if this process crashes, the next one does not resume the state.
pub fn take_stored() -> Option<Stored> {
    let stored = take_passed(STORED).pop()?;
    // If this fails, a later process finds the queue empty.
    let _ = store::clear();
    Some(Stored(Channel::from_descriptor(stored)))
}

impl Stored {
    /// Prepares a start with this state. `path` is the configuration file, and `file` is its
    /// content. If the state cannot be continued, logs the reason and returns `None`.
    pub fn prepare(self, path: &Path, file: &Config, runtime_dir: &Path) -> Option<Continuation> {
        // A failure is ignored: the present limit may suffice.
        let _ = raise_open_files();
        match prepare(&self.0, path, file, runtime_dir) {
            Ok(start) => Some(Continuation(start)),
            Err(error) => {
                tracing::warn!(
                    "ordinary start, because the state of the previous process cannot be continued: {error:#}"
                );
                self.drain();
                None
            }
        }
    }

    /// Discards the state of a process whose successor cannot start, and removes the VIPs, routes
    /// and rules of that process. Logs the reason if the state cannot be read; the kernel then
    /// removes the VIPs at the end of their lifetime.
    pub fn abandon(self) {
        // A failure is ignored: the present limit may suffice.
        let _ = raise_open_files();
        // The locks and claims among the descriptors must be closed before the interfaces are
        // claimed.
        let offer = offer(&self.0);
        self.drain();
        let config = offer.and_then(|offer| {
            let config = running(&offer).map_err(ConfigError::from)?;
            Ok((config, offer.runtime_dir))
        });
        match config {
            Ok((config, runtime_dir)) => {
                tracing::info!("removing the VIPs, routes and rules of the previous process");
                drop(claim_interfaces(&config, &runtime_dir));
            }
            Err(error) => tracing::warn!(
                "the VIPs of the previous process stay until the kernel removes them at the end of their \
                 lifetime, because its state cannot be read: {error:#}; `vipd cleanup` removes routes and rules"
            ),
        }
    }

    /// Closes all descriptors in the queue. systemd may not have closed its descriptor of the queue
    /// yet, and the queue contains the agent's locks.
    fn drain(self) {
        for _ in 0..MAX_QUEUED {
            match self.0.try_receive() {
                Err(error) if error.kind() != std::io::ErrorKind::InvalidData => return,
                _ => {}
            }
        }
    }
}

/// Parses the running configuration of an offer, without passwords and keys, whose files may be
/// missing now.
fn running(offer: &Offer) -> Result<Config, Problems> {
    let machine = Machine { lacks_secrets: true, lacks_keys: true, ..Machine::default() };
    Config::parse_on(&offer.configuration, &offer.path.display().to_string(), &machine)
}

impl Continuation {
    /// Runs the agent until a signal stops it or another process succeeds it.
    ///
    /// # Errors
    /// See [`run`](super::run). If the state could not be resumed, the VIPs have been removed.
    pub fn run(self, signals: Signals) -> anyhow::Result<()> {
        start((self.0)(signals))
    }
}

fn prepare(
    channel: &Channel,
    path: &Path,
    file: &Config,
    runtime_dir: &Path,
) -> anyhow::Result<Box<dyn FnOnce(Signals) -> Start>> {
    hello(channel)?;
    let inheritance = receive(channel, TIMEOUT)?;
    check_directory(&inheritance, runtime_dir)?;
    let Ok((Message::State, Some(memory))) = channel.try_receive() else {
        bail!("it is incomplete; the process was killed before it had stored its state");
    };
    let text = handover::read(&memory).context("cannot read it")?;
    let age = serde_json::from_slice::<Suspension>(&text).context("it is damaged")?.age();
    ensure!(age <= MAX_AGE, "it is {} s old", age.as_secs());
    let has_taken_over = Arc::new(AtomicBool::new(false));
    let source = Source::Left(memory);
    let start = assemble(inheritance, path.to_owned(), file, source, channel.try_clone()?, &has_taken_over)?;
    Ok(Box::new(start))
}

/// Receives the messages up to the token, and returns the offer. Closes the descriptors.
fn offer(channel: &Channel) -> anyhow::Result<Offer> {
    hello(channel)?;
    Ok(receive(channel, TIMEOUT)?.offer)
}

/// Receives the first messages, and checks that this process can read the following ones and has
/// the same network namespace and user as the process that wrote them.
fn hello(channel: &Channel) -> anyhow::Result<()> {
    let (Message::Hello { formats, version }, _) = channel.try_receive().context("it is damaged")? else {
        bail!("it does not begin with a version");
    };
    ensure!(
        formats.iter().any(|format| READABLE.contains(format)),
        "vipd {version} wrote it in the formats {formats:?}, but this version reads only {READABLE:?}"
    );
    let (Message::Origin(origin), _) = channel.try_receive().context("it is damaged")? else {
        bail!("it does not describe the process that wrote it");
    };
    ensure!(origin == Origin::present()?, "the process ran in another network namespace or as another user");
    Ok(())
}

fn check_directory(inheritance: &Inheritance, runtime_dir: &Path) -> anyhow::Result<()> {
    let former = &inheritance.offer.runtime_dir;
    ensure!(
        agent_name(former) == agent_name(runtime_dir),
        "the process had the runtime directory {}",
        former.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::os::fd::AsFd as _;
    use std::path::PathBuf;

    use super::*;
    use crate::handover::{FORMAT, Token};
    use crate::xdp::Sizes;

    const DIRECTORY: &str = "/test/vipd";

    /// Prepares a start with a queue that contains these messages and, with `state`, all others
    /// that a check needs. Returns the reason why the state is discarded.
    fn discard(first: &[Message], state: Option<&str>, directory: &str) -> String {
        let (channel, stored) = Channel::store().expect("a socket pair");
        let memory = handover::write(state.unwrap_or_default().as_bytes()).expect("memory");
        for message in first {
            channel.send(message, None).expect("sent");
        }
        if state.is_some() {
            let offer = Offer {
                path: PathBuf::from("vipd.toml"),
                configuration: String::new(),
                has_fence: true,
                is_realtime: None,
                runtime_dir: PathBuf::from(DIRECTORY),
                sizes: Sizes { routers: 1, peers: 0, addresses: 0, senders: 1, burst: 1 },
                rows: BTreeMap::new(),
                priorities: BTreeMap::new(),
                readings: Vec::new(),
            };
            let offer = handover::write(&serde_json::to_vec(&offer).expect("JSON")).expect("memory");
            channel.send(&Message::Offer, Some(offer.as_fd())).expect("sent");
            channel.send(&Message::Token, Some(Token::new().expect("a token").as_fd())).expect("sent");
            channel.send(&Message::State, Some(memory.as_fd())).expect("sent");
        }
        drop(channel);
        let stored = Channel::from_descriptor(stored);
        let text =
            "[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"10.0.0.1\"]";
        let file = Config::parse(text, "vipd.toml").expect("valid");
        let prepared = prepare(&stored, Path::new("vipd.toml"), &file, Path::new(directory));
        format!("{:#}", prepared.map(drop).expect_err("discarded"))
    }

    #[test]
    fn states_of_other_formats_and_origins_are_discarded() {
        let hello = |formats: &[u32]| Message::Hello { formats: formats.to_vec(), version: "0".to_owned() };
        let present = Origin::present().expect("/proc is mounted");
        let other = r#"{"message":"origin","network":[0,0],"user":0}"#;
        let other: Message = serde_json::from_str(other).expect("a message");
        for (messages, reason) in [
            (vec![], "it is damaged"),
            (vec![Message::Ready], "it does not begin with a version"),
            (vec![hello(&[FORMAT + 1])], "this version reads only [2, 3]"),
            (vec![hello(&[FORMAT]), Message::Ready], "it does not describe the process"),
            (vec![hello(&[FORMAT]), other], "in another network namespace or as another user"),
            (vec![hello(&[FORMAT]), Message::Origin(present)], "the connection to the predecessor failed"),
        ] {
            let found = discard(&messages, None, DIRECTORY);
            assert!(found.contains(reason), "{found} instead of {reason}");
        }
        let valid = [hello(&[FORMAT]), Message::Origin(present)];
        for (state, directory, reason) in [
            (r#"{"suspended_at":1}"#, "/test/other", "the process had the runtime directory /test/vipd"),
            (r#"{"suspended_at":"#, DIRECTORY, "it is damaged"),
            ("{}", DIRECTORY, "it is damaged"),
            (r#"{"suspended_at":18446744073709551615}"#, DIRECTORY, "did not pass its locks"),
        ] {
            let found = discard(&valid, Some(state), directory);
            assert!(found.contains(reason), "{found} instead of {reason}");
        }
        // Until this machine has been up for a minute, the state cannot be too old.
        let uptime = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic).tv_sec;
        let found = discard(&valid, Some(r#"{"suspended_at":0}"#), DIRECTORY);
        assert!(uptime <= 60 || found.contains(" s old"), "{found}");
    }
}

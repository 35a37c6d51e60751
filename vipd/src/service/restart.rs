//! The part of a restart by systemd that runs in the process being replaced: leaves the messages of
//! an upgrade in systemd's descriptor store.
//!
//! The store contains one descriptor, a socket whose queue contains the messages of an upgrade.

use std::os::fd::{AsFd as _, OwnedFd};

use super::plan::check_room;
use super::sizes::needed_sizes;
use super::systemd::store;
use super::upgrade::{Departure, Estate, Failure, Successor, pass};
use crate::config::machine::Machine;
use crate::config::{Config, Fence, Realtime};
use crate::engine::succession::Recipient;
use crate::handover::{Channel, FORMAT, Message, Offer, Origin, Token};

impl Departure {
    /// Leaves the state to the next process that systemd starts. `ends` are the ends of a
    /// [stored channel](Channel::store). Blocks.
    ///
    /// # Errors
    /// Returns the reason why the state cannot be left. The agent then continues unchanged.
    pub(super) fn store(self, ends: (Channel, OwnedFd), estate: &Estate) -> Result<Successor, String> {
        check(&self.offer)?;
        let (channel, stored) = ends;
        let token = Token::new().map_err(|error| error.to_string())?;
        let result = self.fill(&channel, token, &stored, estate);
        result.map(|()| Successor { process: None, channel }).map_err(|failure| {
            // If this fails, the next process finds that the state is incomplete.
            let _ = store::clear();
            match failure {
                Failure::Reason(reason) => reason,
                Failure::Ended => "the channel is closed".to_owned(),
            }
        })
    }

    fn fill(self, channel: &Channel, token: Token, stored: &OwnedFd, estate: &Estate) -> Result<(), Failure> {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        channel.send(&Message::Hello { formats: vec![FORMAT], version }, None)?;
        channel.send(&Message::Origin(Origin::present()?), None)?;
        let (offer, holdings, engine) = self.split()?;
        pass(channel, &offer, estate, holdings, &token)?;
        // Stored while the engine still runs, so that the routers are suspended only once systemd
        // has the descriptor. The state follows through the channel.
        store::store(stored.as_fd())?;
        engine.hand_over(channel, token, Recipient::Later)
    }
}

/// Checks the configuration file, because the next process cannot start with an invalid file. That
/// process first resumes the running configuration, and then applies the file by a reload.
fn check(offer: &Offer) -> Result<(), String> {
    let machine = Machine { checks_executables: true, ..Machine::default() };
    let next = Config::load_protected(&offer.path, &machine).map_err(|error| error.to_string())?;
    let has_changed = (next.fence == Fence::On) != offer.has_fence
        || offer.is_realtime.is_some_and(|is_realtime| (next.realtime == Realtime::Auto) != is_realtime);
    if has_changed {
        return Err("a change of `fence` or `realtime` takes effect only at an ordinary start".to_owned());
    }
    let needed = needed_sizes(&next).map_err(|error| error.to_string())?;
    check_room(offer.sizes, needed)
}

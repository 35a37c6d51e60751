//! What becomes of the virtual addresses.

use vipd_common::Timestamp;

use super::Router;
use crate::config::{Announcements, VirtualAddress};
use crate::message::{Action, Addresses, Event, State};
use crate::timer::Timer;

impl Router {
    /// Puts the addresses on the interface and tells the segment, now and later as configured.
    pub(super) fn take_addresses(&mut self, now: Timestamp) {
        if !self.has_addresses() {
            return;
        }
        self.actions.push_back(Action::AddAddresses(Addresses::All));
        let Announcements { repeat, delay, refresh, .. } = self.config.announcements;
        self.announce(repeat);
        for (timer, after) in [(Timer::AnnounceAgain, delay), (Timer::Refresh, refresh)] {
            if after > 0 {
                self.timers.set(timer, now + after);
            }
        }
    }

    pub(super) fn announce(&mut self, rounds: u8) {
        if self.has_addresses() {
            self.actions.push_back(Action::Announce { addresses: Addresses::All, rounds });
        }
    }

    pub(super) fn remove_addresses(&mut self) {
        if self.has_addresses() {
            self.actions.push_back(Action::RemoveAddresses);
        }
    }

    /// Without any, there is nothing but the state to tell.
    pub(super) fn has_addresses(&self) -> bool {
        self.config.all_addresses().next().is_some()
    }

    /// A master keeps its addresses: put it back, tell the segment, no change of state.
    pub(super) fn address_removed(&mut self, address: VirtualAddress) {
        if self.state == State::Master && self.config.all_addresses().any(|vip| vip == address) {
            self.counters.addresses_restored += 1;
            self.actions.push_back(Action::AddAddresses(Addresses::One(address)));
            self.actions.push_back(Action::Announce { addresses: Addresses::One(address), rounds: 1 });
            self.events.push_back(Event::AddressRestored(address));
        }
    }
}

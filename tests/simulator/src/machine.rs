//! What happens to machines: they start, stop, die, lose their link, and are held up.

use vipd::vrrp::{Fault, Impediment, Input};

use crate::Sabotage;
use crate::trace::What;
use crate::world::{Due, World};

impl World {
    /// Starts a host's process, or mends its link.
    pub(crate) fn start(&mut self, host: usize) {
        self.trace.add(self.now, host, None, What::Started);
        (self.hosts[host].up, self.hosts[host].left) = (true, false);
        if self.hosts[host].paused.is_none() {
            for index in 0..self.hosts[host].members.len() {
                let member = self.hosts[host].members[index];
                let primary = self.members[member].address;
                self.give(member, Input::PrimaryAddress(primary));
                self.give(member, Input::Clear(Impediment::Link));
            }
            self.publish_fast_paths(host);
        }
    }

    /// Stops a process in good order, or takes its link away; one that is held up does not notice.
    pub(crate) fn stop(&mut self, host: usize, in_good_order: bool) {
        if !self.hosts[host].lives() {
            return;
        }
        let what = if in_good_order { What::Stopped } else { What::LostLink };
        self.trace.add(self.now, host, None, what);
        for index in 0..self.hosts[host].members.len() {
            let input = if in_good_order { Input::Shutdown } else { Input::Impede(Fault::InterfaceDown) };
            self.give(self.hosts[host].members[index], input);
        }
        self.publish_fast_paths(host);
        (self.hosts[host].up, self.hosts[host].left) = (false, true);
        self.hosts[host].feed.clear();
        if self.sabotage == Sabotage::Revives {
            for index in 0..self.hosts[host].members.len() {
                let member = self.hosts[host].members[index];
                let primary = self.members[member].address;
                self.give(member, Input::PrimaryAddress(primary));
                self.give(member, Input::Clear(Impediment::Link));
            }
        }
    }

    /// The machine dies, and knows nothing when it is started again.
    pub(crate) fn crash(&mut self, host: usize) {
        self.trace.add(self.now, host, None, What::Crashed);
        let machine = &mut self.hosts[host];
        (machine.up, machine.left, machine.paused, machine.lost) = (false, false, None, false);
        machine.feed.clear();
        for index in 0..self.hosts[host].members.len() {
            let member = self.hosts[host].members[index];
            self.members[member].forget();
            self.count_masters(self.members[member].group);
        }
    }

    /// Holds a process up.
    pub(crate) fn pause(&mut self, host: usize, nanos: u64) {
        if self.hosts[host].lives() {
            self.trace.add(self.now, host, None, What::Paused(nanos));
            self.hosts[host].paused = Some(self.now + nanos);
            self.plan(self.now + nanos, Due::Resume(host));
            self.count_masters_on(host);
        }
    }

    pub(crate) fn resume(&mut self, host: usize) {
        if self.hosts[host].paused.take().is_none() {
            return;
        }
        self.trace.add(self.now, host, None, What::Resumed);
        let timers_first = self.sabotage == Sabotage::TimersFirst;
        if !timers_first {
            self.hear(host);
        }
        for index in 0..self.hosts[host].members.len() {
            let member = self.hosts[host].members[index];
            self.members[member].armed = None;
            self.serve(member);
        }
        if timers_first {
            self.hear(host);
        }
        self.publish_fast_paths(host);
        self.count_masters_on(host);
    }

    /// The ring ran over while the process was held up: what came last is gone.
    pub(crate) fn lose_feed(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        if !host.feed.is_empty() {
            host.feed.truncate(host.feed.len() / 2);
            host.lost = true;
        }
    }
}

//! Failures of hosts: they stop, crash, lose their link and stall.

use vipd::vrrp::{Fault, Impediment, Input};

use crate::Sabotage;
use crate::trace::What;
use crate::world::{Due, World};

impl World {
    /// Starts a host's process, or brings its link up.
    pub(crate) fn start(&mut self, host: usize) {
        self.trace.add(self.now, host, None, What::Started);
        (self.hosts[host].up, self.hosts[host].left) = (true, false);
        if self.hosts[host].stalled_until.is_none() {
            for index in 0..self.hosts[host].members.len() {
                let member = self.hosts[host].members[index];
                let primary = self.members[member].address;
                self.give(member, Input::PrimaryAddress(primary));
                self.give(member, Input::Clear(Impediment::Link));
            }
            self.publish_fast_paths(host);
        }
    }

    /// Shuts a process down cleanly, or takes its link down. A stalled one does not notice.
    pub(crate) fn stop(&mut self, host: usize, shutdown: bool) {
        if !self.hosts[host].is_running() {
            return;
        }
        let what = if shutdown { What::Stopped } else { What::LostLink };
        self.trace.add(self.now, host, None, what);
        for index in 0..self.hosts[host].members.len() {
            let input = if shutdown { Input::Shutdown } else { Input::Impede(Fault::InterfaceDown) };
            self.give(self.hosts[host].members[index], input);
        }
        self.publish_fast_paths(host);
        (self.hosts[host].up, self.hosts[host].left) = (false, true);
        self.hosts[host].ring.clear();
        if self.sabotage == Sabotage::Restarts {
            for index in 0..self.hosts[host].members.len() {
                let member = self.hosts[host].members[index];
                let primary = self.members[member].address;
                self.give(member, Input::PrimaryAddress(primary));
                self.give(member, Input::Clear(Impediment::Link));
            }
        }
    }

    /// Crashes a host: it starts again without state.
    pub(crate) fn crash(&mut self, host: usize) {
        self.trace.add(self.now, host, None, What::Crashed);
        let machine = &mut self.hosts[host];
        (machine.up, machine.left, machine.stalled_until, machine.lost) = (false, false, None, false);
        machine.ring.clear();
        for index in 0..self.hosts[host].members.len() {
            let member = self.hosts[host].members[index];
            self.members[member].reset();
            self.count_masters(self.members[member].group);
        }
    }

    /// Stalls a process.
    pub(crate) fn stall(&mut self, host: usize, nanos: u64) {
        if self.hosts[host].is_running() {
            self.trace.add(self.now, host, None, What::Stalled(nanos));
            self.hosts[host].stalled_until = Some(self.now + nanos);
            self.plan(self.now + nanos, Due::Resume(host));
            self.count_masters_on(host);
        }
    }

    pub(crate) fn resume(&mut self, host: usize) {
        if self.hosts[host].stalled_until.take().is_none() {
            return;
        }
        self.trace.add(self.now, host, None, What::Resumed);
        let timers_first = self.sabotage == Sabotage::TimersFirst;
        if !timers_first {
            self.drain_ring(host);
        }
        for index in 0..self.hosts[host].members.len() {
            let member = self.hosts[host].members[index];
            self.members[member].armed = None;
            self.serve(member);
        }
        if timers_first {
            self.drain_ring(host);
        }
        self.publish_fast_paths(host);
        self.count_masters_on(host);
    }

    /// Discards the last records: the ring was full while the process stalled.
    pub(crate) fn lose_records(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        if !host.ring.is_empty() {
            host.ring.truncate(host.ring.len() / 2);
            host.lost = true;
        }
    }
}

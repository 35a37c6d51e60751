//! Failures of hosts: shutdown, crash, link loss, killed process, and stall.

use vipd::vrrp::{Fault, Impediment, Input};

use crate::Defect;
use crate::host::NEVER;
use crate::trace::TraceEvent;
use crate::world::{Due, World};

impl World {
    /// Starts a host's process or brings its link up.
    pub(crate) fn start(&mut self, host: usize) {
        if self.hosts[host].is_killed() {
            // A new process first removes the VIPs of the dead process.
            self.crash(host);
        }
        self.trace.add(self.now, host, None, TraceEvent::Started);
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

    /// Shuts a host's process down cleanly or takes its link down. Has no effect if the host is
    /// down or stalled, or its process was killed.
    pub(crate) fn stop(&mut self, host: usize, shutdown: bool) {
        if !self.hosts[host].is_running() {
            return;
        }
        let what = if shutdown { TraceEvent::Stopped } else { TraceEvent::LostLink };
        self.trace.add(self.now, host, None, what);
        for index in 0..self.hosts[host].members.len() {
            let input = if shutdown { Input::Shutdown } else { Input::Impede(Fault::InterfaceDown) };
            self.give(self.hosts[host].members[index], input);
        }
        self.publish_fast_paths(host);
        (self.hosts[host].up, self.hosts[host].left) = (false, true);
        self.hosts[host].ring.clear();
        if self.defect == Defect::Restarts {
            for index in 0..self.hosts[host].members.len() {
                let member = self.hosts[host].members[index];
                let primary = self.members[member].address;
                self.give(member, Input::PrimaryAddress(primary));
                self.give(member, Input::Clear(Impediment::Link));
            }
        }
    }

    /// Crashes a host, which loses all state.
    pub(crate) fn crash(&mut self, host: usize) {
        self.trace.add(self.now, host, None, TraceEvent::Crashed);
        let machine = &mut self.hosts[host];
        (machine.up, machine.left, machine.stalled_until, machine.lost) = (false, false, None, false);
        machine.ring.clear();
        for index in 0..self.hosts[host].members.len() {
            let member = self.hosts[host].members[index];
            self.members[member].reset();
            self.count_masters(self.members[member].group);
            self.count_answering(self.members[member].group);
        }
    }

    /// Kills a host's process. The VIPs stay, and the kernel answers for them until an advert from
    /// another master fences them.
    pub(crate) fn kill(&mut self, host: usize) {
        if self.hosts[host].is_running() {
            self.trace.add(self.now, host, None, TraceEvent::Killed);
            self.hosts[host].stalled_until = Some(NEVER);
            self.count_masters_on(host);
        }
    }

    /// Stalls a host's process for `nanos`.
    pub(crate) fn stall(&mut self, host: usize, nanos: u64) {
        if self.hosts[host].is_running() {
            self.trace.add(self.now, host, None, TraceEvent::Stalled(nanos));
            self.hosts[host].stalled_until = Some(self.now + nanos);
            self.plan(self.now + nanos, Due::Resume(host));
            self.count_masters_on(host);
        }
    }

    pub(crate) fn resume(&mut self, host: usize) {
        if self.hosts[host].is_killed() || self.hosts[host].stalled_until.take().is_none() {
            return;
        }
        self.trace.add(self.now, host, None, TraceEvent::Resumed);
        let timers_first = self.defect == Defect::TimersFirst;
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

    /// Discards the second half of a host's pending records, as if the ring had been full while the
    /// process was stalled.
    pub(crate) fn lose_records(&mut self, host: usize) {
        let host = &mut self.hosts[host];
        if !host.ring.is_empty() {
            host.ring.truncate(host.ring.len() / 2);
            host.lost = true;
        }
    }
}

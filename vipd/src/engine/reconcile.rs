//! What the engine makes of netlink's notices: which interfaces can carry adverts, which addresses are missing.

use std::io;
use std::net::IpAddr;

use rustix::net::{AddressFamily, SocketType, netdevice, socket};
use tokio::sync::mpsc;
use vipd_common::Timestamp;

use super::Engine;
use crate::engine::effects::Outbox;
use crate::engine::instance::is_foreign;
use crate::engine::layout::Role;
use crate::engine::links::{Gone, Interface};
use crate::engine::message::{Report, Request};
use crate::netlink::{Change, Notice};
use crate::vrrp::{Action, Addresses, Fault, Impediment, Input, State, VirtualAddress};

/// Dumps in a row that may be interrupted by changes.
const DUMP_ATTEMPTS: u32 = 8;

impl Engine {
    pub(crate) fn drain_monitor(&mut self) {
        let (interfaces, requests, outbox) = (&mut self.interfaces, &self.requests, &mut self.outbox);
        let lost = self.monitor.drain(|notice| {
            if let Some((interface, gone)) = interfaces.notice(&notice) {
                close(requests, outbox, interface, gone);
            }
        });
        match lost {
            Ok(false) => {}
            Ok(true) => {
                self.overruns += 1;
                self.out_of_date = true;
                self.report(Report::NetlinkOverrun);
            }
            Err(error) => self.report(Report::NetlinkFailed(error)),
        }
        if self.out_of_date
            && let Err(error) = self.dump()
        {
            self.report(Report::NetlinkFailed(error));
        }
    }

    /// After a change of an address failed: compares what is there with what should be, and mends it.
    pub(crate) fn look_again_if_due(&mut self, now: Timestamp) {
        if self.look_again.take_if(|at| *at <= now).is_some() {
            self.out_of_date = true;
            for interface in &mut self.interfaces.0 {
                interface.swept = false;
            }
        }
    }

    /// Reads links and addresses anew. What is known stays as it is until all is read; a failure is made up for in the
    /// next turn.
    pub(crate) fn dump(&mut self) -> io::Result<()> {
        let mut notices = Vec::new();
        let mut attempts = 0;
        // Something changed meanwhile, and an entry may be missing: once more, for as long as that is likely to help.
        while let Err(error) = self.outbox.requests().dump(|notice| notices.push(notice)) {
            attempts += 1;
            if error.kind() != io::ErrorKind::Interrupted || attempts == DUMP_ATTEMPTS {
                return Err(error);
            }
            notices.clear();
        }
        self.out_of_date = false;
        // Links first: one that is gone or renamed still says which addresses it had.
        let (links, addresses): (Vec<_>, Vec<_>) =
            notices.iter().partition(|notice| matches!(notice, Notice::Link(_)));
        self.interfaces.begin_dump();
        let mut all_gone: Vec<_> =
            links.into_iter().filter_map(|link| self.interfaces.notice(link)).collect();
        all_gone.extend(self.interfaces.end_links(exists));
        all_gone.extend(addresses.into_iter().filter_map(|address| self.interfaces.notice(address)));
        for (interface, gone) in all_gone {
            close(&self.requests, &mut self.outbox, interface, gone);
        }
        Ok(())
    }

    /// Lets the routers of every interface that has changed know.
    pub(crate) fn look_at_interfaces(&mut self, now: Timestamp) {
        for place in 0..self.interfaces.0.len() {
            let Some(interface) = self.interfaces.0.get_mut(place) else { return };
            if !std::mem::take(&mut interface.changed) {
                continue;
            }
            if let (Some(ifindex), false, None) = (interface.ifindex, interface.requested, &interface.port)
                && !interface.is_virtual_mac()
            {
                interface.requested = true;
                // The receiver lives as long as the process wants to.
                let _ = self.requests.send(Request::Open { interface: place, ifindex });
            }
            let instances = interface.instances.clone();
            self.make_again(place);
            for index in instances {
                self.look_at_instance(now, index);
            }
            self.sweep(place);
        }
    }

    /// A macvlan that somebody has deleted: its parent is opened once more, which makes it.
    fn make_again(&mut self, place: usize) {
        let Some(interface) = self.interfaces.0.get(place) else { return };
        let (Role::VirtualMac { parent, .. }, None, false) =
            (interface.role, interface.ifindex, interface.requested)
        else {
            return;
        };
        let Some(above) = self.interfaces.0.get(parent) else { return };
        if let (Some(ifindex), Some(_)) = (above.ifindex, &above.port) {
            // The receiver lives as long as the process wants to.
            let _ = self.requests.send(Request::Open { interface: parent, ifindex });
            if let Some(interface) = self.interfaces.0.get_mut(place) {
                interface.requested = true;
            }
        }
    }

    fn look_at_instance(&mut self, now: Timestamp, index: usize) {
        let Some(instance) = self.instances.get(index) else { return };
        let Some(interface) = self.interfaces.0.get(instance.interface) else { return };
        // An owner's virtual addresses are the interface's own; those of the others are nobody's to send from.
        let others = interface
            .instances
            .iter()
            .filter_map(|sibling| self.instances.get(*sibling))
            .filter(|sibling| !sibling.is_owner());
        let carried = instance.homes.iter().chain(&instance.macvlan);
        let carried =
            carried.filter_map(|home| self.interfaces.0.get(*home)).try_for_each(Interface::can_carry);
        let family = instance.router.config().family;
        let (link, io) = (interface.link_state(), interface.io());
        let primary = interface.primary(family, instance.settings.source, |address| {
            others.clone().any(|other| other.is_virtual(address))
        });
        if let (Ok(()), Ok(mac), Ok(primary), Ok(())) = (link, io, primary, carried)
            && let Some(instance) = self.instances.get_mut(index)
            && instance.prepare(mac, primary)
            && instance.router.state() == State::Master
        {
            // The hosts know the addresses at the old MAC.
            let rounds = instance.router.config().announcements.repeat;
            let action = Action::Announce { addresses: Addresses::All, rounds };
            self.outbox.push(index, action);
        }
        // A master whose address was taken away, seen by what is there, not by who said so: notices of vipd's own
        // changes come by here, too.
        let was_master = self.is_master(index);
        self.report_readiness(now, index, [link.err(), io.err(), primary.err(), carried.err()], primary.ok());
        if was_master && self.is_master(index) {
            self.set_up_again(index);
        }
        if was_master && self.is_master(index) {
            for vip in self.missing(index) {
                self.handle(index, now, Input::AddressRemoved(vip));
            }
        }
    }

    /// Hands a router the impediments of its interfaces: those that are set first, so that it does not start in between.
    fn report_readiness(
        &mut self,
        now: Timestamp,
        index: usize,
        faults: [Option<Fault>; 4],
        primary: Option<IpAddr>,
    ) {
        for fault in faults.into_iter().flatten() {
            self.set_impediment(now, index, fault.impediment(), Some(fault));
        }
        if let Some(primary) = primary {
            self.handle(index, now, Input::PrimaryAddress(primary));
        }
        for (kind, fault) in
            [Impediment::Link, Impediment::Io, Impediment::PrimaryAddress, Impediment::AddressInterface]
                .into_iter()
                .zip(faults)
        {
            self.set_impediment(now, index, kind, fault);
        }
    }

    fn set_impediment(&mut self, now: Timestamp, index: usize, kind: Impediment, fault: Option<Fault>) {
        let known = self.instances.get(index).map(|instance| instance.router.impediment(kind));
        if known.is_some_and(|known| known != fault) {
            self.handle(index, now, fault.map_or(Input::Clear(kind), Input::Impede));
        }
    }

    /// A master's macvlan that somebody has set down.
    fn set_up_again(&mut self, index: usize) {
        let macvlan = self.instances.get(index).and_then(|instance| instance.macvlan);
        let Some(macvlan) = macvlan.and_then(|place| self.interfaces.0.get(place)) else { return };
        if let (Some(ifindex), false) = (macvlan.ifindex, macvlan.running) {
            self.outbox.change(Change::Up { ifindex });
        }
    }

    fn is_master(&self, index: usize) -> bool {
        self.instances.get(index).is_some_and(|instance| instance.router.state() == State::Master)
    }

    /// Virtual addresses of an instance that are not where they should be.
    fn missing(&self, index: usize) -> Vec<VirtualAddress> {
        let Some(instance) = self.instances.get(index) else { return Vec::new() };
        let there = |vip: VirtualAddress, home: usize| {
            let home = self.interfaces.0.get(home);
            home.is_some_and(|home| home.has(vip) || home.find(vip.address).is_some_and(is_foreign))
        };
        let each = instance.addresses.iter().copied().zip(instance.homes.iter().copied());
        each.filter(|(vip, home)| !there(*vip, *home)).map(|(vip, _)| vip).collect()
    }

    /// Takes away what an earlier run left behind on an interface: once, when it becomes ours.
    fn sweep(&mut self, place: usize) {
        let Some(interface) = self.interfaces.0.get_mut(place) else { return };
        if (interface.port.is_none() && !interface.is_virtual_mac())
            || std::mem::replace(&mut interface.swept, true)
        {
            return;
        }
        for found in interface.addresses.clone() {
            let mastered =
                interface.instances.iter().filter_map(|index| self.instances.get(*index)).any(|instance| {
                    instance.router.state() == State::Master && instance.holds(place, found.address)
                });
            let leftover = !is_foreign(&found) && !mastered;
            if leftover {
                self.outbox.change(Change::Remove(found));
                let report = Report::LeftoverRemoved(found);
                self.reports_dropped += u64::from(self.reports.try_send(report).is_err());
            }
        }
    }
}

/// Asks the control thread to let go of an interface, and takes vipd's addresses off it: one that was merely renamed
/// would go on answering for them.
fn close(requests: &mpsc::UnboundedSender<Request>, outbox: &mut Outbox, interface: usize, gone: Gone) {
    for address in gone.left {
        outbox.change(Change::Remove(address));
    }
    let _ = requests.send(Request::Close { interface, ifindex: gone.ifindex, port: gone.port });
}

/// Whether the kernel still knows an interface by this index and name.
fn exists(ifindex: u32, name: &str) -> bool {
    // Without a socket to ask by, believe that it does.
    let Ok(socket) = socket(AddressFamily::INET, SocketType::DGRAM, None) else { return true };
    netdevice::name_to_index(&socket, name) == Ok(ifindex)
}

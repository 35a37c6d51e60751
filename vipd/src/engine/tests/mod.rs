//! Runs the engine turn by turn on a LAN segment.

mod addresses;
mod allocation;
mod groups;
mod joins;
mod leases;
mod order;
mod probe;
mod reload;
mod routes;
mod succession;
mod topology;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::oneshot;
use vipd_common::records::BURST;
use vipd_tests::inject::Injector;
use vipd_tests::lab::Lab;
use vipd_tests::protocol;
use vipd_tests::station::Station;
use vipd_witness::Advert;

use super::*;
use crate::config::{Config, Fence};
use crate::engine::command::{Added, Addition, Changes};
use crate::engine::instance::Instance;
use crate::netlink::Macvlans;
use crate::service::link_io::LinkOpener;
use crate::service::worker::LinkWork as _;
use crate::service::{bus, topology};
use crate::vrrp::{Router, State};
use crate::xdp::{Kernel, Loaded, OBJECT, Sizes, Verbosity};

const NODE: Station = Station::Node(1);
const ROUTERS: u8 = 20;
const INTERVAL: Duration = Duration::from_millis(10);
const SOON: Duration = Duration::from_secs(30);
/// Time between two checks of a condition while nothing happens.
const CHECK_INTERVAL: Duration = Duration::from_millis(10);
/// Number of missed adverts before a takeover. A large number, so that a busy machine does not
/// cause a takeover.
const MISSING: u32 = 50;

/// An engine with open links, and the service's ends of the engine's channels.
struct Bench {
    engine: Engine,
    handle: Handle,
    opener: LinkOpener,
    requested: mpsc::UnboundedReceiver<Request>,
    reported: mpsc::Receiver<Report>,
}

impl Bench {
    /// Creates an engine with the default configuration in this thread's network namespace.
    fn new() -> Result<Self> {
        Self::configured(&configuration())
    }

    /// Creates an engine with the configuration in `text`.
    fn configured(text: &str) -> Result<Self> {
        Self::with_room(text, 4096)
    }

    /// Creates an engine whose BPF program has room for `addresses` VIPs.
    fn with_room(text: &str, addresses: u32) -> Result<Self> {
        let config = Config::parse(text, "vipd.toml").map_err(|found| anyhow::anyhow!("{found}"))?;
        Self::with_configuration(&config, addresses)
    }

    fn with_configuration(config: &Config, addresses: u32) -> Result<Self> {
        let routers = u32::try_from(config.instances.len())?.max(ROUTERS.into());
        let sizes = Sizes { routers, peers: 0, addresses, senders: 4096, burst: BURST };
        let Loaded { kernel, feed, counters: _, addresses, leases, steady, signers, log: _, maps: _ } =
            Kernel::load(OBJECT, sizes, Verbosity::Quiet)?;
        let mut opener = LinkOpener::new(kernel, Macvlans::open("test")?, BTreeMap::new(), true, "test");
        let (requests, requested) = mpsc::unbounded_channel();
        let (reports, reported) = mpsc::channel(4096);
        let (transitions, _) = bus::bus(routers as usize);
        let outlets = Outlets { requests, reports, transitions, guardian: None };
        let kernel_side = KernelSide { feed, addresses, leases, steady, signers };
        let topology = topology(config, sizes)?;
        let (engine, handle) =
            Engine::new(topology, kernel_side, config.realtime, config.fence == Fence::On, outlets)?;
        for spec in engine.present().into_iter().filter_map(|link| engine.topology().spec(link)) {
            let io = Ok(opener.open(&spec)?);
            handle.send(Command::Opened { link: spec.link, ifindex: spec.ifindex, io });
        }
        Ok(Self { engine, handle, opener, requested, reported })
    }

    /// Runs turns until `is_met` returns true. Fails after [`SOON`], even if the engine is asleep.
    fn turn_until(&mut self, what: &str, is_met: impl FnMut(&Self) -> bool) -> Result<()> {
        self.run_until(what, is_met, false)
    }

    /// Like [`turn_until`](Self::turn_until), but also handles the engine's requests.
    fn serve_until(&mut self, what: &str, is_met: impl FnMut(&Self) -> bool) -> Result<()> {
        self.run_until(what, is_met, true)
    }

    fn run_until(&mut self, what: &str, mut is_met: impl FnMut(&Self) -> bool, serves: bool) -> Result<()> {
        let handle = self.handle.clone();
        let (done, over) = channel::<()>();
        let started = Instant::now();
        let watchdog = thread::spawn(move || {
            // Wakes the engine regularly. Otherwise, a turn in the steady state would end only with
            // the next event.
            while over.recv_timeout(CHECK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if started.elapsed() > SOON {
                    return handle.send(Command::Stop);
                }
                handle.waker.wake();
            }
        });
        while !is_met(self) {
            anyhow::ensure!(self.engine.turn()?, "not within {SOON:?}: {what}");
            if serves {
                self.serve()?;
            }
        }
        drop(done);
        watchdog.join().expect("the watchdog does not panic");
        Ok(())
    }

    /// Applies changes and returns the added routers.
    fn reload(&mut self, changes: Changes) -> Result<Vec<Added>> {
        let (reply, mut answer) = oneshot::channel();
        self.engine.reload(clock::now(), changes, reply);
        let mut added = None;
        while added.is_none() {
            anyhow::ensure!(self.engine.turn()?, "the engine has ended");
            self.serve()?;
            added = answer.try_recv().ok();
        }
        Ok(added.unwrap_or_default())
    }

    /// Handles the engine's requests as the service does, except requests that the tests do not
    /// need.
    fn serve(&mut self) -> Result<()> {
        while let Ok(request) = self.requested.try_recv() {
            match request {
                Request::Open(spec) | Request::Reattach(spec) => {
                    let io = Ok(self.opener.open(&spec)?);
                    self.handle.send(Command::Opened { link: spec.link, ifindex: spec.ifindex, io });
                }
                Request::Forget { ifindex, entry, row } => {
                    self.opener.forget(ifindex, &entry);
                    self.opener.clear_rows(&[row]);
                    self.handle.send(Command::RowReleased(row));
                }
                Request::Close { ifindex, io, .. } => {
                    drop(io);
                    self.opener.close(ifindex);
                }
                Request::Drop(io) => drop(io),
                Request::Down { .. }
                | Request::RenewGroups(_)
                | Request::Share(..)
                | Request::EndSharing
                | Request::TakeOver
                | Request::HandOver => {}
            }
        }
        Ok(())
    }

    fn all_are(&self, state: State) -> bool {
        self.engine.topology.routers.values().all(|instance| instance.router.state() == state)
    }

    /// Returns whether all routers are on the fast path.
    fn all_on_fast_path(&self) -> bool {
        self.engine.topology.routers.values().all(|instance| instance.fast_path.published().is_some())
    }

    /// Returns the arrival time of the last advert from this source that was passed to the first
    /// router.
    fn last_handled(&self, source: Ipv4Addr) -> Option<Timestamp> {
        let peers = self.engine.topology.routers.values().next()?.router.peers();
        Some(peers.iter().find(|peer| peer.address == source)?.last_arrival)
    }

    /// Runs this number of turns and returns the number of allocations.
    fn allocations(&mut self, turns: usize) -> Result<u64> {
        let mut result = Ok(());
        let counted = allocation_counter::measure(|| {
            for _ in 0..turns {
                result = self.engine.turn().map(drop);
            }
        });
        result?;
        Ok(counted.count_total)
    }

    fn last_router(&self) -> &Instance {
        self.engine.topology.routers.values().last().expect("there are routers")
    }

    fn sum(&self, counter: impl Fn(&Instance) -> u64) -> u64 {
        self.engine.topology.routers.values().map(counter).sum()
    }
}

fn configuration() -> String {
    let mut text = String::from("realtime = \"off\"\n");
    for vrid in 1..=ROUTERS {
        let _ = write!(
            text,
            "[[instance]]\nname = \"{vrid}\"\ninterface = \"eth1\"\nvrid = {vrid}\nadvert_interval = \"10ms\"\n\
             down_after_adverts = {MISSING}\nvirtual_addresses = [\"10.0.{vrid}.1\"]\ngarp = {{ delay = \"0s\" }}\n"
        );
    }
    text
}

fn advert(vrid: u8, priority: u8) -> Vec<u8> {
    let addresses = vec![Ipv4Addr::new(10, 0, vrid, 1).into()];
    let valid = Station::Client.advert(protocol::Version::V3, vrid, priority);
    Advert { interval: 1, addresses, ..valid }.frame()
}

/// Returns an advert of the master for each virtual router.
fn masters() -> Vec<Vec<u8>> {
    (1..=ROUTERS).map(|vrid| advert(vrid, 200)).collect()
}

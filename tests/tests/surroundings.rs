//! What others do to the interface of a running agent: addresses and links that come, go and change.

use std::net::Ipv4Addr;
use std::time::Duration;

use vipd_tests::agent::{Agent, Instance};
use vipd_tests::capture::Capture;
use vipd_tests::lab::Lab;
use vipd_tests::links;
use vipd_tests::station::{INTERFACE, PREFIX, Station, VIP};
use vipd_tests::time::WallTime;
use vipd_tests::vipd;
use vipd_tests::wait::wait_until;

const NODE: Station = Station::Node(1);
const VRID: u8 = 51;
/// Generous: the tests are about what happens, not how soon.
const PATIENCE: Duration = Duration::from_secs(20);

/// A lab with one vipd node that is master of [`VIP`].
struct Scene {
    agent: Agent,
    capture: Capture,
    lab: Lab,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new(1).expect("a lab");
        let capture = lab.capture().expect("a capture");
        let instance = Instance { vrid: VRID, interval: Duration::from_millis(100), ..Instance::default() };
        let mut agent = Agent::new(&lab, NODE, vipd::kind(), &[instance]).expect("an agent");
        vipd::start(&mut agent).expect("it starts");
        let scene = Self { agent, capture, lab };
        scene.expect("master");
        scene
    }

    /// Does something in the node's namespace.
    fn on_node<T: Send + 'static>(&self, act: impl FnOnce() -> anyhow::Result<T> + Send + 'static) -> T {
        self.lab.host(NODE).expect("a host").run(act).expect("done on the node")
    }

    fn state(&self) -> String {
        vipd::state(&self.agent, VRID).expect("a state")
    }

    /// Waits for a state.
    fn expect(&self, state: &str) {
        let what = format!("the state to be {state}");
        wait_until(&what, PATIENCE, || self.state() == state)
            .unwrap_or_else(|error| panic!("{error}: {:#?}", self.agent.log()));
    }

    fn counter(&self, name: &str) -> u64 {
        vipd::counter(&vipd::stats(&self.agent).expect("stats"), VRID, name).expect("a counter")
    }

    fn fault_reason(&self) -> String {
        let status = vipd::status(&self.agent).expect("status");
        let reason = &vipd::instance(&status, VRID).expect("an instance")["vipd:fault-reason"];
        reason.as_str().unwrap_or_default().to_owned()
    }

    fn has(&self, address: Ipv4Addr) -> bool {
        self.on_node(|| links::addresses(INTERFACE)).contains(&address)
    }

    /// Waits for an advert from `source` after `since`.
    fn expect_advert(&self, since: WallTime, source: Ipv4Addr) {
        wait_until(&format!("an advert from {source}"), PATIENCE, || {
            self.capture.has(since, |frame| frame.advert().is_some_and(|advert| advert.source == source))
        })
        .expect("an advert");
    }
}

#[test]
fn a_virtual_address_that_somebody_deletes_is_put_back_and_announced_without_a_change_of_master() {
    let scene = Scene::new();
    for round in 1..=3 {
        let start = WallTime::now();
        scene.on_node(|| links::del_address(INTERFACE, VIP, PREFIX));
        wait_until("the address to be put back", PATIENCE, || scene.has(VIP)).expect("put back");
        wait_until("it to be announced", PATIENCE, || {
            scene.capture.has(start, |frame| frame.gratuitous_arp(VIP).is_some())
        })
        .expect("announced");
        wait_until("it to be counted", PATIENCE, || scene.counter("vipd:addresses-restored") == round)
            .expect("counted");
        assert_eq!(scene.state(), "master");
    }
    assert_eq!(scene.counter("master-transitions"), 1, "no flap");
    assert_eq!(scene.counter("priority-zero-pkts-sent"), 0, "nobody was told that it leaves");
}

#[test]
fn an_interface_that_goes_down_is_a_fault_until_it_is_up_again() {
    let scene = Scene::new();
    scene.lab.cut(NODE).expect("cut");
    scene.expect("fault");
    assert_eq!(scene.fault_reason(), format!("interface {INTERFACE} is down or has no carrier"));
    wait_until("the address to be taken away", PATIENCE, || !scene.has(VIP)).expect("taken away");
    let start = WallTime::now();
    scene.lab.mend(NODE).expect("mended");
    scene.expect("master");
    scene.expect_advert(start, NODE.ipv4());

    scene.on_node(|| links::set_down(INTERFACE));
    scene.expect("fault");
    scene.on_node(|| links::set_up(INTERFACE));
    scene.expect("master");
    assert!(scene.has(VIP));
    assert_eq!(scene.counter("master-transitions"), 3);
}

#[test]
fn an_interface_that_is_removed_and_made_anew_is_taken_up_again() {
    let scene = Scene::new();
    let before = scene.counter("advertisement-sent");
    for _ in 0..2 {
        scene.lab.unplug(NODE).expect("unplugged");
        scene.expect("fault");
        assert_eq!(scene.fault_reason(), format!("interface {INTERFACE} does not exist"));
        let start = WallTime::now();
        scene.lab.plug(NODE).expect("plugged in");
        scene.expect("master");
        scene.expect_advert(start, NODE.ipv4());
    }
    assert!(scene.counter("advertisement-sent") > before, "counters go on");
    // It hears as well as it speaks: the program is attached to the new interface.
    let injector = vipd_tests::inject::Injector::open(scene.lab.host(Station::Client).expect("a host"))
        .expect("an injector");
    let heard = scene.counter("advertisement-rcvd");
    let lower = vipd_tests::craft::Advert {
        interval: 10,
        ..vipd_tests::craft::Advert::new(vipd_tests::protocol::Version::V3, VRID, 1, Station::Client)
    };
    injector.send(&lower.frame()).expect("sent");
    wait_until("the advert to be counted", PATIENCE, || scene.counter("advertisement-rcvd") == heard + 1)
        .expect("counted");
}

#[test]
fn the_loss_of_the_own_address_is_a_fault_and_another_one_takes_its_place() {
    let scene = Scene::new();
    let other = Ipv4Addr::new(192, 168, 122, 77);
    scene.on_node(|| links::del_address(INTERFACE, NODE.ipv4(), PREFIX));
    scene.expect("fault");
    assert_eq!(scene.fault_reason(), format!("interface {INTERFACE} has no IPv4 address of its own"));
    wait_until("the virtual address to be taken away", PATIENCE, || !scene.has(VIP)).expect("taken away");
    assert_eq!(scene.counter("priority-zero-pkts-sent"), 1, "the others need not wait");

    let start = WallTime::now();
    scene.on_node(move || links::add_address(INTERFACE, other, PREFIX));
    scene.expect("master");
    scene.expect_advert(start, other);

    // A change of the own address while it is master is no change of master.
    let start = WallTime::now();
    let third = Ipv4Addr::new(10, 9, 8, 7);
    scene.on_node(move || links::add_address(INTERFACE, third, 32));
    scene.on_node(move || links::del_address(INTERFACE, other, PREFIX));
    scene.expect_advert(start, third);
    wait_until("the virtual address to be there", PATIENCE, || scene.has(VIP)).expect("there");
    assert_eq!(scene.state(), "master");
    assert_eq!(scene.counter("master-transitions"), 2);
}

#[test]
fn after_lost_notifications_everything_is_read_anew() {
    const LINK: &str = "lo";
    let scene = Scene::new();
    scene.agent.pause().expect("frozen");
    // More notifications than any receive buffer holds, and what matters among them.
    scene.on_node(|| {
        for round in 0..30_000u32 {
            let [_, _, high, low] = round.to_be_bytes();
            let address = Ipv4Addr::new(10, 99, high, low);
            links::add_address(LINK, address, 32)?;
            links::del_address(LINK, address, 32)?;
        }
        links::del_address(INTERFACE, VIP, PREFIX)
    });
    assert!(!scene.has(VIP));
    scene.agent.resume().expect("thawed");
    wait_until("the address to be put back", PATIENCE, || scene.has(VIP)).expect("put back");
    let stats = vipd::stats(&scene.agent).expect("stats");
    let overruns = stats["global"]["vipd:netlink-overruns"].as_u64().expect("a counter");
    assert!(overruns >= 1, "60,001 notifications fitted into the receive buffer");
    assert_eq!(scene.state(), "master");
}

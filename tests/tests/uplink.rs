//! Adverts are delivered although the node saturates its own uplink, because adverts are sent with
//! TC_PRIO_CONTROL.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use vipd_tests::agent::{Agent, Instance};
use vipd_tests::binary::vipd;
use vipd_tests::command::run;
use vipd_tests::configuration::Family;
use vipd_tests::control::{counter, state, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::station::Station;
use vipd_tests::wait::{try_wait_until, wait_until};

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(60);
/// Number of adverts to observe while the uplink is saturated.
const ADVERTS: u64 = 50;

/// A UDP flood of up to 35 Mbit/s to the client. Dropping it ends the flood.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Flood {
    fn start(host: &Namespace) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        // Use many sockets, because one socket's send buffer is too small to fill the qdisc's
        // queue.
        let sockets = host.run(|| {
            let open = || UdpSocket::bind("0.0.0.0:0").expect("open a socket");
            std::iter::repeat_with(open)
                .take(32)
                .inspect(|socket| {
                    socket.set_nonblocking(true).expect("set non-blocking");
                })
                .collect::<Vec<_>>()
        });
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                for socket in &sockets {
                    // Fails while the send buffer is full.
                    let _ = socket.send_to(&[0; 1400], (Station::Client.ipv4(), 9));
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(thread::JoinHandle::join);
    }
}

/// Returns the number of packets dropped by the queueing disciplines.
fn dropped(host: &Namespace) -> u64 {
    let shown = run(host, "tc", &["-s", "qdisc", "show", "dev", "eth1"]).expect("run tc");
    let counts =
        shown.split("dropped ").skip(1).filter_map(|rest| rest.split(',').next()?.parse::<u64>().ok());
    counts.sum()
}

fn check_saturated_uplink(instances: impl Fn(Station) -> Instance) {
    let lab = Lab::new(2).unwrap();
    let start = |station: Station, priority: u8| {
        let instance = Instance { priority, interval: Duration::from_millis(100), ..instances(station) };
        let mut agent = Agent::new(&lab, station, vipd().expect("vipd binary"), &[instance]).unwrap();
        agent.start().unwrap();
        agent
    };
    let master = start(ONE, 200);
    wait_for_state(&master, "master", TIMEOUT).unwrap();
    let backup = start(TWO, 100);
    wait_for_state(&backup, "backup", TIMEOUT).unwrap();
    let host = lab.host(ONE).unwrap();
    let tc =
        |arguments: &str| run(host, "tc", &arguments.split_whitespace().collect::<Vec<_>>()).expect("run tc");
    tc("qdisc add dev eth1 root handle 1: tbf rate 2mbit burst 10kb latency 500ms");
    tc("qdisc add dev eth1 parent 1:1 handle 10: pfifo_fast");

    let _flood = Flood::start(host);
    try_wait_until("the uplink to drop packets", TIMEOUT, || Ok(dropped(host) > 1000)).unwrap();
    let (sent, received) =
        (counter(&master, "advertisement-sent").unwrap(), counter(&backup, "advertisement-rcvd").unwrap());
    wait_until("adverts to be sent", TIMEOUT, || {
        counter(&master, "advertisement-sent").unwrap() >= sent + ADVERTS
    })
    .unwrap();
    wait_until("all adverts to be received", TIMEOUT, || {
        counter(&backup, "advertisement-rcvd").unwrap() >= received + ADVERTS
    })
    .unwrap();
    assert_eq!(state(&backup).unwrap(), "backup");
    assert_eq!(counter(&backup, "master-transitions").unwrap(), 0);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn multicast_adverts_pass_a_saturated_uplink() {
    check_saturated_uplink(|_| Instance::default());
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn ipv6_adverts_pass_a_saturated_uplink() {
    check_saturated_uplink(|_| Instance::of(Family::V6));
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn unicast_adverts_pass_a_saturated_uplink() {
    check_saturated_uplink(|station| {
        let peer = if station == ONE { TWO } else { ONE };
        Instance { unicast_peers: vec![peer.ipv4().into()], ..Instance::default() }
    });
}

//! Another router takes over from a killed agent.

use vipd_tests::agent::AgentKind;
use vipd_tests::client::{Client, uses_vip};
use vipd_tests::command::run;

use super::*;

/// keepalived takes over after its Skew_Time, long before its Active_Down_Interval would end. From
/// then on, the node of the killed agent does not answer.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn keepalived_takes_over_from_a_killed_agent_within_its_skew_time() {
    /// Allowance for a frame that was in flight when the advert arrived.
    const IN_FLIGHT: Duration = Duration::from_millis(1);
    let interval = 2 * INTERVAL;
    let lab = Lab::new(2).expect("create the lab");
    let capture = lab.capture().expect("start the capture");
    let since = WallTime::now();
    let instance = |priority| Instance { priority, interval, ..Instance::default() };
    let mut master = start(&lab, ONE, &[instance(200)]);
    wait_for_all(&master, "master");
    let mut backup =
        Agent::new(&lab, TWO, AgentKind::Keepalived, &[instance(190)]).expect("create the backup");
    backup.start().expect("start keepalived");
    let started = WallTime::now();
    wait_until("keepalived to receive an advert", TIMEOUT, || {
        capture.has(started, |frame| frame.claims_mastership(ONE))
    })
    .expect("sent");
    let _client = Client::start(&lab).expect("start the client");
    wait_until("node 1 to answer", TIMEOUT, || {
        capture.has(since, |frame| frame.from == ONE && uses_vip(frame))
    })
    .expect("answers");
    let process = guardian(&master).expect("a guardian");
    let killed = WallTime::now();
    kill_alone(&mut master, Signal::KILL);
    wait_for_end(process);
    wait_until("node 2 to answer", TIMEOUT, || {
        capture.filter_map(killed, |frame| (frame.from == TWO && uses_vip(frame)).then_some(())).len() > 50
    })
    .expect("answers");
    let first = |wanted: &dyn Fn(&vipd_tests::frame::Frame) -> bool| {
        capture.filter_map(killed, |frame| wanted(frame).then_some(frame.time)).first().copied()
    };
    let zero = first(&|frame| frame.from == ONE && frame.advert().is_some_and(|advert| advert.priority == 0))
        .expect("a priority-0 advert");
    let takeover = first(&|frame| frame.claims_mastership(TWO)).expect("an advert of keepalived");
    // Skew_Time is 0.5 s, the Active_Down_Interval 6.5 s.
    assert!(takeover > zero, "keepalived did not wait for the priority-0 advert");
    let skew = takeover.saturating_since(zero);
    assert!(skew < 2 * interval, "took over after {skew:?}");
    let late = capture.filter_map(killed, |frame| {
        (frame.from == ONE && uses_vip(frame) && frame.time > takeover + IN_FLIGHT).then_some(frame.time)
    });
    assert!(late.is_empty(), "{} answers of node 1 after the takeover", late.len());
    assert_eq!(addresses(host(&lab, ONE)), [ONE.ipv4()]);
}

/// An interface that is recreated has a new index. The guardian must remove the route through the
/// new interface.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn route_through_a_recreated_interface_is_removed() {
    let lab = Lab::new(2).expect("create the lab");
    let node = host(&lab, ONE);
    let ip = |arguments: &str| {
        run(node, "ip", &arguments.split(' ').collect::<Vec<_>>()).unwrap_or_else(|error| panic!("{error:#}"))
    };
    let create = || {
        ip("link add uplink type veth peer name uplink-peer");
        ip("link set uplink up");
        ip("link set uplink-peer up");
    };
    create();
    let configuration = "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 1\npriority = 200\n\
                         virtual_addresses = [\"10.0.1.1\"]\n\
                         routes = [{ to = \"10.9.0.0/16\", dev = \"uplink\", scope = \"link\" }]\n";
    let program = vipd().expect("vipd binary");
    let mut master =
        Agent::with_configuration(&lab, ONE, program, configuration.to_owned()).expect("create the agent");
    master.run_below_init();
    master.start().expect("start the agent");
    let has_route = || ip("route show 10.9.0.0/16").contains("uplink");
    wait_until("the route", TIMEOUT, has_route).expect("added");
    let backup = start(&lab, TWO, &[instance(1, 100)]);
    routers::wait_for_backup_of(&backup, ONE.ipv4()).expect("backup");
    ip("link delete uplink");
    create();
    wait_until("the route", TIMEOUT, has_route)
        .unwrap_or_else(|error| panic!("{error}: {:#?}", master.log()));
    wait_until("the guardian to run", TIMEOUT, || guardian(&master).is_some()).expect("guarded");
    let process = guardian(&master).expect("a guardian");
    kill_alone(&mut master, Signal::KILL);
    wait_for_all(&backup, "master");
    wait_for_end(process);
    assert!(!has_route(), "{}", ip("route show"));
    assert_eq!(addresses(node), [ONE.ipv4()]);
}

//! Routes and policy rules exist while their router is master.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use vipd_tests::agent::Agent;
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::command::run;
use vipd_tests::control::{change, counter, reload, status, wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::process::Process;
use vipd_tests::station::Station;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(60);

/// Routes of both families, as configured.
const ROUTES: &str = "{ to = \"10.7.0.0/16\", via = \"192.168.122.100\", dev = \"eth1\", table = 100, source = \"192.168.122.50\" }, \
                      { to = \"10.8.0.0/16\", via = \"192.168.122.100\", metric = 50 }, \
                      { to = \"10.9.0.0/16\", type = \"blackhole\" }, \
                      { to = \"2001:db8:7::/48\", via = \"fd00:122::64\", dev = \"eth1\", table = 1000, source = \"fd00:122::50\" }";
/// Policy rules of both families, as configured.
const RULES: &str = "{ from = \"192.168.122.50\", table = 100, priority = 100 }, \
                     { from = \"fd00:122::50\", iif = \"eth1\", fwmark = \"0x1/0xff\", table = 1000, priority = 101 }";
/// [`ROUTES`] and [`RULES`], as returned by [`marked`].
const SHOWN: [&str; 6] = [
    "10.7.0.0/16 via 192.168.122.100 dev eth1 table 100 src 192.168.122.50",
    "10.8.0.0/16 via 192.168.122.100 dev eth1 metric 50",
    "2001:db8:7::/48 via fd00:122::64 dev eth1 table 1000 src fd00:122::50 metric 1024 pref medium",
    "blackhole 10.9.0.0/16",
    "from 192.168.122.50 lookup 100",
    "from fd00:122::50 fwmark 0x1/0xff iif eth1 lookup 1000",
];

fn configuration(priority: u8, routes: &str, rules: &str) -> String {
    format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 1\npriority = {priority}\n\
         advert_interval = \"100ms\"\nvirtual_addresses = [\"192.168.122.50/24\"]\n\
         virtual_addresses_excluded = [\"fd00:122::50/64\"]\nroutes = [{routes}]\nrules = [{rules}]\n"
    )
}

fn start(lab: &Lab, station: Station, text: String) -> Agent {
    let program = vipd().expect("vipd binary");
    let mut agent = Agent::with_configuration(lab, station, program, text).expect("create the agent");
    agent.start().expect("start the agent");
    agent
}

fn ip(lab: &Lab, station: Station, arguments: &str) -> Result<String> {
    run(lab.host(station)?, "ip", &arguments.split_whitespace().collect::<Vec<_>>())
}

/// Returns the routes and rules that have vipd's mark, sorted and with the mark removed.
fn marked(lab: &Lab, station: Station) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for family in ["-4", "-6"] {
        let routes = ip(lab, station, &format!("{family} route show table all proto 118"))?;
        found.extend(routes.lines().map(|line| line.replace(" proto 118", "")));
        let rules = ip(lab, station, &format!("{family} rule show"))?;
        let rules = rules.lines().filter_map(|line| line.strip_suffix(" proto 118"));
        found.extend(rules.filter_map(|line| Some(line.split_once(":\t")?.1.to_owned())));
    }
    let mut found: Vec<_> =
        found.iter().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    found.sort();
    Ok(found)
}

fn wait_for_marked(lab: &Lab, station: Station, wanted: &[&str]) {
    let mut last = Vec::new();
    let result = try_wait_until(&format!("routes of {station}"), TIMEOUT, || {
        last = marked(lab, station)?;
        Ok(last == wanted)
    });
    result.unwrap_or_else(|error| panic!("{error:#}: {last:#?}"));
}

fn logged(agent: &Agent, text: &str) -> usize {
    agent.log().iter().filter(|line| line.text.contains(text)).count()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn routes_and_rules_move_with_mastership() {
    let lab = Lab::new(2).expect("create the lab");
    let mut one = start(&lab, ONE, configuration(200, ROUTES, RULES));
    wait_for_state(&one, "master", TIMEOUT).expect("node 1 is master");
    wait_for_marked(&lab, ONE, &SHOWN);
    let two = start(&lab, TWO, configuration(150, ROUTES, RULES));
    wait_for_state(&two, "backup", TIMEOUT).expect("node 2 is backup");
    assert_eq!(marked(&lab, TWO).expect("ip"), [""; 0], "none on a backup");
    let shown = status(&one).expect("status");
    assert_eq!(shown[0].0["vipd:missing-routes"], json!([]));

    change(&one, &json!({ "command": "drain", "instances": ["VI_1"] })).expect("drained");
    wait_for_marked(&lab, ONE, &[]);
    wait_for_marked(&lab, TWO, &SHOWN);
    change(&one, &json!({ "command": "undrain", "instances": ["VI_1"] })).expect("undrained");
    wait_for_marked(&lab, ONE, &SHOWN);
    wait_for_marked(&lab, TWO, &[]);
    assert!(one.stop().expect("stopped").success());
    assert_eq!(marked(&lab, ONE).expect("ip"), [""; 0], "none after the stop");
    wait_for_marked(&lab, TWO, &SHOWN);
    for agent in [&one, &two] {
        assert_eq!(logged(agent, "cannot"), 0, "{:#?}", agent.log());
        assert_eq!(logged(agent, "was missing"), 0, "{:#?}", agent.log());
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn removed_routes_and_rules_are_restored() {
    let lab = Lab::new(1).expect("create the lab");
    let agent = start(&lab, ONE, configuration(200, ROUTES, RULES));
    wait_for_marked(&lab, ONE, &SHOWN);
    for command in [
        "route del 10.8.0.0/16 metric 50",
        "-6 route del 2001:db8:7::/48 table 1000",
        "rule del from 192.168.122.50 table 100 priority 100",
        "-6 rule del priority 101",
    ] {
        ip(&lab, ONE, command).unwrap_or_else(|error| panic!("{error:#}"));
        wait_for_marked(&lab, ONE, &SHOWN);
    }
    wait_for(&agent, "master", TIMEOUT, |status| status.text("state") == "master").expect("still master");
    assert_eq!(counter(&agent, "vipd:routes-restored").expect("a counter"), 4);
    // When a route's source address is removed, the kernel also removes an IPv4 route, but only
    // clears the source of an IPv6 route.
    ip(&lab, ONE, "address del 192.168.122.50/24 dev eth1").expect("removed");
    wait_for_marked(&lab, ONE, &SHOWN);
    ip(&lab, ONE, "address del fd00:122::50/64 dev eth1").expect("removed");
    try_wait_until("the address", TIMEOUT, || Ok(ip(&lab, ONE, "address show")?.contains("fd00:122::50")))
        .expect("restored");
    wait_for_marked(&lab, ONE, &SHOWN);
    assert_eq!(counter(&agent, "master-transitions").expect("a counter"), 1);
    try_wait_until("the log", TIMEOUT, || Ok(logged(&agent, "was missing; restored") >= 4)).expect("logged");
}

/// The kernel removes IPv4 routes without a notification when their interface goes down.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn routes_return_after_their_interface_was_down() {
    const ROUTE: &str = "{ to = \"10.7.0.0/16\", dev = \"uplink\", table = 100 }";
    let lab = Lab::new(1).expect("create the lab");
    ip(&lab, ONE, "link add uplink type veth peer name uplink-peer").expect("a link");
    ip(&lab, ONE, "link set uplink-peer up").expect("up");
    ip(&lab, ONE, "link set uplink up").expect("up");
    let agent = start(&lab, ONE, configuration(200, ROUTE, ""));
    let shown = ["10.7.0.0/16 dev uplink table 100 scope link"];
    wait_for_marked(&lab, ONE, &shown);
    ip(&lab, ONE, "link set uplink down").expect("down");
    assert_eq!(marked(&lab, ONE).expect("ip"), [""; 0]);
    let missing = wait_for(&agent, "missing", TIMEOUT, |status| {
        status.0["vipd:missing-routes"].as_array().is_some_and(|all| all.len() == 1)
    });
    assert_eq!(
        missing.expect("reported").0["vipd:missing-routes"],
        json!(["route 10.7.0.0/16 dev uplink table 100: its interface is down"])
    );
    ip(&lab, ONE, "link set uplink up").expect("up");
    wait_for_marked(&lab, ONE, &shown);
    wait_for(&agent, "none missing", TIMEOUT, |status| status.0["vipd:missing-routes"] == json!([]))
        .expect("none missing");
    // Replaces the interface with another interface of the same name.
    ip(&lab, ONE, "link del uplink").expect("deleted");
    ip(&lab, ONE, "link add uplink type veth peer name uplink-peer").expect("a link");
    ip(&lab, ONE, "link set uplink-peer up").expect("up");
    ip(&lab, ONE, "link set uplink up").expect("up");
    wait_for_marked(&lab, ONE, &shown);
    assert_eq!(status(&agent).expect("status")[0].text("state"), "master");
    assert_eq!(counter(&agent, "master-transitions").expect("a counter"), 1);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn reload_changes_routes_and_rules_without_a_transition() {
    let lab = Lab::new(1).expect("create the lab");
    let mut agent = start(&lab, ONE, configuration(200, "", ""));
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    agent.configure(configuration(200, ROUTES, RULES)).expect("written");
    let lines = reload(&agent).expect("reloaded");
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert_eq!(lines[1], "VI_1: route 10.8.0.0/16 via 192.168.122.100 metric 50 added");
    wait_for_marked(&lab, ONE, &SHOWN);
    // The engine subscribes to route notifications only once routes or rules are configured.
    ip(&lab, ONE, "route del 10.8.0.0/16 metric 50").expect("removed");
    wait_for_marked(&lab, ONE, &SHOWN);
    agent
        .configure(configuration(200, "{ to = \"10.9.0.0/16\", type = \"blackhole\" }", ""))
        .expect("written");
    assert_eq!(reload(&agent).expect("reloaded").len(), 5);
    wait_for_marked(&lab, ONE, &["blackhole 10.9.0.0/16"]);
    // The new configuration has another route with the same destination and metric.
    let other = "{ to = \"10.9.0.0/16\", via = \"192.168.122.100\" }";
    agent.configure(configuration(200, other, "")).expect("written");
    assert_eq!(
        reload(&agent).expect("reloaded"),
        ["VI_1: route blackhole 10.9.0.0/16 removed", "VI_1: route 10.9.0.0/16 via 192.168.122.100 added"]
    );
    wait_for_marked(&lab, ONE, &["10.9.0.0/16 via 192.168.122.100 dev eth1"]);
    assert_eq!(counter(&agent, "master-transitions").expect("a counter"), 1);
    assert_eq!(logged(&agent, "cannot"), 0, "{:#?}", agent.log());
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn route_of_another_tool_is_left_alone() {
    const ROUTE: &str = "{ to = \"10.7.0.0/16\", via = \"192.168.122.100\" }";
    let lab = Lab::new(1).expect("create the lab");
    let shown = || ip(&lab, ONE, "route show 10.7.0.0/16").expect("ip");
    ip(&lab, ONE, "route add 10.7.0.0/16 via 192.168.122.100 proto static").expect("added");
    let before = shown();
    let mut agent = start(&lab, ONE, configuration(200, ROUTE, ""));
    let missing = wait_for(&agent, "missing", TIMEOUT, |status| {
        status.0["vipd:missing-routes"].to_string().contains("left alone")
    });
    assert_eq!(
        missing.expect("reported").0["vipd:missing-routes"],
        json!([
            "route 10.7.0.0/16 via 192.168.122.100: the table has another route with this destination and metric, which is left alone"
        ])
    );
    // The first retry follows after a second.
    try_wait_until("retries", TIMEOUT, || Ok(counter(&agent, "vipd:route-errors")? >= 2)).expect("retries");
    assert_eq!(logged(&agent, "cannot add route 10.7.0.0/16"), 1, "{:#?}", agent.log());
    assert!(agent.stop().expect("stopped").success());
    assert_eq!(shown(), before);
    // Once the other route is gone, vipd adds its own.
    agent.start().expect("started");
    wait_for_state(&agent, "master", TIMEOUT).expect("master");
    ip(&lab, ONE, "route del 10.7.0.0/16").expect("removed");
    wait_for_marked(&lab, ONE, &["10.7.0.0/16 via 192.168.122.100 dev eth1"]);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn stale_routes_and_rules_are_removed_at_start() {
    let lab = Lab::new(2).expect("create the lab");
    let mut one = start(&lab, ONE, configuration(200, ROUTES, RULES));
    wait_for_marked(&lab, ONE, &SHOWN);
    one.kill().expect("killed");
    assert_eq!(marked(&lab, ONE).expect("ip"), SHOWN, "routes and rules outlive the agent");
    let two = start(&lab, TWO, configuration(250, "", ""));
    wait_for_state(&two, "master", TIMEOUT).expect("node 2 is master");
    // The new configuration has no routes or rules.
    one.configure(configuration(200, "", "")).expect("written");
    one.start().expect("started");
    wait_for_marked(&lab, ONE, &[]);
    assert_eq!(logged(&one, "removed stale r"), SHOWN.len(), "{:#?}", one.log());
    wait_for_state(&one, "backup", TIMEOUT).expect("node 1 is backup");
}

/// The macvlan of a virtual MAC does not exist before the agent has started, and is down in Backup.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn routes_may_use_the_macvlan_of_an_instance() {
    const ROUTE: &str = "{ to = \"10.7.0.0/16\", dev = \"vrrp4-1\" }";
    const OTHER: &str = "{ to = \"10.8.0.0/16\", dev = \"vrrp4-1\" }";
    let lab = Lab::new(1).expect("create the lab");
    let configured = |routes: &str| configuration(200, routes, "") + "virtual_mac = true\n";
    let mut agent = start(&lab, ONE, configured(ROUTE));
    let shown = ["10.7.0.0/16 dev vrrp4-1 scope link", "10.8.0.0/16 dev vrrp4-1 scope link"];
    for _ in 0..2 {
        wait_for_marked(&lab, ONE, &shown[..1]);
        // vipd creates the macvlan again, with another index.
        ip(&lab, ONE, "link del vrrp4-1").expect("deleted");
    }
    wait_for_marked(&lab, ONE, &shown[..1]);
    agent.configure(configured(&format!("{ROUTE}, {OTHER}"))).expect("written");
    let lines = reload(&agent).expect("reloaded");
    assert_eq!(lines, ["VI_1: route 10.8.0.0/16 dev vrrp4-1 added"]);
    wait_for_marked(&lab, ONE, &shown);
    ip(&lab, ONE, "link del vrrp4-1").expect("deleted");
    wait_for_marked(&lab, ONE, &shown);
    agent.configure(configured("")).expect("written");
    reload(&agent).expect("reloaded");
    wait_for_marked(&lab, ONE, &[]);
    assert!(agent.stop().expect("stopped").success());
}

/// The kernel sends only one notification, for the other tool's route, marked as a replacement.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn route_replaced_by_another_tool_is_reported_as_missing() {
    const ROUTES: &str = "{ to = \"10.7.0.0/16\", via = \"192.168.122.100\" }, \
                          { to = \"2001:db8:7::/48\", via = \"fd00:122::64\", table = 1000 }";
    const SHOWN: [&str; 2] = [
        "10.7.0.0/16 via 192.168.122.100 dev eth1",
        "2001:db8:7::/48 via fd00:122::64 dev eth1 table 1000 metric 1024 pref medium",
    ];
    let lab = Lab::new(1).expect("create the lab");
    let mut agent = start(&lab, ONE, configuration(200, ROUTES, ""));
    let all_left_alone = || {
        wait_for(&agent, "missing", TIMEOUT, |status| {
            status.0["vipd:missing-routes"].to_string().matches("left alone").count() == 2
        })
        .expect("reported");
        assert_eq!(marked(&lab, ONE).expect("ip"), [""; 0]);
    };
    for _ in 0..2 {
        wait_for_marked(&lab, ONE, &SHOWN);
        ip(&lab, ONE, "route replace 10.7.0.0/16 via 192.168.122.12 proto static").expect("replaced");
        ip(&lab, ONE, "-6 route replace blackhole 2001:db8:7::/48 table 1000 proto static")
            .expect("replaced");
        all_left_alone();
        ip(&lab, ONE, "route del 10.7.0.0/16").expect("removed");
        ip(&lab, ONE, "-6 route del 2001:db8:7::/48 table 1000").expect("removed");
    }
    wait_for_marked(&lab, ONE, &SHOWN);
    ip(&lab, ONE, "route replace 10.7.0.0/16 via 192.168.122.12 proto static").expect("replaced");
    let replacement = "-6 route replace 2001:db8:7::/48 via fd00:122::12 table 1000 proto static";
    ip(&lab, ONE, replacement).expect("replaced");
    all_left_alone();
    assert!(agent.stop().expect("stopped").success());
    for (command, via) in
        [("route show 10.7.0.0/16", "192.168.122.12"), ("-6 route show table 1000", "fd00:122::12")]
    {
        let left = ip(&lab, ONE, command).expect("ip");
        assert!(left.contains(via) && left.lines().count() == 1, "{left}");
    }
}

/// An agent that starts while another agent runs in the network namespace removes only those stale
/// routes that are in its own configuration.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn routes_of_a_second_agent_stay() {
    const OWN: &str = "{ to = \"10.9.0.0/16\", type = \"blackhole\" }";
    let lab = Lab::new(1).expect("create the lab");
    for command in ["link add eth2 type bridge", "link set eth2 up", "address add 192.0.2.1/24 dev eth2"] {
        ip(&lab, ONE, command).expect("an interface");
    }
    let mut one = start(&lab, ONE, configuration(200, OWN, ""));
    wait_for_marked(&lab, ONE, &["blackhole 10.9.0.0/16"]);
    let text = "[[instance]]\nname = \"VI_2\"\ninterface = \"eth2\"\nvrid = 2\nadvert_interval = \"100ms\"\n\
                virtual_addresses = [\"192.0.2.10\"]\nroutes = [{ to = \"10.20.0.0/16\", type = \"blackhole\" }]\n";
    let host = lab.host(ONE).expect("node 1");
    let directory = Agent::runtime_dir().join("second");
    let (folder, file) = (directory.clone(), directory.join("vipd.toml"));
    host.run(move || fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join("vipd.toml"), text)))
        .expect("written");
    let mut command = Command::new(vipd_binary().expect("vipd binary"));
    command.arg("run").arg("-c").arg(file).arg("--runtime-dir").arg(&directory);
    let mut two = Process::spawn(host, command).expect("the second agent");
    wait_for_marked(&lab, ONE, &["blackhole 10.20.0.0/16", "blackhole 10.9.0.0/16"]);
    one.kill().expect("killed");
    one.configure(configuration(200, OWN, "") + "startup_delay = \"1000s\"\n").expect("written");
    one.start().expect("started");
    wait_for_marked(&lab, ONE, &["blackhole 10.20.0.0/16"]);
    assert!(two.terminate(TIMEOUT).expect("stopped").success(), "{:#?}", two.log());
    assert_eq!(marked(&lab, ONE).expect("ip"), [""; 0]);
}

/// Both instances are masters with the same route, which exists until neither is master.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn shared_route_is_removed_with_its_last_holder() {
    const ROUTE: &str = "{ to = \"10.9.0.0/16\", type = \"blackhole\" }";
    let lab = Lab::new(1).expect("create the lab");
    let other = configuration(200, ROUTE, "").replace("VI_1", "VI_2").replace("vrid = 1", "vrid = 2");
    let other = other.replace("122.50", "122.51").replace("122::50", "122::51");
    let agent = start(&lab, ONE, configuration(200, ROUTE, "") + &other);
    let shown = ["blackhole 10.9.0.0/16"];
    for name in ["VI_1", "VI_2"] {
        try_wait_until(name, TIMEOUT, || {
            Ok(status(&agent)?.iter().any(|one| one.text("name") == name && one.text("state") == "master"))
        })
        .expect("master");
    }
    wait_for_marked(&lab, ONE, &shown);
    change(&agent, &json!({ "command": "drain", "instances": ["VI_1"] })).expect("drained");
    assert_eq!(marked(&lab, ONE).expect("ip"), shown);
    change(&agent, &json!({ "command": "drain", "instances": ["VI_2"] })).expect("drained");
    wait_for_marked(&lab, ONE, &[]);
}

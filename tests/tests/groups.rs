//! Sync groups on two nodes, each with one interface on each of two segments: `eth1` on the lab's
//! segment, and `lan` on a second segment.

use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use vipd_tests::agent::{Agent, AgentKind};
use vipd_tests::binary::vipd;
use vipd_tests::command::run;
use vipd_tests::control::{change, reload, stats, status};
use vipd_tests::lab::Lab;
use vipd_tests::routers::has_address;
use vipd_tests::station::Station;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);
/// The VIPs of the members, and the interfaces that they are on.
const VIPS: [(&str, &str); 2] = [("10.0.0.51", "eth1"), ("172.16.0.51", "lan")];

/// Returns the name of a node's port on the switch of `lan`.
fn port(station: Station) -> String {
    format!("lan-{station}").replace(' ', "-")
}

/// Sets a node's port on the switch of `lan` up or down.
fn set_cable(lab: &Lab, station: Station, state: &str) -> Result<()> {
    run(lab.switch(), "ip", &["link", "set", &port(station), state]).map(drop)
}

/// Creates a lab whose nodes have an address on both segments.
fn lab() -> Result<Lab> {
    let lab = Lab::new(2)?;
    run(lab.switch(), "ip", &["link", "add", "lan", "type", "bridge", "mcast_snooping", "0"])?;
    run(lab.switch(), "ip", &["link", "set", "lan", "up"])?;
    for (station, address) in [(ONE, "172.16.0.9/24"), (TWO, "172.16.0.8/24")] {
        let host = lab.host(station)?;
        let thread = host.run(rustix::thread::gettid).as_raw_nonzero();
        let namespace = format!("/proc/{}/task/{thread}/ns/net", std::process::id());
        let port = port(station);
        let pair = ["link", "add", &port, "type", "veth", "peer", "name", "lan", "netns", &namespace];
        run(lab.switch(), "ip", &pair)?;
        run(lab.switch(), "ip", &["link", "set", &port, "master", "lan", "up"])?;
        run(host, "ip", &["address", "add", address, "dev", "lan"])?;
        run(host, "ip", &["link", "set", "lan", "up"])?;
    }
    Ok(lab)
}

fn configuration(priority: u8, lan: &str) -> String {
    format!(
        "[[instance]]\nname = \"WAN\"\ninterface = \"eth1\"\nvrid = 51\npriority = {priority}\n\
         advert_interval = \"100ms\"\nvirtual_addresses = [\"10.0.0.51\"]\n\
         [[instance]]\nname = \"LAN\"\n{lan}\nvrid = 52\npriority = {priority}\nadvert_interval = \"100ms\"\n\
         [[group]]\nname = \"gateway\"\nmembers = [\"WAN\", \"LAN\"]\n"
    )
}

const LAN: &str = "interface = \"lan\"\nvirtual_addresses = [\"172.16.0.51\"]";

fn start(lab: &Lab, station: Station, priority: u8, lan: &str) -> Result<Agent> {
    let mut agent = Agent::with_configuration(lab, station, vipd()?, configuration(priority, lan))?;
    agent.start()?;
    Ok(agent)
}

fn wait_for_states(agent: &Agent, wan: &str, lan: &str) -> Result<()> {
    try_wait_until(&format!("{:?} to be {wan} and {lan}", agent.station()), TIMEOUT, || {
        Ok(status(agent)?.iter().map(|one| one.text("state")).eq([wan, lan]))
    })
}

/// Returns the number of times each instance has become master.
fn transitions(agent: &Agent) -> Vec<u64> {
    let (_, each) = stats(agent).unwrap();
    each.iter().map(|one| one.number("master-transitions").unwrap()).collect()
}

/// Waits until a node has both VIPs and the other node has none.
fn wait_for_vips_on(lab: &Lab, master: Station) -> Result<()> {
    try_wait_until(&format!("{master:?} to have both VIPs"), TIMEOUT, || {
        let mut is_met = true;
        for station in [ONE, TWO] {
            for (vip, interface) in VIPS {
                let shown =
                    run(lab.host(station)?, "ip", &["-4", "-o", "address", "show", "dev", interface])?;
                is_met &= shown.contains(&format!("{vip}/")) == (station == master);
            }
        }
        Ok(is_met)
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn both_vips_move_away_and_back_when_one_segment_fails_and_recovers() {
    let lab = lab().unwrap();
    let one = start(&lab, ONE, 150, LAN).unwrap();
    wait_for_states(&one, "master", "master").unwrap();
    let two = start(&lab, TWO, 100, LAN).unwrap();
    wait_for_states(&two, "backup", "backup").unwrap();
    wait_for_vips_on(&lab, ONE).unwrap();
    set_cable(&lab, ONE, "down").unwrap();
    wait_for_vips_on(&lab, TWO).unwrap();
    wait_for_states(&one, "fault", "fault").unwrap();
    let wan = status(&one).unwrap().remove(0);
    assert_eq!(wan.text("vipd:group"), "gateway");
    assert_eq!(wan.text("vipd:group-state"), "fault");
    let reason = wan.text("vipd:fault-reason");
    assert!(
        reason.starts_with("LAN of the sync group gateway has a fault: interface lan is down"),
        "{reason}"
    );
    set_cable(&lab, ONE, "up").unwrap();
    wait_for_vips_on(&lab, ONE).unwrap();
    wait_for_states(&two, "backup", "backup").unwrap();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn drain_and_failover_of_one_member_move_the_group() {
    let lab = lab().unwrap();
    let one = start(&lab, ONE, 150, LAN).unwrap();
    wait_for_states(&one, "master", "master").unwrap();
    let two = start(&lab, TWO, 100, LAN).unwrap();
    wait_for_states(&two, "backup", "backup").unwrap();
    change(&one, &json!({ "command": "drain", "instances": ["LAN"] })).unwrap();
    wait_for_vips_on(&lab, TWO).unwrap();
    wait_for_states(&one, "fault", "fault").unwrap();
    change(&one, &json!({ "command": "undrain", "instances": ["LAN"] })).unwrap();
    wait_for_vips_on(&lab, ONE).unwrap();
    wait_for_states(&two, "backup", "backup").unwrap();
    change(&one, &json!({ "command": "failover", "instances": ["WAN"] })).unwrap();
    wait_for_vips_on(&lab, TWO).unwrap();
    wait_for_states(&one, "backup", "backup").unwrap();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn commands_accept_the_name_of_a_group() {
    let lab = lab().unwrap();
    let one = start(&lab, ONE, 150, LAN).unwrap();
    wait_for_states(&one, "master", "master").unwrap();
    let two = start(&lab, TWO, 100, LAN).unwrap();
    wait_for_states(&two, "backup", "backup").unwrap();
    let request = |command: &str| {
        change(&one, &json!({ "command": command, "instances": ["gateway"] }))
            .map_err(|error| format!("{error:#}"))
    };
    assert_eq!(request("drain").unwrap(), ["WAN: drained", "LAN: drained"]);
    wait_for_states(&one, "fault", "fault").unwrap();
    let refused = request("failover").unwrap_err();
    assert!(refused.contains("WAN is in state fault, not master"), "{refused}");
    assert_eq!(request("undrain").unwrap(), ["WAN: no longer drained", "LAN: no longer drained"]);
    wait_for_vips_on(&lab, ONE).unwrap();
    wait_for_states(&two, "backup", "backup").unwrap();
    assert_eq!(request("failover").unwrap(), ["WAN: mastership released", "LAN: mastership released"]);
    wait_for_vips_on(&lab, TWO).unwrap();
    let priority = json!({ "command": "priority", "instance": "gateway", "priority": 10 });
    let refused = format!("{:#}", change(&one, &priority).expect_err("a group has no priority"));
    assert!(refused.contains("gateway is a sync group, which has no priority"), "{refused}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn ipv4_and_ipv6_routers_are_a_group() {
    const IPV6: &str = "interface = \"eth1\"\nvirtual_addresses = [\"fe80::51\"]";
    let lab = Lab::new(2).unwrap();
    let one = start(&lab, ONE, 150, IPV6).unwrap();
    wait_for_states(&one, "master", "master").unwrap();
    let two = start(&lab, TWO, 100, IPV6).unwrap();
    wait_for_states(&two, "backup", "backup").unwrap();
    change(&one, &json!({ "command": "drain", "instances": ["WAN"] })).unwrap();
    wait_for_states(&two, "master", "master").unwrap();
    assert!(has_address(two.host(), "10.0.0.51".parse().unwrap()).unwrap());
    change(&one, &json!({ "command": "undrain", "instances": ["WAN"] })).unwrap();
    wait_for_states(&one, "master", "master").unwrap();
    wait_for_states(&two, "backup", "backup").unwrap();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn sync_groups_of_vipd_and_keepalived_take_over_from_each_other() {
    let instance = |name, interface, vrid, vip| {
        format!(
            "vrrp_instance {name} {{\n interface {interface}\n virtual_router_id {vrid}\n priority 100\n \
             state BACKUP\n version 3\n advert_int 0.1\n virtual_ipaddress {{\n {vip}/32 dev {interface}\n }}\n}}\n"
        )
    };
    let configuration = [
        "global_defs {\n vrrp_version 3\n}\n".to_owned(),
        "vrrp_sync_group gateway {\n group {\n WAN\n LAN\n }\n}\n".to_owned(),
        instance("WAN", "eth1", 51, "10.0.0.51"),
        instance("LAN", "lan", 52, "172.16.0.51"),
    ];
    let lab = lab().unwrap();
    let one = start(&lab, ONE, 150, LAN).unwrap();
    wait_for_states(&one, "master", "master").unwrap();
    let mut two =
        Agent::with_configuration(&lab, TWO, AgentKind::Keepalived, configuration.concat()).unwrap();
    two.start().unwrap();
    wait_for_vips_on(&lab, ONE).unwrap();
    set_cable(&lab, ONE, "down").unwrap();
    wait_for_vips_on(&lab, TWO).unwrap();
    set_cable(&lab, ONE, "up").unwrap();
    wait_for_vips_on(&lab, ONE).unwrap();
    change(&one, &json!({ "command": "drain", "instances": [] })).unwrap();
    wait_for_vips_on(&lab, TWO).unwrap();
    change(&one, &json!({ "command": "undrain", "instances": [] })).unwrap();
    wait_for_vips_on(&lab, ONE).unwrap();
    set_cable(&lab, TWO, "down").unwrap();
    wait_for_vips_on(&lab, ONE).unwrap();
    set_cable(&lab, TWO, "up").unwrap();
    two.stop().unwrap();
    wait_for_states(&one, "master", "master").unwrap();
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn reload_removes_and_adds_a_group_without_demoting_its_members() {
    let lab = lab().unwrap();
    let mut one = start(&lab, ONE, 150, LAN).unwrap();
    wait_for_states(&one, "master", "master").unwrap();
    let grouped = configuration(150, LAN);
    let alone = grouped.split("[[group]]").next().unwrap().to_owned();
    let before = transitions(&one);
    one.configure(alone).unwrap();
    assert_eq!(reload(&one).unwrap(), ["group gateway: removed"]);
    one.configure(grouped.clone()).unwrap();
    assert_eq!(reload(&one).unwrap(), ["group gateway: added with members WAN, LAN"]);
    wait_for_states(&one, "master", "master").unwrap();
    assert_eq!(transitions(&one), before);
    // A member that starts again becomes master with its group.
    one.configure(grouped.replace("vrid = 52", "vrid = 53")).unwrap();
    assert_eq!(reload(&one).unwrap(), ["LAN: vrid 52 → 53; started again"]);
    wait_for_states(&one, "master", "master").unwrap();
    assert_eq!(transitions(&one), [before[0], 1]);
}

/// Returns the configuration of a node with a third instance, DMZ, which is in the group if
/// `is_member` is true.
fn with_dmz(priority: u8, dmz_priority: u8, is_member: bool) -> String {
    let dmz = format!(
        "[[instance]]\nname = \"DMZ\"\ninterface = \"eth1\"\nvrid = 53\npriority = {dmz_priority}\n\
         advert_interval = \"100ms\"\nvirtual_addresses = [\"10.0.0.53\"]\n[[group]]"
    );
    let configuration = configuration(priority, LAN).replace("[[group]]", &dmz);
    // Late adverts on a busy machine must not cause a takeover.
    let configuration = configuration.replace("vrid", "down_after_adverts = 20\nvrid");
    if is_member { configuration.replace("\"LAN\"]", "\"LAN\", \"DMZ\"]") } else { configuration }
}

fn wait_for_dmz(agent: &Agent, others: &str, dmz: &str) -> Result<()> {
    try_wait_until(&format!("{:?} to be {others} and {dmz}", agent.station()), TIMEOUT, || {
        Ok(status(agent)?.iter().map(|one| one.text("state")).eq([others, others, dmz]))
    })
}

fn start_with_dmz(lab: &Lab, station: Station, priority: u8, dmz_priority: u8) -> Result<Agent> {
    let text = with_dmz(priority, dmz_priority, false);
    let mut agent = Agent::with_configuration(lab, station, vipd()?, text)?;
    agent.start()?;
    Ok(agent)
}

/// Adds DMZ to the group with a reload.
fn join(agent: &mut Agent, priority: u8, dmz_priority: u8) -> Result<()> {
    agent.configure(with_dmz(priority, dmz_priority, true))?;
    assert_eq!(reload(agent)?, ["group gateway: members WAN, LAN → WAN, LAN, DMZ"]);
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn backup_after_failover_becomes_master_with_the_group_it_joins() {
    let lab = lab().unwrap();
    let mut one = start_with_dmz(&lab, ONE, 150, 150).unwrap();
    wait_for_dmz(&one, "master", "master").unwrap();
    let mut two = start_with_dmz(&lab, TWO, 100, 100).unwrap();
    wait_for_dmz(&two, "backup", "backup").unwrap();
    change(&one, &json!({ "command": "failover", "instances": ["DMZ"] })).unwrap();
    wait_for_dmz(&two, "backup", "master").unwrap();
    wait_for_dmz(&one, "master", "backup").unwrap();
    join(&mut one, 150, 150).unwrap();
    wait_for_dmz(&one, "master", "master").unwrap();
    wait_for_dmz(&two, "backup", "backup").unwrap();
    join(&mut two, 100, 100).unwrap();
    assert_eq!((transitions(&one), transitions(&two)), (vec![1, 1, 2], vec![0, 0, 1]));
}

/// First reloads the node whose WAN and LAN are backups, so that its DMZ hands over mastership.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn master_that_joins_backups_yields_to_the_other_node() {
    let lab = lab().unwrap();
    let mut two = start_with_dmz(&lab, TWO, 100, 200).unwrap();
    wait_for_dmz(&two, "master", "master").unwrap();
    let mut one = start_with_dmz(&lab, ONE, 150, 150).unwrap();
    wait_for_dmz(&one, "master", "backup").unwrap();
    wait_for_dmz(&two, "backup", "master").unwrap();
    join(&mut two, 100, 200).unwrap();
    wait_for_dmz(&one, "master", "master").unwrap();
    wait_for_dmz(&two, "backup", "backup").unwrap();
    join(&mut one, 150, 150).unwrap();
    assert_eq!((transitions(&one), transitions(&two)), (vec![1; 3], vec![1; 3]));
    wait_for_dmz(&one, "master", "master").unwrap();
    // The group is removed from the master.
    one.configure(with_dmz(150, 150, true).split("[[group]]").next().unwrap().to_owned()).unwrap();
    assert_eq!(reload(&one).unwrap(), ["group gateway: removed"]);
    assert_eq!((transitions(&one), transitions(&two)), (vec![1; 3], vec![1; 3]));
}

/// The new member tracks an object that was not tracked before. If the object were not read first,
/// the member would start in Fault, and the group with it.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn new_member_with_a_new_check_does_not_demote_the_others() {
    let lab = lab().unwrap();
    let before = configuration(150, LAN).replace("vrid", "down_after_adverts = 20\nvrid");
    let mut one = Agent::with_configuration(&lab, ONE, vipd().unwrap(), before).unwrap();
    one.start().unwrap();
    wait_for_states(&one, "master", "master").unwrap();
    let check = "name = \"DMZ\"\ntrack = [{ interface = \"eth1\" }]\n";
    one.configure(with_dmz(150, 150, true).replace("name = \"DMZ\"\n", check)).unwrap();
    reload(&one).unwrap();
    wait_for_dmz(&one, "master", "master").unwrap();
    assert_eq!(transitions(&one), [1, 1, 1]);
}

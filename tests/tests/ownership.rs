//! A configured VIP belongs to its virtual router, even if another tool added or rewrote it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::command::run;
use vipd_tests::control::{counter, status, wait_for, wait_for_state};
use vipd_tests::lab::Lab;
use vipd_tests::routers::{start_pair, start_router};
use vipd_tests::station::{INTERFACE, PREFIX, Station, VIP};
use vipd_tests::wait::{try_wait_until, wait_until};

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(20);

/// Starts an agent with one instance that has an interval of 100 ms and these additional
/// configuration lines.
fn start_configured(lab: &Lab, station: Station, lines: &str) -> Result<Agent> {
    let configuration = format!(
        "[[instance]]\nname = \"VI_1\"\ninterface = \"{INTERFACE}\"\nvrid = 51\nadvert_interval = \"100ms\"\n{lines}\n"
    );
    let mut agent = Agent::with_configuration(lab, station, vipd()?, configuration)?;
    agent.start()?;
    Ok(agent)
}

fn ip(lab: &Lab, station: Station, arguments: &str) -> Result<String> {
    run(lab.host(station)?, "ip", &arguments.split_whitespace().collect::<Vec<_>>())
}

/// Returns the lines of `ip -o address` for an address, one per prefix length.
fn entries(lab: &Lab, station: Station, address: impl Into<IpAddr>) -> Result<Vec<String>> {
    let wanted = format!(" {}/", address.into());
    let all = ip(lab, station, "-o address show")?;
    Ok(all.lines().filter(|line| line.contains(&wanted)).map(str::to_owned).collect())
}

fn wait_until_removed(lab: &Lab, station: Station, address: impl Into<IpAddr>) -> Result<()> {
    let address = address.into();
    try_wait_until(&format!("{address} to be removed from {station}"), TIMEOUT, || {
        Ok(entries(lab, station, address)?.is_empty())
    })
}

/// Replaces an address, as network managers do. The kernel keeps the address but clears its
/// protocol mark.
fn rewrite(lab: &Lab, station: Station, address: Ipv4Addr) -> Result<()> {
    ip(lab, station, &format!("address replace {address}/{PREFIX} dev {INTERFACE}"))?;
    let found = entries(lab, station, address)?;
    ensure!(found.len() == 1 && !found[0].contains("proto 0x76"), "still marked: {found:?}");
    Ok(())
}

fn logged(agent: &Agent, text: &str) -> usize {
    agent.log().iter().filter(|line| line.text.contains(text)).count()
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_rewritten_by_another_tool_is_removed_on_yield() {
    let lab = Lab::new(2).unwrap();
    let one = start_router(&lab, ONE, 100).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    rewrite(&lab, ONE, VIP).unwrap();
    let two = start_router(&lab, TWO, 200).unwrap();
    wait_for_state(&two, "master", TIMEOUT).unwrap();
    wait_for_state(&one, "backup", TIMEOUT).unwrap();
    wait_until_removed(&lab, ONE, VIP).unwrap();
    assert_eq!(entries(&lab, TWO, VIP).unwrap().len(), 1);
    assert!(!entries(&lab, ONE, ONE.ipv4()).unwrap().is_empty(), "the host address is kept");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_rewritten_by_another_tool_is_removed_on_shutdown() {
    let lab = Lab::new(1).unwrap();
    let mut agent = start_router(&lab, ONE, 100).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    rewrite(&lab, ONE, VIP).unwrap();
    assert!(agent.stop().unwrap().success());
    assert_eq!(entries(&lab, ONE, VIP).unwrap(), Vec::<String>::new());
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_present_before_startup_is_removed_in_backup() {
    let lab = Lab::new(2).unwrap();
    let one = start_router(&lab, ONE, 200).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    for prefix in [PREFIX, 32] {
        ip(&lab, TWO, &format!("address add {VIP}/{prefix} dev {INTERFACE}")).unwrap();
    }
    let two = start_router(&lab, TWO, 100).unwrap();
    wait_until_removed(&lab, TWO, VIP).unwrap();
    wait_for_state(&two, "backup", TIMEOUT).unwrap();
    let removed = || logged(&two, "VIP present while not master; removed");
    wait_until("both removals to be logged", TIMEOUT, || removed() == 2).unwrap();
    assert!(!entries(&lab, TWO, TWO.ipv4()).unwrap().is_empty(), "the host address is kept");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_added_to_a_running_backup_is_removed() {
    let lab = Lab::new(2).unwrap();
    let (one, two) = start_pair(&lab).unwrap();
    for prefix in [PREFIX, 32, 16] {
        ip(&lab, TWO, &format!("address add {VIP}/{prefix} dev {INTERFACE}")).unwrap();
        wait_until_removed(&lab, TWO, VIP).unwrap();
    }
    assert_eq!(status(&two).unwrap()[0].text("state"), "backup");
    assert_eq!(counter(&one, "master-transitions").unwrap(), 1);
}

/// After a netlink overrun, vipd dumps the addresses, and the kernel may list another tool's
/// entry before vipd's own.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn all_prefixes_of_a_vip_are_removed_after_netlink_overrun() {
    let lab = Lab::new(2).unwrap();
    let one = start_router(&lab, ONE, 100).unwrap();
    wait_for_state(&one, "master", TIMEOUT).unwrap();
    ip(&lab, ONE, &format!("address add {VIP}/32 dev {INTERFACE}")).unwrap();
    assert_eq!(entries(&lab, ONE, VIP).unwrap().len(), 2, "a master keeps both entries");
    one.pause().unwrap();
    overrun_netlink(&lab, ONE).unwrap();
    one.resume().unwrap();
    try_wait_until("the overrun to be counted", TIMEOUT, || {
        Ok(vipd_tests::control::stats(&one)?.0.number("vipd:netlink-overruns")? >= 1)
    })
    .unwrap();
    let two = start_router(&lab, TWO, 200).unwrap();
    wait_for_state(&two, "master", TIMEOUT).unwrap();
    wait_until_removed(&lab, ONE, VIP).unwrap();
}

/// Overruns a node's netlink sockets with notifications about addresses.
fn overrun_netlink(lab: &Lab, station: Station) -> Result<()> {
    lab.host(station)?.run(|| {
        let noise = Ipv4Addr::new(10, 1, 2, 3);
        for _ in 0..50_000 {
            vipd_tests::links::add_address(INTERFACE, noise, 32)?;
            vipd_tests::links::remove_address(INTERFACE, noise, 32)?;
            let table = std::fs::read_to_string("/proc/thread-self/net/netlink")?;
            // Column 9 is `Drops`.
            let drops = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(8));
            if drops.filter_map(|drops| drops.parse::<u64>().ok()).any(|drops| drops > 0) {
                return Ok(());
            }
        }
        anyhow::bail!("100,000 changes did not overrun the agent's socket")
    })
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_equal_to_the_primary_address_is_a_fault_and_is_kept() {
    let lab = Lab::new(1).unwrap();
    let own = ONE.ipv4();
    let mut agent =
        start_configured(&lab, ONE, &format!("virtual_addresses = [\"{own}/{PREFIX}\"]")).unwrap();
    let report = wait_for_state(&agent, "fault", TIMEOUT).unwrap();
    let reason = report.text("vipd:fault-reason");
    assert!(reason.contains(&format!("{own} is the primary address of {INTERFACE}")), "{reason}");
    // Once the interface has another primary address, the fault clears and the VIP is handled like
    // any other.
    ip(&lab, ONE, &format!("address add 10.9.9.9/24 dev {INTERFACE}")).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    ip(&lab, ONE, &format!("address del 10.9.9.9/24 dev {INTERFACE}")).unwrap();
    wait_for_state(&agent, "fault", TIMEOUT).unwrap();
    assert!(agent.stop().unwrap().success());
}

/// When a primary address is removed, the kernel also removes the secondary addresses of its
/// subnet, unless `promote_secondaries` is set.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn vip_is_kept_if_its_removal_would_remove_the_host_address() {
    let lab = Lab::new(1).unwrap();
    let own = ONE.ipv4();
    for change in [
        format!("address del {own}/{PREFIX} dev {INTERFACE}"),
        format!("address add {VIP}/{PREFIX} dev {INTERFACE}"),
        format!("address add {own}/{PREFIX} dev {INTERFACE}"),
    ] {
        ip(&lab, ONE, &change).unwrap();
    }
    let mut agent = start_router(&lab, ONE, 100).unwrap();
    let report = wait_for_state(&agent, "fault", TIMEOUT).unwrap();
    let reason = report.text("vipd:fault-reason");
    assert!(reason.contains(&format!("{VIP} is the primary address of {INTERFACE}")), "{reason}");
    assert!(agent.stop().unwrap().success());
    assert!(!entries(&lab, ONE, own).unwrap().is_empty(), "the host address is kept");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn owner_address_is_kept_on_shutdown() {
    let lab = Lab::new(1).unwrap();
    let own = ONE.ipv4();
    let lines = format!("priority = 255\nvirtual_addresses = [\"{own}/{PREFIX}\"]");
    let mut agent = start_configured(&lab, ONE, &lines).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    rewrite(&lab, ONE, own).unwrap();
    assert!(agent.stop().unwrap().success());
    assert_eq!(entries(&lab, ONE, own).unwrap().len(), 1);
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn rejected_address_is_logged_once_and_retried() {
    let rejected = "fd00:122::77".parse::<IpAddr>().unwrap();
    let lab = Lab::new(1).unwrap();
    let disable_ipv6 = |off: u8| {
        run(lab.host(ONE)?, "sysctl", &["-qw", &format!("net.ipv6.conf.{INTERFACE}.disable_ipv6={off}")])
    };
    disable_ipv6(1).unwrap();
    let lines =
        format!("virtual_addresses = [\"{VIP}/{PREFIX}\"]\nvirtual_addresses_excluded = [\"{rejected}/64\"]");
    let agent = start_configured(&lab, ONE, &lines).unwrap();
    wait_for_state(&agent, "master", TIMEOUT).unwrap();
    let wait_for_missing = |count: usize| {
        wait_for(&agent, &format!("{count} missing addresses"), TIMEOUT, |status| {
            status.0["vipd:missing-addresses"].as_array().is_some_and(|list| list.len() == count)
        })
    };
    let report = wait_for_missing(1).unwrap();
    assert_eq!(report.0["vipd:missing-addresses"][0], format!("{rejected}/64"));
    try_wait_until("three attempts", TIMEOUT, || Ok(counter(&agent, "vipd:address-errors")? >= 3)).unwrap();
    assert_eq!(logged(&agent, "cannot add"), 1, "{:#?}", agent.log());
    assert_eq!(counter(&agent, "vipd:addresses-restored").unwrap(), 0);

    disable_ipv6(0).unwrap();
    wait_for_missing(0).unwrap();
    assert_eq!(entries(&lab, ONE, rejected).unwrap().len(), 1);
    assert_eq!(
        counter(&agent, "vipd:addresses-restored").unwrap(),
        0,
        "the first addition is not a restoration"
    );

    // Disabling IPv6 removes the address. Once IPv6 is enabled again, the address must be restored.
    disable_ipv6(1).and_then(|_| disable_ipv6(0)).unwrap();
    try_wait_until("the address to be restored", TIMEOUT, || {
        Ok(counter(&agent, "vipd:addresses-restored")? == 1 && entries(&lab, ONE, rejected)?.len() == 1)
    })
    .with_context(|| format!("{:#?}", agent.log()))
    .unwrap();
}

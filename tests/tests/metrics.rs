//! Metrics and health over HTTP, as a client sees them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use vipd_tests::TestResult;
use vipd_tests::agent::Agent;
use vipd_tests::binary::{vipd, vipd_binary};
use vipd_tests::control::{self, change, reload, stats, wait_for, wait_for_state};
use vipd_tests::http::{Answer, address, connect, exchange, get, request};
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::process::output;
use vipd_tests::station::Station;
use vipd_tests::wait::{try_wait_until, wait_until};

const ONE: Station = Station::Node(1);
const TIMEOUT: Duration = Duration::from_secs(30);
/// Maximum number of connections that the agent serves.
const MAX_CONNECTIONS: usize = 32;
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Returns the configuration of an agent with one instance. The agent serves metrics on `port` of
/// the loopback interface, or no metrics if `port` is `None`.
fn configuration(port: Option<u16>) -> String {
    let listen = port.map(|port| format!("listen = \"{}\"\nkeepalived_names = true\n", address(port)));
    format!(
        "[metrics]\n{}[[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\npriority = 200\n\
         advert_interval = \"10ms\"\nvirtual_addresses = [\"10.0.0.1\"]\n",
        listen.unwrap_or_default()
    )
}

fn start_master(lab: &Lab) -> Result<Agent> {
    let mut agent = Agent::with_configuration(lab, ONE, vipd()?, configuration(Some(9650)))?;
    agent.start()?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    Ok(agent)
}

/// Returns the samples, by name and labels.
fn samples(text: &str) -> Result<BTreeMap<&str, f64>> {
    let mut samples = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (sample, value) = line.rsplit_once(' ').with_context(|| format!("no value in {line:?}"))?;
        let value = value.parse().with_context(|| format!("no number in {line:?}"))?;
        ensure!(samples.insert(sample, value).is_none(), "{sample} is repeated");
    }
    Ok(samples)
}

/// Returns the name of the sample for a counter of `vipd stats --json`.
fn sample_of(prefix: &str, counter: &str, text: &str) -> String {
    let name = format!("{prefix}_{}", counter.trim_start_matches("vipd:").replace('-', "_"));
    if text.contains(&format!("# TYPE {name} gauge\n")) { name } else { name + "_total" }
}

fn assert_between(before: &Value, found: f64, after: &Value, name: &str) {
    let [before, after] = [before, after].map(|value| value.as_f64().expect("a counter"));
    assert!((before..=after).contains(&found), "{name}: {found} is not between {before} and {after}");
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn metrics_have_the_counters_of_vipd_stats() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start_master(&lab)?;
    let stream = connect(agent.host(), 9650)?;
    let (global_before, before) = stats(&agent)?;
    let answer = exchange(
        &stream,
        &format!("GET /metrics HTTP/1.1\r\nHost: vipd\r\nAccept: {OPEN_METRICS}, text/plain;q=0.5\r\n\r\n"),
    )?;
    let (global_after, after) = stats(&agent)?;
    assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, OPEN_METRICS));
    assert!(answer.body.ends_with("\n# EOF\n"), "{}", answer.body);
    let samples = samples(&answer.body)?;

    let labels = "{name=\"VI_1\",interface=\"eth1\",vrid=\"51\",family=\"ipv4\"}";
    for (name, value) in before[0].0.as_object().context("the instance counters are not an object")? {
        let sample = sample_of("vipd", name, &answer.body) + labels;
        let found =
            samples.get(sample.as_str()).with_context(|| format!("no {sample} in {}", answer.body))?;
        assert_between(value, *found, &after[0].0[name], &sample);
    }
    for (name, value) in global_before.0.as_object().context("the global counters are not an object")? {
        let sample = sample_of("vipd_global", name, &answer.body);
        let found =
            samples.get(sample.as_str()).with_context(|| format!("no {sample} in {}", answer.body))?;
        assert_between(value, *found, &global_after.0[name], &sample);
    }
    let labels = "name=\"VI_1\",interface=\"eth1\",vrid=\"51\",family=\"ipv4\"";
    let keepalived = "iname=\"VI_1\",intf=\"eth1\",vrid=\"51\"";
    for (sample, expected) in [
        (format!("vipd_state{{{labels},state=\"master\"}}"), 1.0),
        (format!("vipd_state{{{labels},state=\"backup\"}}"), 0.0),
        (format!("vipd_healthy{{{labels}}}"), 1.0),
        (format!("vipd_priority{{{labels}}}"), 200.0),
        (format!("vipd_advert_interval_seconds{{{labels}}}"), 0.01),
        (format!("vipd_fence{{{labels},level=\"full\"}}"), 1.0),
        ("vipd_takeover_seconds_count".to_owned(), 1.0),
        (format!("keepalived_vrrp_state{{{keepalived},ip_address=\"10.0.0.1\"}}"), 2.0),
        (format!("keepalived_become_master_total{{{keepalived}}}"), 1.0),
        (format!("keepalived_release_master_total{{{keepalived}}}"), 0.0),
    ] {
        assert_eq!(samples.get(sample.as_str()), Some(&expected), "{sample} in {}", answer.body);
    }
    try_wait_until("a guardian", TIMEOUT, || {
        Ok(get(agent.host(), 9650, "/metrics")?.body.contains("\nvipd_guardian_up 1\n"))
    })?;
    // All adverts, except one at the takeover, are sent when Adver_Timer fires.
    let sent = samples[format!("vipd_advertisement_sent_total{{{labels}}}").as_str()];
    let delayed = samples["vipd_advert_delay_seconds_count"];
    assert!((sent - delayed - 1.0).abs() < 0.5, "{delayed} delays of {sent} adverts");
    assert!(agent.stop()?.success());
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn only_get_and_head_of_known_paths_are_served() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start_master(&lab)?;
    let host = agent.host();
    let ask = |head: &str| request(host, 9650, &format!("{head}\r\nHost: vipd\r\n\r\n"));

    let plain = get(host, 9650, "/metrics")?;
    assert_eq!((plain.status, plain.headers["connection"].as_str()), (200, "close"));
    assert_eq!(plain.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(!plain.body.contains("# EOF") && !samples(&plain.body)?.is_empty(), "{}", plain.body);
    let head = ask("HEAD /healthz HTTP/1.1")?;
    assert_eq!((head.status, head.headers["content-length"].as_str(), head.body.as_str()), (200, "3", ""));
    for (line, expected) in [
        ("GET /metrics HTTP/1.0", 200),
        ("GET /nothing HTTP/1.1", 404),
        ("POST /metrics HTTP/1.1\r\nContent-Length: 0", 405),
        ("DELETE /healthz HTTP/1.1", 405),
        ("not a request", 400),
    ] {
        let text = format!("{line}\r\nHost: vipd\r\n\r\n");
        let mut stream = connect(host, 9650)?;
        stream.write_all(text.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        assert_eq!(answer.get(9..12), Some(expected.to_string().as_str()), "{line}: {answer}");
    }
    let refused = ask("PUT /metrics HTTP/1.1\r\nContent-Length: 0")?;
    assert_eq!((refused.status, refused.headers["allow"].as_str()), (405, "GET, HEAD"));

    let oversized = format!("GET /metrics HTTP/1.1\r\nX-Padding: {}", "x".repeat(9000));
    assert_eq!(ask(&oversized)?.status, 431);
    let many: String = (0..200).fold("GET /metrics HTTP/1.1".to_owned(), |text, _| text + "\r\nX: y");
    assert_eq!(ask(&many)?.status, 431);
    assert_eq!(get(host, 9650, "/healthz")?.body, "ok\n");
    assert!(agent.stop()?.success());
    Ok(())
}

/// Clients that send nothing occupy all connections. Another client waits until the server has
/// closed one of these connections.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn connections_are_limited_in_number_and_time() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start_master(&lab)?;
    let idle: Vec<_> = (0..MAX_CONNECTIONS).map(|_| connect(agent.host(), 9650)).collect::<Result<_>>()?;
    assert_eq!(get(agent.host(), 9650, "/healthz")?.status, 200);
    let closed = |mut stream: &TcpStream| -> Result<bool> {
        stream.set_nonblocking(true)?;
        match stream.read(&mut [0]) {
            Ok(0) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            other => bail!("{other:?}"),
        }
    };
    let first = &idle[0];
    assert!(closed(first)?, "the server has not closed the first of {MAX_CONNECTIONS} idle connections");
    try_wait_until("all connections to be closed", TIMEOUT, || {
        idle.iter().map(closed).try_fold(true, |all, closed| Ok(all & closed?))
    })?;
    assert!(agent.stop()?.success());
    Ok(())
}

/// Returns the names of the agent's threads.
fn threads(agent: &Agent) -> Result<Vec<String>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", agent.pid()?))?.flatten();
    Ok(tasks.filter_map(|task| fs::read_to_string(task.path().join("comm")).ok()).collect())
}

fn is_refused(host: &Namespace, port: u16) -> bool {
    let result = host.run(move || TcpStream::connect(address(port)));
    result.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn reload_moves_and_stops_the_listener() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start_master(&lab)?;
    assert_eq!(get(agent.host(), 9650, "/healthz")?.status, 200);
    agent.configure(configuration(Some(9651)))?;
    assert_eq!(reload(&agent)?, ["metrics: at 127.0.0.1:9651"]);
    assert_eq!(get(agent.host(), 9651, "/healthz")?.status, 200);
    wait_until("the former listener to be closed", TIMEOUT, || is_refused(agent.host(), 9650))?;

    let occupied = agent.host().run(|| TcpListener::bind(address(9652)))?;
    agent.configure(configuration(Some(9652)))?;
    assert_eq!(reload(&agent)?, ["metrics: at 127.0.0.1:9652"]);
    let expected =
        "cannot serve metrics at 127.0.0.1:9652: another program uses the port; stop it, or choose";
    let logged = |agent: &Agent| agent.log().iter().filter(|line| line.text.contains(expected)).count();
    wait_until("an error in the log", TIMEOUT, || logged(&agent) > 0)?;
    assert_eq!(control::state(&agent)?, "master");
    drop(occupied);
    assert_eq!(get(agent.host(), 9652, "/healthz")?.status, 200);
    assert_eq!(logged(&agent), 1, "{:#?}", agent.log());

    assert!(threads(&agent)?.contains(&"metrics\n".to_owned()), "{:?}", threads(&agent)?);
    agent.configure(configuration(None))?;
    assert_eq!(reload(&agent)?, ["metrics: off"]);
    wait_until("the listener to be closed", TIMEOUT, || is_refused(agent.host(), 9652))?;
    try_wait_until("the thread to end", TIMEOUT, || Ok(!threads(&agent)?.contains(&"metrics\n".to_owned())))?;
    agent.configure(configuration(Some(9650)))?;
    reload(&agent)?;
    assert_eq!(get(agent.host(), 9650, "/healthz")?.status, 200);
    assert!(agent.stop()?.success());
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn instance_with_a_fault_is_unhealthy_unless_it_is_drained() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start_master(&lab)?;
    let health = |agent: &Agent| {
        let Answer { status, body, .. } = get(agent.host(), 9650, "/healthz")?;
        anyhow::Ok((status, body))
    };
    let becomes = |agent: &Agent, expected: (u16, &str)| {
        let is_expected = |(status, body): (u16, String)| (status, body.as_str()) == expected;
        try_wait_until(&format!("{expected:?}"), TIMEOUT, || Ok(is_expected(health(agent)?)))
            .with_context(|| format!("{:?}", health(agent)))
    };
    becomes(&agent, (200, "ok\n"))?;
    change(&agent, &json!({ "command": "drain", "instances": ["VI_1"] }))?;
    wait_for_state(&agent, "fault", TIMEOUT)?;
    becomes(&agent, (200, "ok\n"))?;
    change(&agent, &json!({ "command": "undrain", "instances": ["VI_1"] }))?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    lab.cut(ONE)?;
    becomes(&agent, (503, "VI_1: fault: interface eth1 is down or has no carrier\n"))?;
    let metrics = get(agent.host(), 9650, "/metrics")?.body;
    let labels = "name=\"VI_1\",interface=\"eth1\",vrid=\"51\",family=\"ipv4\"";
    assert!(metrics.contains(&format!("\nvipd_healthy{{{labels}}} 0\n")), "{metrics}");
    lab.reconnect(ONE)?;
    becomes(&agent, (200, "ok\n"))?;
    assert!(agent.stop()?.success());
    Ok(())
}

/// The successor serves metrics at the same address, and continues all counters.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn successor_serves_metrics() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = Agent::with_configuration(&lab, ONE, vipd()?, configuration(Some(9650)))?;
    agent.run_below_init();
    agent.start()?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    let count = |agent: &Agent| {
        let text = get(agent.host(), 9650, "/metrics")?.body;
        samples(&text)?.get("vipd_takeover_seconds_count").copied().context("no takeovers")
    };
    assert!((count(&agent)? - 1.0).abs() < 0.5, "one takeover");
    let mut upgrade = Command::new(vipd_binary()?);
    upgrade.arg("--runtime-dir").arg(Agent::runtime_dir()).arg("upgrade");
    let outcome = output(agent.host(), upgrade)?;
    assert!(outcome.status.success(), "{outcome:?}: {:#?}", agent.log());
    wait_for(&agent, "the successor is master", TIMEOUT, |status| status.text("state") == "master")?;
    // Until the successor listens, a connection may be refused, or accepted and closed by the
    // predecessor.
    wait_until("an answer from the successor", TIMEOUT, || count(&agent).is_ok())?;
    assert!((count(&agent)? - 1.0).abs() < 0.5, "the takeover of the predecessor is counted");
    let log = agent.log();
    assert!(!log.iter().any(|line| line.text.contains("cannot serve metrics")), "{log:#?}");
    Ok(())
}

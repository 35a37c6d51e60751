//! Prometheus reads vipd's metrics, evaluates the alert rules, and answers the queries of the
//! dashboard.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vipd_tests::TestResult;
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::wait_for_state;
use vipd_tests::http::{address, get, request};
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::process::Process;
use vipd_tests::station::Station;
use vipd_tests::wait::try_wait_until;

const TIMEOUT: Duration = Duration::from_secs(60);
/// Port of the agent's HTTP server.
const AGENT: u16 = 9650;
/// Port of Prometheus.
const PROMETHEUS: u16 = 9090;

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Returns a command that runs promtool.
fn promtool<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Command {
    let mut command = Command::new("promtool");
    command.args(arguments);
    command
}

fn check(output: &Output) -> Result<()> {
    let text = [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).join("\n");
    ensure!(output.status.success(), "{}: {text}", output.status);
    Ok(())
}

#[test]
#[ignore = "needs promtool"]
fn alert_rules_are_valid_and_each_has_a_unit_test() -> TestResult {
    let (rules, tests) = (project("packaging/vipd.rules.yml"), project("tests/promtool/vipd.rules.test.yml"));
    let missing = "running promtool (`cargo xtask setup --tests`)";
    check(&promtool(["check", "rules"]).arg(&rules).output().context(missing)?)?;
    check(&promtool(["test", "rules"]).arg(&tests).output().context(missing)?)?;
    let names = |path: &Path, key: &str| -> Result<BTreeSet<String>> {
        let text = fs::read_to_string(path)?;
        let names = text
            .lines()
            .filter_map(|line| line.split_once(key)?.1.split([' ', '}']).next().map(str::to_owned));
        Ok(names.collect())
    };
    let alerts = names(&rules, "- alert: ")?;
    assert!(alerts.len() >= 8, "{alerts:?}");
    assert_eq!(names(&tests, "alertname: ")?, alerts);
    Ok(())
}

fn start(lab: &Lab) -> Result<Agent> {
    let text = format!(
        "[metrics]\nlisten = \"{}\"\nkeepalived_names = true\n[[file]]\nname = \"manual\"\npath = \"/dev/null\"\n\
         [[instance]]\nname = \"VI_1\"\ninterface = \"eth1\"\nvrid = 51\npriority = 200\nadvert_interval = \"100ms\"\n\
         virtual_addresses = [\"10.0.0.1\"]\ntrack = [{{ file = \"manual\", weight = 1 }}]\n",
        address(AGENT)
    );
    let mut agent = Agent::with_configuration(lab, Station::Node(1), vipd()?, text)?;
    agent.start()?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    Ok(agent)
}

#[test]
#[ignore = "needs promtool, CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn promtool_accepts_the_metrics() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start(&lab)?;
    let metrics = get(agent.host(), AGENT, "/metrics")?.body;
    let mut command = promtool(["check", "metrics"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checking = command.spawn().context("running promtool (`cargo xtask setup --tests`)")?;
    checking.stdin.take().context("no pipe to promtool")?.write_all(metrics.as_bytes())?;
    let output = checking.wait_with_output()?;
    check(&output)?;
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(agent.stop()?.success());
    Ok(())
}

/// A Prometheus that scrapes the agent on its host every second and evaluates the alert rules.
struct Prometheus {
    host: Namespace,
    process: Process,
    /// Contains the configuration and data of Prometheus. Deleted on drop.
    _directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(host: &Namespace) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let configuration = directory.path().join("prometheus.yml");
        let rules = project("packaging/vipd.rules.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: [\"{}\"]\nscrape_configs:\n\
             \x20 - {{ job_name: vipd, static_configs: [{{ targets: [\"{}\"] }}] }}\n",
            rules.display(),
            address(AGENT)
        );
        fs::write(&configuration, text)?;
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", configuration.display()));
        command.arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()));
        command.arg(format!("--web.listen-address={}", address(PROMETHEUS)));
        let process = Process::spawn(host, command)
            .context("starting prometheus (`cargo xtask setup --tests` installs it)")?;
        Ok(Self { host: host.clone(), process, _directory: directory })
    }

    fn ask(&self, target: &str) -> Result<Value> {
        let text = format!("GET {target} HTTP/1.0\r\nHost: prometheus\r\n\r\n");
        let answer = request(&self.host, PROMETHEUS, &text)?;
        ensure!(answer.status == 200, "{target}: {answer:?}: {:#?}", self.process.log());
        let answer: Value = serde_json::from_str(&answer.body)?;
        Ok(answer["data"].clone())
    }

    /// Returns the number of series in the result of a query.
    fn query(&self, expression: &str) -> Result<usize> {
        let encode = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        };
        let encoded: String = expression.bytes().map(encode).collect();
        let answer = self.ask(&format!("/api/v1/query?query={encoded}"))?;
        Ok(answer["result"].as_array().with_context(|| format!("{expression}: {answer}"))?.len())
    }
}

/// Returns the queries of the dashboard, with values for its variables.
fn queries() -> Result<Vec<String>> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(project("packaging/vipd.dashboard.json"))?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?.iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries = targets.map(|target| target["expr"].as_str().map(str::to_owned));
    let queries: Vec<String> = queries.collect::<Option<_>>().context("a target without a query")?;
    let value = |query: String| {
        let query = query.replace("$__rate_interval", "30s");
        ["$job", "$node", "$name"].into_iter().fold(query, |query, name| query.replace(name, ".+"))
    };
    Ok(queries.into_iter().map(value).collect())
}

#[test]
#[ignore = "needs prometheus, CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn prometheus_answers_the_queries_of_the_dashboard_and_evaluates_the_alert_rules() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start(&lab)?;
    let prometheus = Prometheus::start(agent.host())?;
    try_wait_until("rates", TIMEOUT, || {
        Ok(prometheus.query("rate(vipd_advert_delay_seconds_count[30s]) > 0").is_ok_and(|series| series == 1))
    })?;
    let queries = queries()?;
    assert!(queries.len() > 40, "{queries:?}");
    for query in queries {
        assert!(!query.contains('$'), "unknown variable in {query}");
        prometheus.query(&query)?;
        // Without its conditions and its default, a query has data even if there is no error.
        let conditions = [" > 0", " > 1", " == 0", " or vector(0)"];
        let all = conditions.into_iter().fold(query, |query, condition| query.replace(condition, ""));
        assert!(prometheus.query(&all)? > 0, "no data for {all}");
    }
    let mut rules = Value::Null;
    try_wait_until("evaluated rules", TIMEOUT, || {
        rules = prometheus.ask("/api/v1/rules")?["groups"][0]["rules"].clone();
        let all = rules.as_array().context("no rules")?;
        Ok(all.len() >= 8 && all.iter().all(|rule| rule["health"] == "ok"))
    })
    .with_context(|| format!("{rules:#}"))?;
    let firing = rules.as_array().into_iter().flatten().filter(|rule| rule["state"] == "firing");
    assert_eq!(firing.count(), 0, "{rules:#}");
    assert!(agent.stop()?.success());
    Ok(())
}

//! Tests of the metrics' text formats and of shared snapshots.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::BodyExt as _;
use hyper::{Method, Request, Response, StatusCode};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use super::cache::{Cache, MAX_AGE};
use super::exposition::Format;
use super::respond::{Answer, respond};
use super::*;
use crate::control::counters::{GLOBAL, INSTANCE};
use crate::control::model::{GlobalStatistics, InstanceStats, InstanceStatus, Statistics};

pub(super) fn status(name: &str, state: &str) -> InstanceStatus {
    let status = json!({
        "name": name, "interface": "eth1", "vrid": 51, "family": "ipv4", "version": 3, "state": state,
        "priority": 100, "effective-priority": 80, "last-adv-source": null, "master-down-interval": 3,
        "skew-time": 6093, "virtual-addresses": ["192.0.2.10/24", "192.0.2.11/32"], "accept-mode": true,
        "vipd:excluded-addresses": ["2001:db8::10/64"], "vipd:virtual-mac": null, "vipd:transport": "multicast",
        "vipd:authentication": "none", "vipd:checksum": "rfc9568", "vipd:peers": [],
        "vipd:advertise-interval-ns": 10_000_000, "vipd:active-advertise-interval-ns": 10_000_000,
        "vipd:master-down-interval-ns": 36_093_750, "vipd:preempt": true, "vipd:fence": "full",
        "vipd:xdp-mode": null, "vipd:primary-address": null, "vipd:fault-reason": null,
        "vipd:last-transition-reason": null, "vipd:last-transition-ms": null, "vipd:master-down-in-ns": null,
        "vipd:track": [
            { "kind": "script", "name": "web", "state": "down", "weight": -20, "detail": null, "since-ms": 1, "changes": 0 },
            { "kind": "script", "name": "web", "state": "down", "weight": null, "detail": null, "since-ms": 1, "changes": 0 },
            { "kind": "file", "name": "manual", "state": "-7", "weight": 1, "detail": null, "since-ms": 1, "changes": 0 },
            { "kind": "process", "name": "new", "state": "unknown", "weight": 1, "detail": null, "since-ms": 1, "changes": 0 }
        ],
    });
    serde_json::from_value(status).expect("a status")
}

pub(super) fn stats(name: &str, statistics: &Statistics) -> InstanceStats {
    InstanceStats {
        name: name.to_owned(),
        interface: "eth1".to_owned(),
        vrid: 51,
        family: "ipv4".to_owned(),
        statistics: *statistics,
    }
}

pub(super) fn scrape() -> Scrape {
    let mut delays = Delays::default();
    delays.advert.record(20_000);
    delays.advert.record(2_000_000_000);
    let statistics = Statistics {
        master_transitions: 3,
        advertisement_sent: 1200,
        missing_addresses: 1,
        ..Statistics::default()
    };
    Scrape {
        status: StatusReport {
            instances: vec![status("VI_1", "master"), status("a\"b\\c\nd", "fault")],
            guardian: Some(true),
        },
        stats: StatsReport {
            global: GlobalStatistics { engine_wakeups: 99, ..GlobalStatistics::default() },
            instances: vec![stats("VI_1", &statistics), stats("a\"b\\c\nd", &Statistics::default())],
        },
        delays,
        events: Vec::new(),
        host: "node1".to_owned(),
        time: "2026-11-28T09:26:53.589793238Z".to_owned(),
        problems: vec![Problem { instance: "a\"b\\c\nd".to_owned(), reason: "fault: no carrier".to_owned() }],
    }
}

#[track_caller]
fn assert_contains(text: &str, expected: &str) {
    assert!(text.contains(expected), "{expected}\nis missing in\n{text}");
}

#[test]
fn open_metrics_have_families_units_and_an_end() {
    let text = metrics::render(&scrape(), Format::OpenMetrics, false);
    assert!(text.ends_with("\n# EOF\n"), "{text}");
    for expected in [
        "# TYPE vipd_build info\n",
        concat!("\nvipd_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
        "# HELP vipd_advertisement_sent Adverts sent\n# TYPE vipd_advertisement_sent counter\n\
         vipd_advertisement_sent_total{name=\"VI_1\",interface=\"eth1\",vrid=\"51\",family=\"ipv4\"} 1200\n\
         vipd_advertisement_sent_total{name=\"a\\\"b\\\\c\\nd\",interface=\"eth1\",vrid=\"51\",family=\"ipv4\"} 0\n",
        "# TYPE vipd_advert_interval_seconds gauge\n# UNIT vipd_advert_interval_seconds seconds\n\
         vipd_advert_interval_seconds{name=\"VI_1\",interface=\"eth1\",vrid=\"51\",family=\"ipv4\"} 0.010000000\n",
        "# TYPE vipd_missing_addresses gauge\n",
        "# TYPE vipd_advert_delay_seconds histogram\n# UNIT vipd_advert_delay_seconds seconds\n\
         vipd_advert_delay_seconds_bucket{le=\"1e-05\"} 0\n\
         vipd_advert_delay_seconds_bucket{le=\"2.5e-05\"} 1\n",
        "vipd_advert_delay_seconds_bucket{le=\"1.0\"} 1\n\
         vipd_advert_delay_seconds_bucket{le=\"+Inf\"} 2\n\
         vipd_advert_delay_seconds_count 2\n\
         vipd_advert_delay_seconds_sum 2.000020000\n",
    ] {
        assert_contains(&text, expected);
    }
    assert!(!text.contains("keepalived"), "{text}");
}

#[test]
fn prometheus_text_has_sample_names_in_its_metadata() {
    let text = metrics::render(&scrape(), Format::Prometheus, false);
    for expected in [
        "# TYPE vipd_build_info gauge\n",
        "# HELP vipd_advertisement_sent_total Adverts sent\n# TYPE vipd_advertisement_sent_total counter\n",
        "# TYPE vipd_takeover_seconds histogram\nvipd_takeover_seconds_bucket{le=\"1e-05\"} 0\n",
    ] {
        assert_contains(&text, expected);
    }
    assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
}

#[test]
fn states_and_tracked_objects_are_exported() {
    let text = metrics::render(&scrape(), Format::OpenMetrics, false);
    let labels = "name=\"VI_1\",interface=\"eth1\",vrid=\"51\",family=\"ipv4\"";
    let other = "name=\"a\\\"b\\\\c\\nd\",interface=\"eth1\",vrid=\"51\",family=\"ipv4\"";
    for expected in [
        format!(
            "\nvipd_state{{{labels},state=\"initialize\"}} 0\nvipd_state{{{labels},state=\"backup\"}} 0\n\
             vipd_state{{{labels},state=\"master\"}} 1\nvipd_state{{{labels},state=\"fault\"}} 0\n"
        ),
        format!("\nvipd_healthy{{{labels}}} 1\nvipd_healthy{{{other}}} 0\n"),
        format!("\nvipd_priority{{{labels}}} 100\n"),
        format!("\nvipd_effective_priority{{{labels}}} 80\n"),
        format!("\nvipd_fence{{{labels},level=\"ingress\"}} 0\nvipd_fence{{{labels},level=\"full\"}} 1\n"),
        format!(
            "\nvipd_tracked_object{{{labels},kind=\"script\",object=\"web\"}} 0\n\
             vipd_tracked_object{{{labels},kind=\"file\",object=\"manual\"}} -7\n"
        ),
        "\nvipd_guardian_up 1\n".to_owned(),
    ] {
        assert_contains(&text, &expected);
    }
    assert!(!text.contains("object=\"new\"") && !text.contains("\nvipd_xdp_mode{"), "{text}");
}

#[test]
fn keepalived_names_have_the_labels_of_the_exporter() {
    let text = metrics::render(&scrape(), Format::Prometheus, true);
    let labels = "iname=\"VI_1\",intf=\"eth1\",vrid=\"51\"";
    for expected in [
        "\nkeepalived_up 1\n".to_owned(),
        format!("\nkeepalived_advertisements_sent_total{{{labels}}} 1200\n"),
        format!("\nkeepalived_become_master_total{{{labels}}} 3\n"),
        format!("\nkeepalived_release_master_total{{{labels}}} 2\n"),
        format!(
            "\nkeepalived_vrrp_state{{{labels},ip_address=\"192.0.2.10\"}} 2\n\
             keepalived_vrrp_state{{{labels},ip_address=\"192.0.2.11\"}} 2\n"
        ),
        format!("\nkeepalived_vrrp_excluded_state{{{labels},ip_address=\"2001:db8::10\"}} 2\n"),
        "\nkeepalived_script_status{name=\"web\"} 0\n".to_owned(),
    ] {
        assert_contains(&text, &expected);
    }
}

/// The formats require that a metric's metadata appear once, directly before its samples, and that
/// no two samples have the same name and labels.
#[test]
fn metrics_are_not_repeated() {
    for (format, keepalived) in [Format::Prometheus, Format::OpenMetrics].map(|format| (format, true)) {
        let text = metrics::render(&scrape(), format, keepalived);
        let (mut families, mut samples) = (BTreeSet::new(), BTreeSet::new());
        let mut family = "";
        for line in text.lines().filter(|line| *line != "# EOF") {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                family = rest.split(' ').next().expect("a name");
                assert!(families.insert(family), "{family} is repeated");
            } else if let Some(rest) = line.strip_prefix("# ") {
                assert_eq!(rest.split(' ').nth(1), Some(family), "{line}");
            } else {
                let (sample, value) = line.rsplit_once(' ').expect("a value");
                assert!(sample.starts_with(family), "{line} follows {family}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(samples.insert(sample), "{sample} is repeated");
            }
        }
        assert!(families.len() > 80, "{}", families.len());
    }
}

/// Returns the tables of `docs/metrics.md`.
fn markdown() -> String {
    let counters: BTreeSet<String> = [(GLOBAL, "vipd_global"), (INSTANCE, "vipd")]
        .into_iter()
        .flat_map(|(table, prefix)| table.iter().map(move |counter| counter.metric(prefix)))
        .collect();
    let text = metrics::render(&scrape(), Format::Prometheus, true);
    let metadata = text.lines().filter_map(|line| line.strip_prefix("# ")?.split_once(' '));
    let metadata: Vec<_> =
        metadata.filter_map(|(keyword, rest)| Some((keyword, rest.split_once(' ')?))).collect();
    let is_keepalived = |name: &str| name.starts_with("keepalived_");
    let mut out = String::new();
    for (title, wanted) in [("Metrics of vipd", false), ("Names of keepalived-exporter", true)] {
        let _ = write!(out, "## {title}\n\n| metric | type | meaning |\n| --- | --- | --- |\n");
        for pair in metadata.chunks(2) {
            let [("HELP", (name, help)), ("TYPE", (_, kind))] = *pair else { panic!("{pair:?}") };
            if is_keepalived(name) == wanted && !counters.contains(name) {
                let _ = writeln!(out, "| `{name}` | {kind} | {help} |");
            }
        }
        out.push('\n');
    }
    out
}

#[test]
fn the_reference_is_current() {
    crate::generated::check("docs/metrics.md", &markdown());
}

/// A source that counts the snapshots taken. Without a scrape, every snapshot fails.
pub(super) struct Counting {
    taken: AtomicUsize,
    scrape: Option<Scrape>,
}

impl Source for Counting {
    async fn scrape(&self) -> Result<Scrape, String> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        // Lets other requests arrive before the snapshot is complete.
        tokio::task::yield_now().await;
        self.scrape.clone().ok_or_else(|| "the agent is stopping".to_owned())
    }
}

pub(super) fn cache(scrape: Option<Scrape>) -> (Arc<Counting>, Cache<Counting>) {
    let source = Arc::new(Counting { taken: AtomicUsize::new(0), scrape });
    (Arc::clone(&source), Cache::new(source, false))
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(future)
}

#[test]
fn requests_share_a_snapshot_until_it_is_too_old() {
    for scrape in [Some(scrape()), None] {
        let (source, cache) = cache(scrape);
        block_on(async {
            let (one, other) = tokio::join!(cache.page(), cache.page());
            assert_eq!((one.err(), source.taken.load(Ordering::Relaxed)), (other.err(), 1));
            sleep(MAX_AGE).await;
            let _ = cache.page().await;
            assert_eq!(source.taken.load(Ordering::Relaxed), 2);
        });
    }
}

#[test]
fn disconnected_clients_snapshot_is_shared() {
    let (source, cache) = cache(Some(scrape()));
    block_on(async {
        for _ in 0..10 {
            // Polled once, then dropped.
            tokio::select! {
                biased;
                _ = cache.page() => {}
                () = std::future::ready(()) => {}
            }
        }
        assert!(cache.page().await.is_ok());
        assert_eq!(source.taken.load(Ordering::Relaxed), 1);
    });
}

/// Returns the answer to a request, without the events of a stream.
async fn answer(cache: &Cache<impl Source>, request: &Request<()>) -> Response<()> {
    match respond(cache, &Arc::new(Semaphore::new(1)), request).await {
        Answer::Complete(response) => response.map(drop),
        Answer::Stream(head, _) => head,
    }
}

/// An engine that does not answer.
struct Hung;

impl Source for Hung {
    async fn scrape(&self) -> Result<Scrape, String> {
        std::future::pending().await
    }
}

#[test]
fn engine_that_does_not_answer_is_unhealthy() {
    let answer = block_on(async {
        let cache = Cache::new(Arc::new(Hung), false);
        answer(&cache, &Request::get("/healthz").body(()).expect("a request")).await
    });
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn status_code_depends_on_path_method_and_health() {
    let mut healthy = scrape();
    healthy.problems.clear();
    for (scrape, method, target, expected) in [
        (Some(scrape()), Method::GET, "/metrics", 200),
        (Some(scrape()), Method::HEAD, "/metrics?x=1", 200),
        (Some(scrape()), Method::GET, "/healthz", 503),
        (Some(healthy), Method::GET, "/healthz", 200),
        (Some(scrape()), Method::POST, "/metrics", 405),
        (Some(scrape()), Method::DELETE, "/healthz", 405),
        (Some(scrape()), Method::GET, "/metrics/", 404),
        (Some(scrape()), Method::GET, "/", 200),
        (Some(scrape()), Method::POST, "/", 405),
        (Some(scrape()), Method::GET, "/index.html", 404),
        (None, Method::GET, "/style.css", 200),
        (None, Method::PUT, "/page.js", 405),
        (None, Method::HEAD, "/icon.svg", 200),
        (Some(scrape()), Method::GET, "/events", 200),
        (Some(scrape()), Method::HEAD, "/events", 200),
        (Some(scrape()), Method::POST, "/events", 405),
        (None, Method::GET, "/", 503),
        (None, Method::GET, "/metrics", 503),
        (None, Method::GET, "/healthz", 503),
    ] {
        let (_, cache) = cache(scrape);
        let request = Request::builder().method(&method).uri(target).body(()).expect("a request");
        let answer = block_on(answer(&cache, &request));
        assert_eq!(answer.status().as_u16(), expected, "{method} {target}");
        let allow = answer.headers().get("allow").map(|value| value.to_str().expect("text"));
        assert_eq!(allow, (expected == 405).then_some("GET, HEAD"));
    }
}

#[test]
fn page_reloads_itself_while_the_engine_does_not_answer() {
    let (_, cache) = cache(None);
    let request = Request::get("/").body(()).expect("a request");
    let Answer::Complete(answer) = block_on(respond(&cache, &Arc::new(Semaphore::new(1)), &request)) else {
        panic!("a stream")
    };
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["content-type"], page::HTML);
    let body = block_on(answer.into_body().collect()).expect("a body").to_bytes();
    let text = std::str::from_utf8(&body).expect("UTF-8");
    for expected in ["<p>the agent is stopping; ", "<meta http-equiv=\"refresh\""] {
        assert_contains(text, expected);
    }
}

#[test]
fn streams_are_limited_in_number() {
    let (_, cache) = cache(Some(scrape()));
    let streams = Arc::new(Semaphore::new(1));
    let request = Request::get("/events").body(()).expect("a request");
    block_on(async {
        let first = respond(&cache, &streams, &request).await;
        assert!(matches!(first, Answer::Stream(..)));
        match respond(&cache, &streams, &request).await {
            Answer::Complete(refusal) => {
                assert_eq!(refusal.status(), StatusCode::OK);
                assert_eq!(refusal.headers()["content-type"], "text/event-stream");
                let body = refusal.into_body().collect().await.expect("a body").to_bytes();
                assert!(body.starts_with(b"event: problem\ndata: 16 other clients"), "{body:?}");
            }
            Answer::Stream(..) => panic!("a second stream"),
        }
        drop(first);
        assert!(matches!(respond(&cache, &streams, &request).await, Answer::Stream(..)));
    });
}

//! Tests of the page's text. `tests/tests/browser.rs` tests the page in a browser.

use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::control::event::EventRecord;
use crate::control::model::{GlobalStatistics, State, Statistics};
use crate::web::Problem;
use crate::web::tests::{scrape, stats, status};

/// Elements that the document may contain.
const TAGS: [&str; 33] = [
    "a", "article", "b", "body", "code", "dd", "details", "div", "dl", "dt", "footer", "h1", "h2", "h3",
    "head", "header", "html", "li", "link", "main", "meta", "noscript", "ol", "p", "script", "section",
    "small", "span", "summary", "time", "title", "ul", "!doctype",
];
/// Elements without an end tag.
const VOID: [&str; 3] = ["!doctype", "link", "meta"];

/// Returns the names of all tags, and checks that each element is known and closed in order.
#[track_caller]
fn check_elements(document: &str) -> Vec<&str> {
    let (mut open, mut found) = (Vec::new(), Vec::new());
    for tag in document.split('<').skip(1) {
        let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("{tag:?} is not closed"));
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "in {document}");
        } else {
            let name = tag.split(' ').next().expect("a name");
            assert!(TAGS.contains(&name), "unknown element {name:?} in {document}");
            found.push(name);
            if !VOID.contains(&name) {
                open.push(name);
            }
        }
    }
    assert_eq!(open, [""; 0], "in {document}");
    found
}

#[track_caller]
fn assert_contains(text: &str, expected: &str) {
    assert!(text.contains(expected), "{expected}\nis missing in\n{text}");
}

/// Returns the rendering of one instance.
fn rendered(status: &crate::control::model::InstanceStatus, problems: &[Problem]) -> String {
    let (html, values) = instance::render("instance-0", status, &Statistics::default(), problems);
    values.fill(&html)
}

#[test]
fn hostile_text_is_escaped_everywhere() {
    let hostile = "'\"><script>alert(1)</script><img/src=x/onerror=alert(1)>&";
    let text = || hostile.to_owned();
    let mut scrape = scrape();
    scrape.host = text();
    scrape.status.instances.truncate(1);
    scrape.stats.instances = vec![stats(hostile, &Statistics { send_errors: 1, ..Statistics::default() })];
    let one = &mut scrape.status.instances[0];
    one.name = text();
    one.interface = text();
    one.last_transition_reason = Some(text());
    one.fault_reason = Some(text());
    one.initialize_reason = Some(text());
    one.group = Some(text());
    one.virtual_addresses = vec![text(); 6];
    one.excluded_addresses = vec![text()];
    one.missing_addresses = vec![text()];
    one.routes = vec![text()];
    (one.fence, one.xdp_mode, one.virtual_mac) = (Some(text()), Some(text()), Some(text()));
    one.track.iter_mut().for_each(|object| object.name = text());
    scrape.problems = vec![Problem { instance: text(), reason: text() }];
    scrape.events = vec![Arc::new(EventRecord {
        time: text(),
        group: Some(text()),
        from: Some(text()),
        to: Some(text()),
        reason: Some(text()),
        ..EventRecord::default()
    })];
    for state in [State::Master, State::Backup, State::Fault, State::Initialize] {
        scrape.status.instances[0].state = state;
        let document = Frame::new(&scrape).document();
        let scripts = check_elements(&document).into_iter().filter(|name| *name == "script").count();
        assert_eq!(scripts, 1, "{document}");
        assert_contains(&document, "&#39;&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img");
    }
}

#[test]
fn page_has_no_inline_script_or_style_and_no_external_resource() {
    let document = Frame::new(&scrape()).document();
    check_elements(&document);
    assert_contains(&document, "<script src=\"page.js\" defer></script>");
    let texts = ASSETS.map(|(_, asset)| asset.text.replace("http://www.w3.org/2000/svg", ""));
    for text in texts.iter().chain([&document]) {
        for forbidden in ["style=", "onclick", "http:", "https:", "url(", "@import", "eval("] {
            assert!(!text.contains(forbidden), "{forbidden} in {text}");
        }
    }
    for (path, asset) in ASSETS {
        assert_eq!(super::asset(path).map(|asset| asset.media_type), Some(asset.media_type));
    }
}

#[test]
fn ids_are_unique_and_problems_are_linked_to_their_instance() {
    let document = Frame::new(&scrape()).document();
    assert_contains(&document, "<li><a href=\"#instance-1\">a&quot;b\\c\nd</a> fault: no carrier</li>");
    let mut ids: Vec<_> = document.split(" id=\"").skip(1).map(|rest| rest.split('"').next()).collect();
    let number = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), number), (6, 6), "{ids:?}");
}

#[test]
fn update_has_the_elements_that_changed() {
    let mut scrape = scrape();
    let former = Frame::new(&scrape);
    let ids = |update: &str| -> Vec<String> {
        let json: serde_json::Value = serde_json::from_str(update).expect("JSON");
        let elements = json["elements"].as_array().expect("elements");
        elements.iter().map(|element| element["id"].as_str().expect("an id").to_owned()).collect()
    };
    let all = ["summary", "instance-0", "instance-1", "timeline", "errors"];
    assert_eq!(ids(&former.update(None)), all);
    assert_eq!(ids(&former.update(Some(&former))), [""; 0]);
    scrape.status.instances[1].state = State::Backup;
    let changed = Frame::new(&scrape);
    assert_eq!(ids(&changed.update(Some(&former))), ["summary", "instance-1"]);
    // After a reload that adds, removes or renames instances, the layout differs, and the browser
    // reloads the document.
    scrape.status.instances[1].name = "new".to_owned();
    let other = Frame::new(&scrape);
    assert_ne!(other.layout, changed.layout);
    assert_eq!(ids(&other.update(Some(&changed))), all);
}

/// Ages, countdowns and counters change with each snapshot, but the HTML around them does not.
#[test]
fn update_of_an_idle_agent_consists_of_values() {
    let mut scrape = scrape();
    let peer = json!({
        "address": "192.0.2.1", "priority": 200, "checksum": "rfc9568", "last-heard-ms": 3, "key-id": 7,
        "clock-offset-ms": -1,
    });
    scrape.problems.clear();
    scrape.status.instances = (0..MAX_INSTANCES)
        .map(|number| {
            let mut one = status(&format!("VI_{number}"), "backup");
            one.peers = vec![serde_json::from_value(peer.clone()).expect("a peer")];
            one.last_adv_source = Some(one.peers[0].address);
            (one.last_transition_ms, one.master_down_in_ns) = (Some(1000), Some(33_000_000));
            one
        })
        .collect();
    let counters = (0..MAX_INSTANCES).map(|_| stats("VI", &Statistics::default()));
    scrape.stats.instances = counters.collect();
    let former = Frame::new(&scrape);
    assert_contains(&former.document(), "<dd>last <span data-value=\"0\">3ms</span> ago</dd>");
    assert_contains(
        &former.document(),
        "192.0.2.1, priority 200, checksum rfc9568, key 7, clock <span data-value=\"4\">1 ms behind</span>, last",
    );
    for one in &mut scrape.status.instances {
        (one.peers[0].last_heard_ms, one.peers[0].clock_offset_ms) = (7, Some(2));
        (one.last_transition_ms, one.master_down_in_ns) = (Some(2000), Some(29_000_000));
    }
    for one in &mut scrape.stats.instances {
        one.statistics.advertisement_rcvd += 100;
    }
    let update = Frame::new(&scrape).update(Some(&former));
    let json: serde_json::Value = serde_json::from_str(&update).expect("JSON");
    assert_eq!(json["elements"], json!([]));
    assert_eq!(
        json["values"]["instance-0"],
        json!({ "0": "7ms", "2": "2.0s", "3": "29ms", "4": "2 ms ahead", "5": "100" })
    );
    assert!(update.len() < 80 * MAX_INSTANCES, "{} bytes", update.len());
}

/// During a flood of invalid adverts, an update consists of values, here the numbers of errors and
/// of transitions, without HTML.
#[test]
fn update_during_a_flood_consists_of_values() {
    let mut scrape = scrape();
    scrape.stats.instances[0].statistics.checksum_errors = 7;
    let former = Frame::new(&scrape);
    let statistics = &mut scrape.stats.instances[0].statistics;
    statistics.checksum_errors += 1000;
    statistics.master_transitions += 1;
    let frame = Frame::new(&scrape);
    assert_contains(&frame.document(), "<li><b><span data-value=\"0\">1007</span></b>");
    let json: serde_json::Value = serde_json::from_str(&frame.update(Some(&former))).expect("JSON");
    assert_eq!(json["elements"], json!([]));
    assert_eq!(json["values"]["errors"], json!({ "0": "1007" }));
    let changed = json["values"]["instance-0"].as_object().expect("values");
    assert!(changed.values().eq([&json!("4")]), "{changed:?}");
}

#[test]
fn priority_and_checks_are_explained() {
    let text = rendered(&status("VI_1", "backup"), &[]);
    for expected in [
        "<dt>Priority</dt><dd>80</dd><dd class=\"below\">of 100: script web down (-20), file manual -7 (+1), process new unknown (+1)</dd>",
        "<li class=\"weighs\">script web <b>down</b> <small>-20</small></li>",
        "<li class=\"down\">script web <b>down</b> <small>fault while down</small></li>",
        "<li class=\"unknown\">process new <b>unknown</b> <small>+1</small></li>",
        "<dt>Master</dt><dd>none yet</dd>",
        "<dt>Fence</dt><dd>full</dd>",
        "<dd class=\"vip\">192.0.2.10/24</dd><dd class=\"vip\">192.0.2.11/32</dd>",
    ] {
        assert_contains(&text, expected);
    }
}

#[test]
fn rows_of_an_instance_are_limited() {
    let mut one = status("VI_1", "master");
    one.virtual_addresses = (0..255).map(|number| format!("192.0.2.{number}/24")).collect();
    one.excluded_addresses.clear();
    one.routes = one.virtual_addresses.clone();
    one.track = vec![one.track[0].clone(); 100];
    let text = rendered(&one, &[]);
    assert_eq!(text.matches("<dt>VIP</dt>").count(), 65, "{text}");
    for expected in [
        "<dt>VIP</dt><dd>191 more: vipd status NAME</dd>",
        "<dt>While master</dt><dd>191 more: vipd status NAME</dd>",
        "<li class=\"unknown\">36 more</li></ul>",
    ] {
        assert_contains(&text, expected);
    }
}

#[test]
fn problem_is_shown_with_its_instance() {
    let mut one = status("VI_1", "master");
    one.missing_addresses = vec!["192.0.2.11/32".to_owned()];
    let problem = Problem { instance: "VI_1".to_owned(), reason: "VIPs are missing".to_owned() };
    let text = rendered(&one, std::slice::from_ref(&problem));
    assert_contains(&text, "<p class=\"note bad\">VIPs are missing</p>");
    assert_contains(&text, "<dd class=\"missing\">192.0.2.11/32</dd>");
    let other = rendered(&status("VI_2", "master"), &[problem]);
    assert!(!other.contains("note bad"), "{other}");
    // A drained instance has a fault that is expected.
    let drained = crate::control::model::InstanceStatus {
        fault_reason: Some("drained".to_owned()),
        ..status("VI_1", "fault")
    };
    assert_contains(&rendered(&drained, &[]), "<p class=\"note\">drained</p>");
}

#[test]
fn instances_beyond_the_limit_are_counted_and_their_problems_shown() {
    let mut scrape = scrape();
    let instances = (0..MAX_INSTANCES + 2).map(|number| status(&format!("VI_{number}"), "master"));
    scrape.status.instances = instances.collect();
    let statistics = (0..MAX_INSTANCES + 2).map(|_| stats("VI", &Statistics::default()));
    scrape.stats.instances = statistics.collect();
    let hidden = format!("VI_{}", MAX_INSTANCES + 1);
    scrape.problems = vec![Problem { instance: hidden.clone(), reason: "fault: no carrier".to_owned() }];
    let document = Frame::new(&scrape).document();
    let articles = check_elements(&document).into_iter().filter(|name| *name == "article").count();
    assert_eq!(articles, MAX_INSTANCES);
    assert_contains(&document, "2 instances are not on this page");
    assert_contains(&document, &format!("<li><b>{hidden}</b> fault: no carrier</li>"));
    assert_contains(&document, &format!("<b>{}</b> master", MAX_INSTANCES + 2));
}

#[test]
fn errors_are_sorted_and_counted_once() {
    let mut report = scrape().stats;
    report.global = GlobalStatistics { checksum_errors: 7, netlink_overruns: 2, ..Default::default() };
    let statistics = Statistics { checksum_errors: 7, missing_addresses: 1, ..Default::default() };
    report.instances = vec![stats("VI_1", &statistics)];
    let (html, values) = errors::render(&report);
    let text = values.fill(&html);
    let of = |name: &str| text.find(name).unwrap_or_else(|| panic!("no {name} in {text}"));
    assert!(of("VI_1 · checksum-errors") < of("agent · netlink-overruns"), "{text}");
    assert!(of("agent · netlink-overruns") < of("VI_1 · missing-addresses"), "{text}");
    assert!(!text.contains("agent · checksum-errors"), "{text}");
    assert_eq!(text.matches("<li>").count(), 3, "{text}");
}

#[test]
fn timeline_has_days_and_names_of_states() {
    let event = |time: &str, from: &str, to: &str| {
        Arc::new(EventRecord {
            time: time.to_owned(),
            instance: "VI_1".to_owned(),
            event: "state-changed".to_owned(),
            from: Some(from.to_owned()),
            to: Some(to.to_owned()),
            reason: Some("master-timeout".to_owned()),
            late_ns: Some(148_000),
            ..EventRecord::default()
        })
    };
    let text = timeline::render(&[
        event("2026-11-28T00:00:01.500000000Z", "backup", "master"),
        event("2026-11-27T23:59:59.000000000Z", "initialize", "backup"),
    ]);
    for expected in [
        "<li class=\"day\">2026-11-28</li><li><time datetime=\"2026-11-28T00:00:01.500000000Z\">00:00:01.500</time>\
         <p><b>VI_1</b> <span class=\"backup\">backup</span> → <span class=\"master\">master</span></p>\
         <p class=\"below\">master-timeout · 148 µs late</p></li>",
        "<li class=\"day\">2026-11-27</li>",
    ] {
        assert_contains(&text, expected);
    }
}

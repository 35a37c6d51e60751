//! The status page in headless Chromium.
//!
//! `UPDATE=1` rewrites the screenshots in `docs/images`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use vipd_tests::TestResult;
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::browser::{Browser, Scheme};
use vipd_tests::control::{change, counter, reload, status, wait_for_state};
use vipd_tests::http::{address, connect, get};
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);
const PORT: u16 = 9650;
const URL: &str = "http://127.0.0.1:9650/";
/// A valid instance name that would run a script if the page did not escape it.
const HOSTILE: &str = "<img/src=x/onerror=alert(1)>";
const IS_LIVE: &str = "document.querySelector('#live.connected').textContent === 'live'";

/// Minimum contrast of WCAG 2 level AA.
const MIN_CONTRAST: f64 = 4.5;
/// Minimum contrast while the page is dimmed because its contents are out of date.
const MIN_STALE_CONTRAST: f64 = 3.0;
/// JavaScript function: returns the texts whose contrast with their background is below a minimum.
const LOW_CONTRAST: &str = r"((minimum) => {
  const channels = (color) => color.match(/[\d.]+/g).map(Number);
  const linear = (value) => value <= 10.31 ? value / 3294.6 : ((value / 255 + 0.055) / 1.055) ** 2.4;
  const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (element) => {
    for (; element; element = element.parentElement) {
      const color = channels(getComputedStyle(element).backgroundColor);
      if (color.length === 3) return color;
    }
    throw new Error('no ground');
  };
  // The opacity of an element blends its text and its background with the background of the page.
  const page = ground(document.body);
  const opacity = (element) =>
    element ? getComputedStyle(element).opacity * opacity(element.parentElement) : 1;
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const share = opacity(element);
    const blend = (color) => color.map((value, index) => value * share + page[index] * (1 - share));
    const colors = [channels(getComputedStyle(element).color), ground(element)];
    const of = colors.map((color) => luminance(blend(color.slice(0, 3))));
    const contrast = (Math.max(...of) + 0.05) / (Math.min(...of) + 0.05);
    if (contrast < minimum) found.push([walker.currentNode.data, contrast]);
  }
  return found;
})";

/// JavaScript expression: the blocks whose contents are wider than the block itself. The block of
/// an instance hides the excess.
const CLIPPED: &str = "[...document.querySelectorAll('.instance, dl, dd, li')]
  .filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.outerHTML)";

fn listener() -> String {
    format!("[metrics]\nlisten = \"{}\"\n", address(PORT))
}

fn instance(name: &str, vrid: u8, priority: u8, more: &str) -> String {
    format!(
        "[[instance]]\nname = '{name}'\ninterface = \"eth1\"\nvrid = {vrid}\npriority = {priority}\n\
         advert_interval = \"100ms\"\n{more}\n"
    )
}

fn start(lab: &Lab, station: Station, configuration: String) -> Result<Agent> {
    let mut agent = Agent::with_configuration(lab, station, vipd()?, configuration)?;
    agent.start()?;
    get(agent.host(), PORT, "/healthz")?;
    Ok(agent)
}

#[track_caller]
fn assert_no_complaints(browser: &mut Browser) {
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

/// The page follows state changes, keeps expanded details expanded, and shows names as text.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn page_is_live_and_shows_hostile_names_as_text() -> TestResult {
    let lab = Lab::new(1)?;
    let text = listener() + &instance(HOSTILE, 51, 200, "virtual_addresses = [\"10.0.0.1\"]");
    let mut agent = start(&lab, ONE, text)?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    let mut browser = Browser::start(agent.host())?;
    browser.open(URL)?;
    browser.wait_for(IS_LIVE)?;
    browser.wait_for(&format!("document.querySelector('h3').textContent === '{HOSTILE}'"))?;
    browser.evaluate("document.querySelector('details').open = true")?;
    browser.evaluate("document.querySelector('article').marked = true")?;
    // The number of sent adverts is in the first line and in the details; both must increase.
    browser.evaluate("[...document.querySelectorAll('article [data-value=\"0\"]')].forEach((one) => one.former = one.textContent)")?;
    browser.wait_for("[...document.querySelectorAll('article [data-value=\"0\"]')].filter((one) => Number(one.textContent) > Number(one.former)).length === 2")?;

    change(&agent, &json!({ "command": "drain", "instances": [HOSTILE] }))?;
    browser.wait_for("document.querySelector('.pill').textContent === 'fault'")?;
    change(&agent, &json!({ "command": "undrain", "instances": [HOSTILE] }))?;
    browser.wait_for("document.querySelector('.pill').textContent === 'master'")?;
    browser.wait_for("document.querySelector('article').className === 'instance master'")?;
    browser.wait_for("document.querySelector('#timeline').textContent.includes('fault → backup')")?;
    // The elements were changed, not replaced.
    browser.wait_for("document.querySelector('article').marked && document.querySelector('details').open")?;
    browser.wait_for("document.querySelectorAll('img, body script').length === 0")?;
    assert_no_complaints(&mut browser);

    // The Content Security Policy blocks scripts that a name might inject.
    browser.evaluate(
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.executed = 1\">')",
    )?;
    try_wait_until("a violation of the policy", TIMEOUT, || {
        Ok(browser.complaints().iter().any(|event| event.to_string().contains("Content Security Policy")))
    })?;
    assert_eq!(browser.evaluate("typeof window.executed")?, "undefined");
    assert!(agent.stop()?.success());
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn page_reconnects_and_follows_reloads() -> TestResult {
    let lab = Lab::new(1)?;
    let one = listener() + &instance("VI_1", 51, 200, "virtual_addresses = [\"10.0.0.1\"]");
    let mut agent = start(&lab, ONE, one.clone())?;
    // These clients use all event streams until they disconnect.
    let mut others = (0..16).map(|_| connect(agent.host(), PORT)).collect::<Result<Vec<_>>>()?;
    for client in &mut others {
        client.write_all(b"GET /events HTTP/1.0\r\nHost: vipd\r\n\r\n")?;
        client.read_exact(&mut [0])?;
    }
    let mut browser = Browser::start(agent.host())?;
    browser.open(URL)?;
    browser.wait_for(
        "document.querySelector('#live.lost').textContent === '16 other clients follow the page; retrying'",
    )?;
    drop(others);
    browser.wait_for(IS_LIVE)?;
    agent.configure(one.clone() + &instance("VI_2", 52, 200, "virtual_addresses = [\"10.0.0.2\"]"))?;
    reload(&agent)?;
    browser.wait_for("document.querySelectorAll('article').length === 2")?;
    browser.wait_for(IS_LIVE)?;

    assert!(agent.stop()?.success());
    browser.wait_for("document.querySelector('#live.lost').textContent.includes('reconnecting')")?;
    browser.wait_for("document.body.className === 'stale'")?;
    agent.configure(one)?;
    agent.start()?;
    browser.wait_for("document.querySelectorAll('article').length === 1")?;
    browser.wait_for(IS_LIVE)?;
    browser.wait_for("document.body.className === ''")?;
    assert_no_complaints(&mut browser);
    assert!(agent.stop()?.success());
    Ok(())
}

/// Without JavaScript, the page reloads itself.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn page_works_without_javascript() -> TestResult {
    let lab = Lab::new(1)?;
    let text = listener() + &instance("VI_1", 51, 200, "virtual_addresses = [\"10.0.0.1\"]");
    let mut agent = start(&lab, ONE, text)?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    let mut browser = Browser::start(agent.host())?;
    browser.enable_javascript(false)?;
    browser.open(URL)?;
    let mut shows = |text: &str| {
        try_wait_until(text, TIMEOUT, || Ok(browser.html().is_ok_and(|html| html.contains(text))))
    };
    shows("<p class=\"pill master\">master</p>")?;
    change(&agent, &json!({ "command": "drain", "instances": ["VI_1"] }))?;
    shows("<p class=\"pill fault\">fault</p>")?;
    assert!(agent.stop()?.success());
    Ok(())
}

/// Returns the configuration of a node with instances in different states.
fn busy_node() -> String {
    let checks = "[[script]]\nname = \"haproxy\"\ncommand = [\"/bin/true\"]\ninterval = \"1s\"\ntimeout = \"20s\"\n\
                  [[script]]\nname = \"postgres\"\ncommand = [\"/bin/false\"]\ninterval = \"1s\"\ntimeout = \"20s\"\n";
    let haproxy = "track = [{ script = \"haproxy\", weight = -60 }, { interface = \"eth1\" }]\n\
                   virtual_addresses = [\"192.168.122.50/24\", \"192.168.122.51/24\"]";
    let postgres =
        "track = [{ script = \"postgres\", weight = -60 }]\nvirtual_addresses = [\"192.168.122.60/24\"]";
    let storage = "track = [{ script = \"postgres\" }]\nvirtual_addresses = [\"192.168.122.70/24\"]";
    let version = "version = 3\nvirtual_addresses = [\"192.168.122.80/24\"]";
    [
        listener(),
        instance("web", 51, 150, haproxy),
        instance("database", 52, 150, postgres),
        instance("gateway6", 53, 150, "virtual_addresses = [\"fe80::50/64\", \"2001:db8::50/64\"]"),
        instance("storage", 54, 100, storage),
        instance("guests", 55, 100, version),
        checks.to_owned(),
    ]
    .concat()
}

fn other_node() -> String {
    let database = "virtual_addresses = [\"192.168.122.60/24\"]";
    let guests = "version = 2\nvirtual_addresses = [\"192.168.122.81/24\"]";
    let guests = instance("guests", 55, 100, guests).replace("100ms", "1s");
    listener() + &instance("database", 52, 120, database) + &guests
}

/// The page fits its window and has enough contrast, in both color schemes, at desktop and phone
/// widths.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn page_fits_phones_and_is_readable_in_both_schemes() -> TestResult {
    let lab = Lab::new(2)?;
    let mut one = start(&lab, ONE, busy_node())?;
    let mut two = start(&lab, TWO, other_node())?;
    let states = ["master", "backup", "master", "fault", "master"];
    try_wait_until("all states", TIMEOUT, || {
        let found = status(&one)?;
        Ok(found.iter().map(|instance| instance.text("state")).eq(states))
    })?;
    wait_for_state(&two, "master", TIMEOUT)?;
    try_wait_until("invalid adverts", TIMEOUT, || {
        Ok(get(one.host(), PORT, "/")?.body.contains("guests · version-errors"))
    })?;
    assert!(counter(&two, "master-transitions")? > 0);

    let mut browser = Browser::start(one.host())?;
    for (name, width, height, scheme) in [
        ("page-light.png", 1180, 800, Scheme::Light),
        ("page-dark.png", 1180, 800, Scheme::Dark),
        ("page-phone.png", 360, 780, Scheme::Light),
        ("", 360, 780, Scheme::Dark),
        ("", 800, 600, Scheme::Light),
    ] {
        browser.emulate(width, height, scheme)?;
        browser.open(URL)?;
        browser.wait_for(IS_LIVE)?;
        browser.wait_for(&format!("innerWidth === {width}"))?;
        assert_fits(&mut browser, width)?;
        let is_dark = browser.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")?;
        assert_eq!(is_dark, scheme == Scheme::Dark);
        if !name.is_empty() {
            save(name, &browser.screenshot(1500)?)?;
        }
        browser.evaluate("document.querySelectorAll('details').forEach((one) => one.open = true)")?;
        assert_fits(&mut browser, width)?;
        for (class, minimum) in [("", MIN_CONTRAST), ("stale", MIN_STALE_CONTRAST)] {
            // The class is set and the contrast is measured in one evaluation, because the next
            // update of the page removes the class.
            let script = format!("document.body.className = '{class}', {LOW_CONTRAST}({minimum})");
            let found = browser.evaluate(&script)?;
            assert_eq!(found, Value::Array(Vec::new()), "{width} pixels, {scheme:?}, {class:?}");
        }
    }
    assert_no_complaints(&mut browser);
    for agent in [&mut one, &mut two] {
        assert!(agent.stop()?.success());
    }
    Ok(())
}

/// Checks that the page is not wider than its window, and that [`CLIPPED`] finds no block.
fn assert_fits(browser: &mut Browser, width: u32) -> Result<()> {
    let overflow = browser.evaluate("document.documentElement.scrollWidth - innerWidth")?;
    ensure!(overflow == 0, "the page is {overflow} pixels wider than its window of {width} pixels");
    let clipped = browser.evaluate(CLIPPED)?;
    ensure!(clipped == json!([]), "wider than the available space at {width} pixels: {clipped}");
    Ok(())
}

/// Checks a screenshot, and writes it to `docs/images` if `UPDATE` is set.
fn save(name: &str, png: &[u8]) -> Result<()> {
    ensure!(png.starts_with(b"\x89PNG"), "{name} is not a PNG");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/images").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(path, png)?;
    } else {
        ensure!(path.exists(), "{} does not exist; run this test with UPDATE=1", path.display());
    }
    Ok(())
}

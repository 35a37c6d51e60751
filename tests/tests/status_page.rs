//! The status page and its stream of events, as an HTTP client sees them. `browser.rs` tests them
//! in a browser.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::iter::repeat_n;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use vipd_tests::TestResult;
use vipd_tests::agent::Agent;
use vipd_tests::binary::vipd;
use vipd_tests::control::{self, change, reload, wait_for, wait_for_state};
use vipd_tests::http::{address, connect, get};
use vipd_tests::lab::Lab;
use vipd_tests::namespace::Namespace;
use vipd_tests::routers::wait_for_backup_of;
use vipd_tests::station::Station;
use vipd_tests::wait::try_wait_until;

const ONE: Station = Station::Node(1);
const TWO: Station = Station::Node(2);
const TIMEOUT: Duration = Duration::from_secs(30);
const PORT: u16 = 9650;
/// Maximum number of streams that the agent serves.
const MAX_STREAMS: usize = 16;

/// Returns the configuration of an agent with one instance; `more` is added to the instance.
fn configuration(port: u16, priority: u8, more: &str) -> String {
    format!(
        "[metrics]\nlisten = \"{}\"\nkeepalived_names = true\n[[instance]]\nname = \"VI_1\"\n\
         interface = \"eth1\"\nvrid = 51\npriority = {priority}\nadvert_interval = \"10ms\"\n\
         virtual_addresses = [\"10.0.0.1\"]\n{more}",
        address(port)
    )
}

fn start(lab: &Lab, station: Station, configuration: String) -> Result<Agent> {
    let mut agent = Agent::with_configuration(lab, station, vipd()?, configuration)?;
    agent.start()?;
    Ok(agent)
}

fn start_master(lab: &Lab) -> Result<Agent> {
    let agent = start(lab, ONE, configuration(PORT, 200, ""))?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    Ok(agent)
}

/// A client of the status page's updates (`GET /events`, server-sent events).
struct Stream {
    connection: BufReader<TcpStream>,
    /// The latest HTML of each element, by identifier. Updates of values alone are not applied.
    elements: BTreeMap<String, String>,
}

impl Stream {
    /// Requests the stream. Returns `None` if the agent reports a problem instead of elements, such
    /// as that all its streams are in use.
    fn request(host: &Namespace, port: u16) -> Result<Option<Self>> {
        let mut connection = connect(host, port)?;
        // The body of an answer to HTTP/1.0 is not chunked.
        connection.write_all(b"GET /events HTTP/1.0\r\nHost: vipd\r\n\r\n")?;
        let mut stream = Self { connection: BufReader::new(connection), elements: BTreeMap::new() };
        let status = stream.line()?;
        let mut headers = BTreeSet::new();
        loop {
            match stream.line()? {
                line if line.is_empty() => break,
                line => headers.insert(line.to_ascii_lowercase()),
            };
        }
        ensure!(status.ends_with(" 200 OK"), "{status}");
        ensure!(headers.contains("content-type: text/event-stream"), "{headers:?}");
        if stream.connection.fill_buf()?.starts_with(b"event: problem") {
            return Ok(None);
        }
        Ok(Some(stream))
    }

    fn open(host: &Namespace, port: u16) -> Result<Self> {
        Self::request(host, port)?.context("the agent refuses the stream")
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        ensure!(self.connection.read_line(&mut line)? > 0, "the agent has closed the stream");
        Ok(line.trim_end().to_owned())
    }

    fn update(&mut self) -> Result<Value> {
        let data = self.line()?;
        let json = data.strip_prefix("data: ").with_context(|| format!("not an update: {data}"))?;
        ensure!(self.line()?.is_empty(), "{data} is not followed by an empty line");
        let update: Value = serde_json::from_str(json)?;
        for element in update["elements"].as_array().context("no elements")? {
            let text = |key: &str| element[key].as_str().map(str::to_owned);
            let pair = text("id").zip(text("html"));
            self.elements.extend([pair.with_context(|| format!("unexpected element: {element}"))?]);
        }
        Ok(update)
    }

    /// Returns the identifiers of the elements in the next update.
    fn next(&mut self) -> Result<Vec<String>> {
        let update = self.update()?;
        let elements = update["elements"].as_array().context("no elements")?.iter();
        Ok(elements.filter_map(|element| element["id"].as_str().map(str::to_owned)).collect())
    }

    /// Reads updates until the element contains `wanted`.
    fn wait_for(&mut self, id: &str, wanted: &str) -> Result<()> {
        try_wait_until(&format!("{wanted} in {id}"), TIMEOUT, || {
            let is_found = self.elements.get(id).is_some_and(|html| html.contains(wanted));
            if !is_found {
                self.update()?;
            }
            Ok(is_found)
        })
    }
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn page_and_its_files_are_served() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start_master(&lab)?;
    let page = get(agent.host(), PORT, "/")?;
    assert_eq!((page.status, page.headers["content-type"].as_str()), (200, "text/html; charset=utf-8"));
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
    assert_eq!(page.headers["cross-origin-resource-policy"], "same-origin");
    for expected in ["<h1>node1</h1>", "<h3>VI_1</h3>", "<p class=\"pill master\">master</p>", "10.0.0.1/32"]
    {
        assert!(page.body.contains(expected), "{expected} is missing in {}", page.body);
    }
    // The page refers to its files by relative addresses, so that a proxy can add a prefix.
    for (file, media_type) in [
        ("style.css", "text/css; charset=utf-8"),
        ("page.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    ] {
        assert!(page.body.contains(&format!("=\"{file}\"")), "{}", page.body);
        let answer = get(agent.host(), PORT, &format!("/{file}"))?;
        assert_eq!((answer.status, answer.headers["content-type"].as_str()), (200, media_type));
        assert!(!answer.body.is_empty());
    }
    assert!(agent.stop()?.success());
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn stream_reports_changes_and_a_new_stream_begins_with_all_elements() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start_master(&lab)?;
    let mut stream = Stream::open(agent.host(), PORT)?;
    let all = ["summary", "instance-0", "timeline", "errors"];
    assert_eq!(stream.next()?, all);
    try_wait_until("an update of counters alone", TIMEOUT, || {
        let update = stream.update()?;
        let sent = update["values"]["instance-0"]["0"].as_str().and_then(|sent| sent.parse::<u64>().ok());
        Ok(update["elements"] == json!([]) && sent.is_some_and(|sent| sent > 0))
    })?;
    change(&agent, &json!({ "command": "drain", "instances": ["VI_1"] }))?;
    stream.wait_for("instance-0", "<p class=\"pill fault\">fault</p>")?;
    change(&agent, &json!({ "command": "undrain", "instances": ["VI_1"] }))?;
    stream
        .wait_for("timeline", "<span class=\"fault\">fault</span> → <span class=\"backup\">backup</span>")?;
    stream.wait_for("instance-0", "<p class=\"pill master\">master</p>")?;

    // A reload that moves the server ends the stream.
    agent.configure(configuration(PORT + 1, 200, ""))?;
    reload(&agent)?;
    try_wait_until("the end of the stream", TIMEOUT, || Ok(stream.next().is_err()))?;
    assert_eq!(Stream::open(agent.host(), PORT + 1)?.next()?, all);
    assert!(agent.stop()?.success());
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn output_of_scripts_and_contents_of_files_are_not_published() -> TestResult {
    let lab = Lab::new(1)?;
    let script = "[[script]]\nname = \"web\"\ncommand = [\"/bin/sh\", \"-c\", \"echo confidential; exit 1\"]\n\
                  interval = \"1s\"\ntimeout = \"20s\"\n";
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("key");
    fs::write(&path, "classified\n")?;
    let file = format!("[[file]]\nname = \"key\"\npath = \"{}\"\n", path.display());
    let track = "track = [{ script = \"web\" }, { file = \"key\", weight = 1 }]";
    let text = configuration(PORT, 200, &format!("{track}\n{script}{file}"));
    let mut agent = start(&lab, ONE, text)?;
    wait_for(&agent, "a fault with the script's output", TIMEOUT, |status| {
        status.0["vipd:fault-reason"].to_string().contains("confidential")
    })?;
    wait_for(&agent, "the contents of the file", TIMEOUT, |status| {
        status.0["vipd:track"].to_string().contains("classified")
    })?;
    // Write a number first: only a change of the number is an event.
    fs::write(&path, "5\n")?;
    let mut stream = Stream::open(agent.host(), PORT)?;
    stream.wait_for("instance-0", "file key <b>5</b>")?;
    fs::write(&path, "classified\n")?;
    stream.wait_for("timeline", "file key: 5 → 0")?;
    stream.wait_for("instance-0", "fault: script web is down")?;
    let mut page = get(agent.host(), PORT, "/")?.body;
    assert!(page.contains("script web: up → down"), "{page}");
    for path in ["/metrics", "/healthz"] {
        page += &get(agent.host(), PORT, path)?.body;
    }
    page += &Stream::open(agent.host(), PORT)?.update()?.to_string();
    assert!(!page.contains("confidential") && !page.contains("classified"), "{page}");
    assert!(agent.stop()?.success());
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn streams_are_limited_and_their_slots_are_reused() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start_master(&lab)?;
    let host = agent.host();
    let streams = (0..MAX_STREAMS).map(|_| Stream::open(host, PORT)).collect::<Result<Vec<_>>>()?;
    assert!(Stream::request(host, PORT)?.is_none(), "more than {MAX_STREAMS} streams");
    assert_eq!(get(host, PORT, "/healthz")?.body, "ok\n");
    drop(streams);
    try_wait_until("a free slot", TIMEOUT, || Ok(Stream::request(host, PORT)?.is_some()))?;
    assert!(agent.stop()?.success());
    Ok(())
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn client_that_does_not_read_loses_its_slot() -> TestResult {
    let lab = Lab::new(1)?;
    let mut agent = start_master(&lab)?;
    let host = agent.host();
    let frozen = host.run(|| -> std::io::Result<Socket> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // The kernel rounds this up to its minimum, which a few updates fill.
        socket.set_recv_buffer_size(1)?;
        socket.connect(&address(PORT).into())?;
        Ok(socket)
    })?;
    frozen.send(b"GET /events HTTP/1.0\r\nHost: vipd\r\n\r\n")?;
    // The agent must accept the frozen stream before the other ones.
    thread::sleep(Duration::from_secs(1));
    let mut streams = (1..MAX_STREAMS).map(|_| Stream::open(host, PORT)).collect::<Result<Vec<_>>>()?;
    assert!(Stream::request(host, PORT)?.is_none(), "the frozen client has no slot");
    try_wait_until("the slot of the frozen client", TIMEOUT, || {
        streams.iter_mut().try_for_each(|stream| stream.next().map(drop))?;
        Ok(Stream::request(host, PORT)?.is_some())
    })?;
    drop(frozen);
    assert!(agent.stop()?.success());
    Ok(())
}

/// All streams are in use, and half of their clients never read. At the same time, metrics are
/// requested as fast as possible by more clients than there are free connections.
#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF and CAP_PERFMON"]
fn storm_of_scrapes_and_streams_loses_no_advert_at_10ms() -> TestResult {
    const CLIENTS: usize = 24;
    const ROUNDS: usize = 250;
    const UPDATES: usize = 3;
    let lab = Lab::new(2)?;
    let mut master = start_master(&lab)?;
    let mut backup = start(&lab, TWO, configuration(PORT, 100, ""))?;
    wait_for_backup_of(&backup, ONE.ipv4())?;
    let idle: Vec<_> =
        (0..MAX_STREAMS / 2).map(|_| Stream::open(master.host(), PORT)).collect::<Result<_>>()?;
    let read: Vec<_> =
        (0..MAX_STREAMS / 2).map(|_| Stream::open(master.host(), PORT)).collect::<Result<_>>()?;

    // The backup's counter is read first, so that an advert in flight is not counted as lost.
    let received = control::counter(&backup, "advertisement-rcvd")?;
    let sent = control::counter(&master, "advertisement-sent")?;
    let readers = read.into_iter().map(|mut stream| {
        thread::spawn(move || -> Result<()> { (0..UPDATES).try_for_each(|_| stream.next().map(drop)) })
    });
    let readers: Vec<_> = readers.collect();
    let scrapers = (0..CLIENTS).map(|_| {
        let host = master.host().clone();
        thread::spawn(move || -> Result<()> {
            for path in ["/", "/healthz"].into_iter().chain(repeat_n("/metrics", ROUNDS)) {
                let answer = get(&host, PORT, path)?;
                ensure!(answer.status == 200, "{path}: {answer:?}");
            }
            Ok(())
        })
    });
    for client in scrapers.collect::<Vec<_>>().into_iter().chain(readers) {
        client.join().expect("no panic")?;
    }
    let sent = control::counter(&master, "advertisement-sent")? - sent;
    let received = control::counter(&backup, "advertisement-rcvd")? - received;
    assert!(sent > 0, "no adverts were sent during the storm");
    // The last advert may still be in flight.
    assert!(received + 1 >= sent, "{received} of {sent} adverts were received");
    assert_eq!(control::counter(&backup, "master-transitions")?, 0, "{:#?}", backup.log());
    assert_eq!((control::state(&master)?, control::state(&backup)?), ("master".into(), "backup".into()));
    assert_eq!(control::counter(&master, "vipd:stalls")?, 0);
    drop(idle);
    for agent in [&mut backup, &mut master] {
        assert!(agent.stop()?.success());
    }
    Ok(())
}

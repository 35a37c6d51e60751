//! `vipd scan`.

use std::fmt::Write as _;
use std::io;
use std::time::{Duration, Instant};

use serde::Serialize;
use vipd_common::counters::Counter;

use super::args::ScanArgs;
use super::status::seconds;
use super::table::{Align, BAD, Cell, GOOD, HINT, NONE, Table, WAITING, Yield};
use super::wrap::wrap;
use super::{output, terminal};
use crate::control::explain;
use crate::observe::{Listener, Obstacle, Sender, Survey, VirtualRouter, checksum_name, mac_text, reason_of};

/// Columns to hide or move below their rows on a narrow terminal, the least important first.
const NARROW: [(&str, Yield); 6] = [
    ("ADDRESSES", Yield::Below("")),
    ("MAC", Yield::Hide),
    ("TTL", Yield::Hide),
    ("ADVERTS", Yield::Hide),
    ("AUTH", Yield::Hide),
    ("CHECKSUM", Yield::Hide),
];

/// Threshold, in milliseconds, above which a note shows the clock offset of a signed advert: the
/// shortest `window`.
const CLOCK_OFFSET: u64 = 1000;
/// Maximum number of competing masters that a note lists. The list is limited because anyone can
/// forge adverts of further masters.
const MAX_MASTERS: usize = 3;

pub(super) fn run(args: &ScanArgs) -> anyhow::Result<()> {
    let mut listener = Listener::new()?;
    let interface = listener.add(&args.interface)?;
    let mut surveys = Vec::new();
    let start = Instant::now();
    listener.survey(start + args.seconds, &mut surveys)?;
    let duration = if listener.is_ended() { start.elapsed().min(args.seconds) } else { args.seconds };
    let obstacle = listener.obstacle(interface);
    let scan = Scan { interface: &args.interface, duration, survey: &surveys[interface], obstacle };
    let text = if args.json {
        serde_json::to_string(&scan.report())? + "\n"
    } else {
        scan.render(terminal::width(&io::stdout()))
    };
    output::print(&text)?;
    Ok(())
}

/// The result of a scan.
struct Scan<'a> {
    interface: &'a str,
    duration: Duration,
    survey: &'a Survey,
    obstacle: Option<&'a Obstacle>,
}

/// The JSON output. Names inside `vipd:routers` have no prefix.
#[derive(Serialize)]
struct Report<'a> {
    interface: &'a str,
    #[serde(rename = "vipd:seconds")]
    seconds: f64,
    /// The reason why adverts that the interface's XDP program drops could not be observed.
    #[serde(rename = "vipd:obstacle")]
    obstacle: Option<String>,
    /// Number of packets that were not recorded, because there were too many packets, senders or
    /// MACs.
    #[serde(rename = "vipd:unrecorded")]
    unrecorded: u64,
    #[serde(rename = "vipd:routers")]
    senders: Vec<SenderReport>,
}

/// A router that sends adverts. Names from RFC 8347 have the meaning defined there.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SenderReport {
    vrid: u8,
    family: &'static str,
    vlan: Option<u16>,
    source: String,
    destination: String,
    /// Whether the router claimed to be master at the end of the scan.
    is_master: bool,
    /// Whether the router is this host.
    is_local: bool,
    version: u8,
    priority: u8,
    advertise_interval_ns: u64,
    /// `v2`, `rfc5798`, `rfc9568`, `ipv6`, or `null` if the checksum is wrong or the advert has
    /// another defect.
    checksum: Option<&'static str>,
    /// VRRPv2: authentication type.
    authentication_type: Option<u8>,
    /// ID of the key in the trailer of a signed advert. The HMAC is not verified.
    key_id: Option<u8>,
    /// Clock of the router minus the clock of this host in milliseconds, according to the latest
    /// advert; `null` if that is not signed.
    clock_offset_ms: Option<i64>,
    lowest_ttl: u8,
    adverts: u64,
    priority_zero: u64,
    longest_gap_ns: u64,
    macs: Vec<String>,
    virtual_addresses: Vec<String>,
    /// The reason why no router would accept the latest advert of this one.
    defect: Option<&'static str>,
}

impl Scan<'_> {
    fn report(&self) -> Report<'_> {
        let senders = self.survey.senders().map(|(router, sender)| SenderReport {
            vrid: router.vrid,
            family: if router.family == 6 { "ipv6" } else { "ipv4" },
            vlan: router.vlan,
            source: sender.advert.source.to_string(),
            destination: sender.advert.destination.to_string(),
            is_master: sender.is_master(self.survey.end),
            is_local: sender.is_local,
            version: sender.advert.version,
            priority: sender.advert.priority,
            advertise_interval_ns: sender.advert.interval,
            checksum: sender.advert.checksum.map(checksum_name),
            authentication_type: sender.advert.authentication.map(|(kind, _)| kind),
            key_id: sender.advert.trailer.map(|trailer| trailer.key_id),
            clock_offset_ms: self.survey.clock_offset(sender),
            lowest_ttl: sender.lowest_ttl,
            adverts: sender.adverts,
            priority_zero: sender.priority_zero,
            longest_gap_ns: u64::try_from(sender.longest_gap.as_nanos()).unwrap_or(u64::MAX),
            macs: sender.macs.iter().map(|mac| mac_text(*mac)).collect(),
            virtual_addresses: sender.advert.addresses.iter().map(ToString::to_string).collect(),
            defect: sender.advert.defect.map(defect),
        });
        Report {
            interface: self.interface,
            seconds: self.duration.as_secs_f64(),
            obstacle: self.obstacle.map(ToString::to_string),
            unrecorded: self.survey.unrecorded,
            senders: senders.collect(),
        }
    }

    /// Renders the table for a terminal of this width or for a pipe.
    fn render(&self, width: Option<usize>) -> String {
        let Self { interface, duration, survey, obstacle } = self;
        let columns = [
            ("VRID", Align::Right),
            ("FAMILY", Align::Left),
            ("ROUTER", Align::Left),
            ("STATE", Align::Left),
            ("VERSION", Align::Right),
            ("PRIO", Align::Right),
            ("INTERVAL", Align::Right),
            ("CHECKSUM", Align::Left),
            ("AUTH", Align::Left),
            ("TTL", Align::Right),
            ("ADVERTS", Align::Right),
            ("MAC", Align::Left),
            ("ADDRESSES", Align::Left),
        ];
        let mut table = Table::new(&columns);
        let mut count = 0;
        let mut masters = Vec::new();
        let mut current = None;
        for (router, sender) in survey.senders() {
            count += 1;
            if current.replace(router) != Some(router) {
                masters = survey.competing_masters(router);
            }
            table.row(row(router, sender, survey.end));
            for note in notes(router, sender, survey.clock_offset(sender), &masters) {
                table.note(note);
            }
        }
        let hidden = width.map(|width| table.fit(width, &NARROW)).unwrap_or_default();
        let plural = if count == 1 { "" } else { "s" };
        // Rounded to milliseconds, because an interrupted scan can have any duration.
        let seconds = (duration.as_secs_f64() * 1000.0).round() / 1000.0;
        let mut text = format!("{interface}: {count} router{plural} in {seconds} s\n");
        if count > 0 {
            text += &table.render();
        }
        let obstacle = obstacle.map(|obstacle| obstacle.describe(interface));
        let unrecorded = (survey.unrecorded > 0).then(|| {
            format!("too many packets, senders or MACs; {} packets were not recorded", survey.unrecorded)
        });
        for warning in obstacle.into_iter().chain(unrecorded) {
            let warning = width.map_or(warning.clone(), |width| wrap(&warning, width, 0));
            // Writing to a String does not fail.
            let _ = writeln!(text, "{WAITING}{warning}{WAITING:#}");
        }
        if let Some(width) = width.filter(|_| !hidden.is_empty()) {
            let hint = format!("{} hidden on this terminal; see --json", super::status::list(&hidden));
            let _ = writeln!(text, "{HINT}{}{HINT:#}", wrap(&hint, width, 0));
        }
        text
    }
}

fn row(router: VirtualRouter, sender: &Sender, end: Duration) -> Vec<Cell> {
    let advert = &sender.advert;
    let state = match (sender.is_master(end), advert.priority) {
        (true, _) => Cell::styled("master", GOOD),
        (false, 0) => "left".into(),
        (false, _) => Cell::styled("silent", WAITING),
    };
    let addresses: Vec<String> = advert.addresses.iter().map(ToString::to_string).collect();
    let addresses = if addresses.is_empty() { NONE.to_owned() } else { addresses.join(",") };
    let macs: Vec<String> = sender.macs.iter().map(|mac| mac_text(*mac)).collect();
    vec![
        router.vrid.into(),
        if router.family == 6 { "ipv6" } else { "ipv4" }.into(),
        advert.source.into(),
        state,
        advert.version.into(),
        advert.priority.into(),
        seconds(advert.interval).into(),
        advert.checksum.map_or(NONE, checksum_name).into(),
        match (advert.trailer, advert.authentication) {
            (Some(trailer), _) => format!("key-{}", trailer.key_id),
            (None, None) => NONE.to_owned(),
            (None, Some((0, _))) => "none".to_owned(),
            (None, Some((1, _))) => "pass".to_owned(),
            (None, Some((kind, _))) => kind.to_string(),
        }
        .into(),
        sender.lowest_ttl.into(),
        sender.adverts.into(),
        if macs.is_empty() { NONE.to_owned() } else { macs.join(",") }.into(),
        addresses.into(),
    ]
}

/// Returns notes on facts that have no column. `clock_offset` is that of a signed advert, in
/// milliseconds. `masters` are the competing masters of the virtual router.
fn notes(
    router: VirtualRouter,
    sender: &Sender,
    clock_offset: Option<i64>,
    masters: &[&Sender],
) -> Vec<Cell> {
    let mut notes = Vec::new();
    if sender.is_local {
        notes.push(Cell::styled("this host", HINT));
    }
    if let Some(vlan) = router.vlan {
        notes.push(Cell::styled(format!("tagged with VLAN {vlan}"), WAITING));
    }
    if !sender.advert.is_multicast() {
        notes.push(Cell::styled(format!("sent to {}", sender.advert.destination), HINT));
    }
    if let Some(reason) = sender.advert.defect {
        notes.push(Cell::styled(format!("invalid: {}", defect(reason)), BAD));
    }
    if let Some(offset) = clock_offset.filter(|offset| offset.unsigned_abs() > CLOCK_OFFSET) {
        let text = format!("clock {}, or an old advert", explain::clock_offset(offset));
        notes.push(Cell::styled(text, WAITING));
    }
    let source = sender.advert.source;
    if masters.iter().any(|one| one.advert.source == source) {
        let mut others = masters.iter().map(|one| one.advert.source).filter(|other| *other != source);
        let listed: Vec<String> = others.by_ref().take(MAX_MASTERS).map(|other| other.to_string()).collect();
        let more = others.count();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("competing masters: {}{more}", listed.join(", "));
        notes.push(Cell::styled(text, BAD));
    }
    notes
}

/// Returns the reason why no router would accept an advert with this defect.
fn defect(counter: Counter) -> &'static str {
    match counter {
        Counter::VersionErrors => "unknown VRRP version",
        other => reason_of(other),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::time::UNIX_EPOCH;

    use anstream::adapter::strip_str;
    use vipd_witness::{Advert as Sent, Trailer, Version, sequence_at};

    use super::*;
    use crate::observe::dissect;

    fn survey() -> Survey {
        let mut survey = Survey::default();
        for (host, version, count) in [(11, Version::V3, 3), (12, Version::V2, 3)] {
            for number in 0..count {
                let addresses = vec![Ipv4Addr::new(192, 0, 2, 50).into()];
                let sent =
                    Sent { addresses, ..Sent::new(version, 51, 100 + host, Ipv4Addr::new(192, 0, 2, host)) };
                let packet = dissect(&sent.frame(), true).expect("an advert");
                survey.add(packet, Duration::from_secs(number), host == 11);
            }
        }
        survey
    }

    fn scan(survey: &Survey) -> Scan<'_> {
        Scan { interface: "eth1", duration: Duration::from_secs(4), survey, obstacle: None }
    }

    #[test]
    fn table_has_a_row_for_each_router_and_names_competing_masters() {
        let survey = survey();
        let text = strip_str(&scan(&survey).render(None)).to_string();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "eth1: 2 routers in 4 s");
        assert!(lines[1].starts_with("VRID  FAMILY  ROUTER"), "{text}");
        assert!(lines[2].contains("192.0.2.11  master        3   111        1s  rfc5798"), "{text}");
        assert_eq!(lines[3], "  this host");
        assert_eq!(lines[4], "  competing masters: 192.0.2.12");
        assert!(lines[5].contains("192.0.2.12  master        2   112        1s  v2"), "{text}");
    }

    #[test]
    fn signed_adverts_have_a_key_and_a_clock() {
        let mut survey = Survey::default();
        for (host, seconds) in [(11, 100), (12, 97), (13, 220)] {
            let sequence = sequence_at(UNIX_EPOCH + Duration::from_secs(seconds));
            let signed = Some(Trailer { sequence, ..Trailer::new(&[1; 32], 7) });
            let sent = Sent { signed, ..Sent::new(Version::V3, 51, 100, Ipv4Addr::new(192, 0, 2, host)) };
            let packet = dissect(&sent.frame(), true).expect("an advert");
            survey.add(packet, Duration::from_secs(100), false);
        }
        let text = strip_str(&scan(&survey).render(None)).to_string();
        let notes: Vec<&str> = text.lines().filter(|line| line.contains("clock ")).collect();
        assert_eq!(
            notes,
            ["  clock 3000 ms behind, or an old advert", "  clock 2m00s ahead, or an old advert"]
        );
        assert_eq!(text.matches("key-7").count(), 3, "{text}");
        let json = serde_json::to_value(scan(&survey).report()).expect("JSON");
        let clocks = [0, 1, 2].map(|number| &json["vipd:routers"][number]["clock-offset-ms"]);
        assert_eq!(clocks, [&0, &-3000, &120_000]);
        assert_eq!(json["vipd:routers"][0]["key-id"], 7);
    }

    #[test]
    fn table_fits_a_terminal() {
        let survey = survey();
        let text = Scan { obstacle: Some(&Obstacle::Foreign(7)), ..scan(&survey) };
        let text = strip_str(&text.render(Some(80))).to_string();
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains("hidden on this terminal; see --json"), "{text}");
    }

    #[test]
    fn many_routers_and_long_addresses_fit_a_terminal() {
        let mut survey = Survey::default();
        for host in 0..200_u16 {
            for second in 0..3 {
                let source = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x1111, 0x2222, 0x3333, 0x4000 + host);
                let addresses =
                    (0..20).map(|one| Ipv6Addr::new(0xfd00, 1, 2, 3, 4, 5, 6, 0xff00 + one).into());
                let sent = Sent { addresses: addresses.collect(), ..Sent::new(Version::V3, 51, 100, source) };
                let packet = dissect(&sent.frame(), true).expect("an advert");
                survey.add(packet, Duration::from_secs(second), false);
            }
        }
        let text = strip_str(&scan(&survey).render(Some(80))).to_string();
        let longest = text.lines().max_by_key(|line| line.chars().count()).expect("lines");
        assert!(longest.chars().count() <= 80, "{longest}");
        assert!(text.contains("and 196 more"), "{text}");
    }

    #[test]
    fn json_has_all_fields() {
        let survey = survey();
        let scan = Scan { obstacle: Some(&Obstacle::Foreign(7)), ..scan(&survey) };
        let json = serde_json::to_value(scan.report()).expect("JSON");
        assert_eq!(json["vipd:obstacle"], "XDP program 7 is not vipd's");
        let first = &json["vipd:routers"][0];
        assert_eq!((&first["vrid"], &first["source"]), (&51.into(), &"192.0.2.11".into()));
        assert_eq!((&first["checksum"], &first["is-master"]), (&"rfc5798".into(), &true.into()));
        assert_eq!(first["advertise-interval-ns"], 1_000_000_000);
    }
}

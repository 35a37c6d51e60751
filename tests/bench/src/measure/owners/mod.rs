//! Faults of a master's processes: which node answers for the VIP afterwards.
//!
//! The two nodes have equal priority. Each fault is applied to the node that is master.

mod answers;
mod fault;

use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use vipd_tests::agent::{Agent, Instance};
use vipd_tests::capture::Capture;
use vipd_tests::client::Client;
use vipd_tests::lab::Lab;
use vipd_tests::station::Station;
use vipd_tests::time::WallTime;
use vipd_tests::wait::wait_until;

use super::SOON;
use crate::figure::Figure;
use crate::metric::Metric;
use crate::subject::Subject;
use answers::{Episode, Kind, Sign};

pub(crate) use fault::Fault;

/// Advertisement intervals in milliseconds: the shortest of VRRPv3, a common short one, and the
/// default.
pub(crate) const INTERVALS: [u32; 3] = [10, 100, 1000];
const NODES: [Station; 2] = [Station::Node(1), Station::Node(2)];
/// Priority of both nodes: the default.
const PRIORITY: u8 = 100;
/// Skew_Time at the default interval (RFC 9568 section 6.1), in milliseconds.
pub(crate) const SKEW: f64 = 1000.0 * (256 - PRIORITY as u32) as f64 / 256.0;
/// Duration of the observation before the fault.
const BEFORE: Duration = Duration::from_millis(500);

/// Encodes a fault and an interval as a point of the results.
pub(crate) const fn point(fault: Fault, interval: u32) -> u32 {
    fault as u32 * 10_000 + interval
}

/// Returns the fault and the interval of a point as text: `SIGKILL at 10 ms`, `SIGSTOP at 1 s`.
pub(crate) fn point_name(point: u32) -> String {
    let fault = Fault::ALL.into_iter().find(|fault| *fault as u32 == point / 10_000);
    let fault = fault.map_or_else(String::new, |fault| fault.to_string());
    match point % 10_000 {
        millis if millis >= 1000 => format!("{fault} at {} s", millis / 1000),
        millis => format!("{fault} at {millis} ms"),
    }
}

/// Parses the name of a point given on the command line.
///
/// # Errors
/// Returns an error that lists all names if no point has this name.
pub(crate) fn parse_point(name: &str) -> Result<u32> {
    let points = || plays().map(|(interval, fault)| point(fault, interval));
    let names = || points().map(point_name).collect::<Vec<_>>().join(", ");
    points().find(|point| point_name(*point) == name).with_context(|| format!("expected one of: {}", names()))
}

/// Iterates over all intervals and faults.
fn plays() -> impl Iterator<Item = (u32, Fault)> {
    INTERVALS.into_iter().flat_map(|interval| Fault::ALL.map(|fault| (interval, fault)))
}

/// Plays each fault once at each interval, or only the point `only`. Each play has its own lab. All
/// plays run in parallel, because they spend most of the time waiting.
///
/// # Errors
/// Returns an error if a lab fails, or if a backup does not take over.
pub(crate) fn of_faults(subject: &Subject, only: Option<u32>) -> Result<Vec<Figure>> {
    let plays = plays().filter(|(interval, fault)| only.is_none_or(|only| only == point(*fault, *interval)));
    thread::scope(|scope| {
        let plays: Vec<_> =
            plays.map(|(interval, fault)| scope.spawn(move || of_fault(subject, interval, fault))).collect();
        let mut figures = Vec::new();
        for play in plays {
            figures.extend(play.join().map_err(|_| anyhow!("a thread panicked"))??);
        }
        Ok(figures)
    })
}

fn of_fault(subject: &Subject, interval: u32, fault: Fault) -> Result<[Figure; 4]> {
    let point = point(fault, interval);
    let mut pair = Pair::start(subject, Duration::from_millis(interval.into()))?;
    let figures = pair.play(fault, point).with_context(|| point_name(point))?;
    pair.client.stop()?;
    pair.capture.stop()?;
    Ok(figures)
}

/// Two agents and a client. Fields are dropped in order: the agents before the lab they run in.
struct Pair {
    client: Client,
    agents: [Agent; 2],
    capture: Capture,
    interval: Duration,
    _lab: Lab,
}

impl Pair {
    fn start(subject: &Subject, interval: Duration) -> Result<Self> {
        let lab = Lab::new(2)?;
        let capture = lab.capture()?;
        let instances = [Instance { priority: PRIORITY, interval, ..Instance::default() }];
        let agent = |node| -> Result<Agent> {
            let mut agent = subject.agent(&lab, node, &instances)?;
            agent.run_below_init();
            Ok(agent)
        };
        let mut agents = [agent(NODES[0])?, agent(NODES[1])?];
        let start = WallTime::now();
        agents[0].start()?;
        wait_until("a master", SOON, || capture.has(start, |frame| frame.claims_mastership(NODES[0])))?;
        agents[1].start()?;
        Ok(Self { client: Client::start(&lab)?, agents, capture, interval, _lab: lab })
    }

    fn play(&mut self, fault: Fault, point: u32) -> Result<[Figure; 4]> {
        let master = self.settle()?;
        // Waits for a random fraction of an interval, so that faults occur at any phase of the
        // interval.
        let phase = WallTime::now().as_nanos() % 1000;
        thread::sleep(self.interval.mul_f64(f64::from(u32::try_from(phase)?) / 1000.0));
        let time = WallTime::now();
        fault.strike(&mut self.agents[master])?;
        let (old, new) = (NODES[master], NODES[1 - master]);
        wait_until("the backup to take over", SOON, || {
            self.capture.has(time, |frame| frame.claims_mastership(new))
        })?;
        // Observe long enough for the new master's first adverts and late answers from the old
        // master.
        thread::sleep(Duration::from_millis(500) + self.interval / 2);
        let episode = Episode { old, new, start: time.before(BEFORE), fault: time, end: WallTime::now() };
        let outcome = episode.judge(&self.capture.filter_map(episode.start, Sign::in_frame))?;
        let at = f64::from(point % 10_000);
        Ok([
            Figure::new(Metric::LateAnswers, outcome.late.into()).with_timeline(outcome.timeline),
            Figure::new(Metric::BothAnswer, outcome.both),
            Figure::new(Metric::AnswerGap, outcome.gap),
            Figure::new(Metric::TakeoverDelay, outcome.takeover),
        ]
        .map(|figure| figure.at(point, at)))
    }

    /// Waits until one node is master, and returns its index. A node counts as master once it has
    /// sent at least two adverts and answered the client within the last two and a half intervals
    /// (at least `BEFORE`), and the other node has done neither in this time.
    fn settle(&self) -> Result<usize> {
        let start = WallTime::now();
        let mut master = None;
        wait_until("one master", SOON, || {
            let now = WallTime::now();
            let since = now.before(BEFORE.max(self.interval * 5 / 2));
            if since < start {
                return false;
            }
            let signs = self.capture.filter_map(since, Sign::in_frame);
            let adverts: Vec<_> = signs.iter().filter(|sign| sign.kind == Kind::Advert).collect();
            let Some(first) = adverts.first() else { return false };
            master = NODES.iter().position(|node| *node == first.from);
            let is_alone = |sign: &Sign| sign.from == first.from || sign.kind == Kind::Request;
            adverts.len() >= 2
                && signs.iter().any(|sign| sign.kind == Kind::Answer)
                && signs.iter().all(is_alone)
        })?;
        master.context("no node is master")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_have_names() {
        assert_eq!(point_name(point(Fault::Kill, 10)), "SIGKILL at 10 ms");
        assert_eq!(point_name(point(Fault::KillAll, 1000)), "SIGKILL to all at 1 s");
        assert_eq!(parse_point("SIGABRT at 100 ms").unwrap(), point(Fault::Abort, 100));
        let error = parse_point("SIGKILL").unwrap_err().to_string();
        assert!(error.contains("SIGKILL to all at 10 ms"), "{error}");
    }

    #[test]
    fn skew_time_matches_rfc_9568() {
        use vipd_tests::protocol::{Version, skew_time};
        let skew = skew_time(Version::V3, Duration::from_secs(1), PRIORITY);
        assert!((SKEW - vipd_tests::time::millis(skew)).abs() < 1e-6);
    }
}

//! Determines from the captured frames alone when each node used the VIP.

use std::time::Duration;

use anyhow::{Context, Result};
use vipd_tests::client::{is_answer, is_request, uses_vip};
use vipd_tests::frame::Frame;
use vipd_tests::station::Station;
use vipd_tests::time::{WallTime, millis};

use crate::figure::Timeline;

/// Period after the new master's first advert in which frames from the old master count as still in
/// flight.
const IN_FLIGHT: Duration = Duration::from_millis(1);
/// Two uses of the VIP belong to the same span of a timeline if the client waited no longer than
/// this for the second.
const UNINTERRUPTED: Duration = Duration::from_millis(10);

/// A frame by which a node claims mastership or uses the VIP, or a client's request for the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sign {
    pub(super) time: WallTime,
    pub(super) from: Station,
    pub(super) kind: Kind,
}

/// The kind of a [`Sign`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An advert, but not a priority-0 advert.
    Advert,
    /// A request from the client to all nodes.
    Request,
    /// An answer to the client.
    Answer,
    /// A gratuitous ARP, or an ARP request with the VIP as its source.
    Announcement,
}

impl Sign {
    /// Interprets a frame; returns `None` if the frame has no [`Kind`].
    pub(super) fn in_frame(frame: &Frame) -> Option<Self> {
        let kind = if frame.claims_mastership(frame.from) {
            Kind::Advert
        } else if is_request(frame) {
            Kind::Request
        } else if is_answer(frame) {
            Kind::Answer
        } else if uses_vip(frame) {
            Kind::Announcement
        } else {
            return None;
        };
        Some(Self { time: frame.time, from: frame.from, kind })
    }
}

/// A fault of the old master, and the observed period.
#[derive(Debug, Clone, Copy)]
pub(super) struct Episode {
    pub(super) old: Station,
    pub(super) new: Station,
    /// Start of the observation, while the old master is healthy.
    pub(super) start: WallTime,
    pub(super) fault: WallTime,
    pub(super) end: WallTime,
}

/// The result of an episode; times are in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    /// Number of the old master's frames that used the VIP more than [`IN_FLIGHT`] after the new
    /// master's first advert.
    pub(super) late: u32,
    /// Time from the new master's first use of the VIP to the last of these frames; 0 if there are
    /// no such frames, or if the new master did not use the VIP before the last of them.
    pub(super) both: f64,
    /// Longest time from a request to the next answer from any node or, after the last answer, to
    /// the end of the observation.
    pub(super) gap: f64,
    /// Time from the fault to the new master's first advert.
    pub(super) takeover: f64,
    pub(super) timeline: Timeline,
}

impl Episode {
    /// Evaluates the signs of the episode, which must be in chronological order.
    ///
    /// # Errors
    /// Returns an error if the new master sent no adverts from the fault to the end.
    pub(super) fn judge(&self, signs: &[Sign]) -> Result<Outcome> {
        let times = |wanted: &dyn Fn(&Sign) -> bool| {
            let signs = signs.iter().filter(|sign| sign.time >= self.start && sign.time <= self.end);
            signs.filter(|sign| wanted(sign)).map(|sign| sign.time).collect::<Vec<_>>()
        };
        let of = |node| times(&|sign| sign.from == node && sign.kind.uses_vip());
        let (old, new) = (of(self.old), of(self.new));
        // Ignore adverts before the fault: both nodes may have been masters then.
        let takes_over = |sign: &Sign| sign.from == self.new && sign.kind == Kind::Advert;
        let adverts = times(&|sign| takes_over(sign) && sign.time >= self.fault);
        let takeover = *adverts.first().context("the backup has not taken over")?;
        let late: Vec<_> = old.iter().filter(|time| **time > takeover + IN_FLIGHT).collect();
        let both = late.last().zip(new.first()).map_or(0.0, |(last, first)| last.millis_since(*first));
        let requests = times(&|sign| sign.kind == Kind::Request);
        let mut answers = times(&|sign| sign.kind == Kind::Answer);
        answers.push(self.end);
        let previous = [self.start].into_iter().chain(answers.iter().copied());
        let waits = previous.zip(&answers).map(|(previous, answer)| waited(&requests, previous, *answer));
        Ok(Outcome {
            late: u32::try_from(late.len())?,
            both: both.max(0.0),
            gap: millis(waits.max().unwrap_or_default()),
            takeover: takeover.millis_since(self.fault),
            timeline: Timeline {
                old: self.spans(&old, &requests),
                new: self.spans(&new, &requests),
                takeover: takeover.millis_since(self.fault),
                end: self.end.millis_since(self.fault),
            },
        })
    }

    /// Returns the spans in which a node used the VIP without a gap, in milliseconds after the
    /// fault. `times` are the times at which the node used the VIP.
    fn spans(&self, times: &[WallTime], requests: &[WallTime]) -> Vec<(f64, f64)> {
        let groups = times.chunk_by(|one, next| waited(requests, *one, *next) <= UNINTERRUPTED);
        let ends = groups.filter_map(|group| Some((*group.first()?, *group.last()?)));
        ends.map(|(first, last)| (first.millis_since(self.fault), last.millis_since(self.fault))).collect()
    }
}

/// Returns how long the client waited for `answer`: the time since its first request after the
/// `previous` answer. Excludes periods in which the client was not scheduled and sent no requests.
fn waited(requests: &[WallTime], previous: WallTime, answer: WallTime) -> Duration {
    let request = requests.get(requests.partition_point(|request| *request <= previous));
    request.map_or(Duration::ZERO, |request| answer.saturating_since(*request))
}

impl Kind {
    fn uses_vip(self) -> bool {
        matches!(self, Self::Answer | Self::Announcement)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: Station = Station::Node(2);
    const NEW: Station = Station::Node(1);

    fn at(millis: i64) -> WallTime {
        WallTime::from_parts(1, millis * 1_000_000)
    }

    fn signs(from: Station, kind: Kind, times: impl IntoIterator<Item = i64>) -> Vec<Sign> {
        times.into_iter().map(|time| Sign { time: at(time), from, kind }).collect()
    }

    /// Evaluates these signs together with a client's requests, which are sent every 2 ms. The
    /// fault is at 100 ms.
    fn judge(groups: &[Vec<Sign>]) -> Result<Outcome> {
        let mut all = groups.concat();
        all.extend(signs(Station::Client, Kind::Request, (1..300).step_by(2)));
        all.sort_by_key(|sign| sign.time);
        let episode = Episode { old: OLD, new: NEW, start: at(50), fault: at(100), end: at(300) };
        episode.judge(&all)
    }

    /// Returns the new master's signs of a takeover at 140 ms.
    fn takeover() -> Vec<Sign> {
        let groups = [
            signs(NEW, Kind::Advert, (140..300).step_by(10)),
            signs(NEW, Kind::Announcement, [141]),
            signs(NEW, Kind::Answer, (142..=300).step_by(2)),
        ];
        groups.concat()
    }

    #[test]
    fn answers_until_the_takeover_are_not_late() {
        // The answer at 141 ms was in flight when the advert arrived.
        let old = signs(OLD, Kind::Answer, (0..140).step_by(2).chain([141]));
        let outcome = judge(&[takeover(), old]).unwrap();
        assert_eq!((outcome.late, outcome.both, outcome.gap, outcome.takeover), (0, 0.0, 2.0, 40.0));
        assert_eq!(outcome.timeline.old, [(-50.0, 41.0)]);
        assert_eq!(outcome.timeline.new, [(41.0, 200.0)]);
        assert_eq!((outcome.timeline.takeover, outcome.timeline.end), (40.0, 200.0));
    }

    #[test]
    fn all_uses_of_the_vip_after_the_takeover_are_late() {
        let groups = [
            takeover(),
            signs(OLD, Kind::Answer, (0..=161).step_by(2)),
            signs(OLD, Kind::Announcement, [241]),
            // Adverts of the old master do not use the VIP.
            signs(OLD, Kind::Advert, [250]),
        ];
        let outcome = judge(&groups).unwrap();
        // Answers from 142 to 160 ms, and the announcement.
        assert_eq!((outcome.late, outcome.both), (11, 100.0));
        assert_eq!(outcome.timeline.old, [(-50.0, 60.0), (141.0, 141.0)]);
    }

    #[test]
    fn takeover_follows_the_fault_even_if_both_were_masters_before() {
        let groups =
            [signs(NEW, Kind::Advert, [60, 70]), takeover(), signs(OLD, Kind::Answer, (0..140).step_by(2))];
        let outcome = judge(&groups).unwrap();
        assert_eq!((outcome.late, outcome.takeover), (0, 40.0));
    }

    #[test]
    fn gap_ends_with_the_first_answer_from_any_node() {
        let old = signs(OLD, Kind::Answer, (0..104).step_by(2));
        let outcome = judge(&[takeover(), old]).unwrap();
        assert_eq!(
            (outcome.late, outcome.gap),
            (0, 39.0),
            "the gap begins at the request at 103 ms; announcements are not answers"
        );
        let silent = judge(&[signs(NEW, Kind::Advert, [140])]).unwrap();
        assert_eq!((silent.late, silent.gap), (0, 249.0), "without answers, the gap lasts until the end");
    }

    #[test]
    fn time_without_requests_is_not_a_gap() {
        let requests = [at(10), at(60)];
        assert_eq!(waited(&requests, at(12), at(61)), Duration::from_millis(1));
        assert_eq!(waited(&requests, at(61), at(90)), Duration::ZERO);
    }

    #[test]
    fn missing_takeover_is_an_error() {
        assert!(judge(&[signs(OLD, Kind::Answer, [60])]).is_err());
    }
}

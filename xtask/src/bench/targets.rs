//! What vipd must reach, and whether it does.

use super::results::Results;
use super::scenario::{Scenario, Who};

/// What a figure may be at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    /// This.
    AtMost(f64),
    /// This part of keepalived's.
    OfKeepalived(f64),
    /// Anything: it stands beside another one.
    None,
}

/// A figure and its limit.
pub(super) struct Target {
    /// What it is called in the list of reasons.
    pub(super) key: &'static str,
    /// What it is.
    pub(super) what: &'static str,
    /// In what.
    pub(super) unit: &'static str,
    /// An agent's.
    of: fn(&Results, Who) -> Option<f64>,
    /// What the kernel alone takes, or what no program can be under.
    floor: fn(&Results) -> Option<f64>,
    /// What that is.
    pub(super) floor_is: &'static str,
    /// At most.
    limit: Limit,
}

/// A target that was measured.
pub(super) struct Verdict {
    /// What was to be reached.
    pub(super) target: &'static Target,
    /// keepalived's figure.
    pub(super) keepalived: Option<f64>,
    /// The floor here.
    pub(super) floor: Option<f64>,
    /// What vipd may have; `None` for anything.
    pub(super) limit: Option<f64>,
    /// What it has, if it got there at all.
    pub(super) vipd: Option<f64>,
}

impl Verdict {
    /// Whether vipd keeps the limit.
    pub(super) fn is_reached(&self) -> bool {
        self.limit.is_none_or(|limit| self.vipd.is_some_and(|vipd| vipd <= limit))
    }
}

/// Verdicts over what was measured. What was not has none, unless everything was to be: then a figure that is missing is a
/// target missed.
pub(super) fn judge(results: &Results) -> Vec<Verdict> {
    let whole = results.is_whole();
    let verdict = |target: &'static Target| {
        let vipd = (target.of)(results, Who::Vipd);
        let keepalived = (target.of)(results, Who::Keepalived);
        let limit = match (target.limit, keepalived) {
            (Limit::AtMost(limit), _) => Some(limit),
            (Limit::OfKeepalived(part), Some(keepalived)) => Some(part * keepalived),
            (Limit::OfKeepalived(_), None) if whole => Some(0.0),
            (Limit::OfKeepalived(_), None) => return None,
            (Limit::None, _) => None,
        };
        if vipd.is_none() && !whole {
            return None;
        }
        Some(Verdict { target, keepalived, floor: (target.floor)(results), limit, vipd })
    };
    TARGETS.iter().filter_map(verdict).collect()
}

/// How many times the greater load takes of the smaller one's processor.
fn growth(small: Option<f64>, great: Option<f64>) -> Option<f64> {
    Some(great? / small?)
}

/// What a valid advert costs at most, by what it says.
fn valid_in_xdp(results: &Results) -> Option<f64> {
    let column = results.column(Scenario::Xdp, Who::Vipd).iter();
    let valid = column.filter(|series| series.name.starts_with("a valid advert"));
    valid.filter_map(|series| Some(series.spread()?.median)).max_by(f64::total_cmp)
}

const SHARE: &str = "process, of one core";

/// All of them.
const TARGETS: [Target; 19] = [
    Target {
        key: "backup",
        what: "backup, 255 virtual routers at 10 ms: process CPU per advert",
        unit: "µs",
        of: |results, who| {
            results.median(Scenario::Backup, who, "255 virtual routers: process CPU per advert")
        },
        floor: |results| Some(valid_in_xdp(results)? / 1e3),
        floor_is: "XDP, in no process",
        limit: Limit::AtMost(0.3),
    },
    Target {
        key: "machine",
        what: "the same: CPU of all the machine per advert",
        unit: "µs",
        of: |results, who| results.median(Scenario::Machine, who, "machine CPU per advert"),
        floor: |results| results.median(Scenario::Machine, Who::Vipd, WITHOUT),
        floor_is: "without an agent",
        limit: Limit::OfKeepalived(1.0 / 3.0),
    },
    Target {
        key: "adds",
        what: "beside it, what a backup of 255 adds to the machine per advert",
        unit: "µs",
        of: |results, who| results.median(Scenario::Machine, who, "what the agent adds to the machine"),
        floor: |_| None,
        floor_is: "",
        limit: Limit::None,
    },
    Target {
        key: "growth",
        what: "from 25 to 255 virtual routers at 10 ms: process CPU grows",
        unit: "×",
        of: |results, who| {
            let of =
                |count| results.median(Scenario::Backup, who, &format!("{count} virtual routers: {SHARE}"));
            growth(of(25), of(255))
        },
        floor: |_| Some(1.0),
        floor_is: "flat",
        limit: Limit::AtMost(2.0),
    },
    Target {
        key: "faster",
        what: "from 100 ms to 10 ms with 255 virtual routers, ten times the deadlines too: it grows",
        unit: "×",
        of: |results, who| {
            let fast = results.median(Scenario::Backup, who, &format!("255 virtual routers: {SHARE}"));
            growth(results.median(Scenario::Slow, who, SHARE), fast)
        },
        floor: |_| None,
        floor_is: "",
        limit: Limit::AtMost(2.0),
    },
    Target {
        key: "master",
        what: "master, 255 virtual routers at 10 ms: process CPU per advert sent",
        unit: "µs",
        of: |results, who| results.median(Scenario::Master, who, "process CPU per advert sent"),
        floor: |results| {
            results.median(Scenario::Floors, Who::Kernel, "CPU per advert sent: sendmmsg of 64 a call")
        },
        floor_is: "sendmmsg",
        limit: Limit::AtMost(8.0),
    },
    Target {
        key: "spacing",
        what: "the same: spacing off the interval, p99.9",
        unit: "ms",
        of: |results, who| results.median(Scenario::Master, who, "spacing off the interval, p99.9"),
        floor: |_| None,
        floor_is: "",
        limit: Limit::AtMost(0.5),
    },
    Target {
        key: "garp",
        what: "first GARP after the first advert, 1 address, median",
        unit: "ms",
        of: |results, who| results.median(Scenario::One, who, "first GARP after the first advert"),
        floor: |results| {
            results.median(Scenario::Floors, Who::Kernel, "one address over netlink, one GARP sent")
        },
        floor_is: "netlink, one send",
        limit: Limit::AtMost(0.2),
    },
    Target {
        key: "addresses",
        what: "100 addresses of one virtual router: the last one announced after the deadline",
        unit: "ms",
        of: |results, who| results.median(Scenario::Addresses, who, LAST),
        floor: |results| {
            results.median(Scenario::Floors, Who::Kernel, "100 addresses over netlink and their GARPs")
        },
        floor_is: "netlink, sendmmsg",
        limit: Limit::AtMost(1.0),
    },
    Target {
        key: "cut",
        what: "link cut with 255 virtual routers at 10 ms: the last address announced after its deadline",
        unit: "ms",
        of: |results, who| results.median(Scenario::Cut, who, LAST),
        floor: |_| None,
        floor_is: "",
        limit: Limit::AtMost(15.0),
    },
    Target {
        key: "silence",
        what: "the same: longest silence of the new master in 6 s",
        unit: "ms",
        of: |results, who| results.median(Scenario::Cut, who, "longest silence of the new master"),
        floor: |_| Some(10.0),
        floor_is: "the interval",
        limit: Limit::AtMost(20.0),
    },
    Target {
        key: "takeovers",
        what: "junk against a healthy pair at 10 ms: false takeovers at the worst rate",
        unit: "",
        of: |results, who| results.worst(Scenario::Flood, who, "false takeovers"),
        floor: |_| Some(0.0),
        floor_is: "none",
        limit: Limit::AtMost(0.0),
    },
    Target {
        key: "stray",
        what: "the same: stray GARPs at the worst rate",
        unit: "",
        of: |results, who| results.worst(Scenario::Flood, who, "stray GARPs"),
        floor: |_| Some(0.0),
        floor_is: "none",
        limit: Limit::AtMost(0.0),
    },
    Target {
        key: "late",
        what: "the same: longest gap between adverts of the true master at the worst rate",
        unit: "ms",
        of: |results, who| results.worst(Scenario::Flood, who, "longest gap between adverts of the master"),
        floor: |_| Some(10.0),
        floor_is: "the interval",
        limit: Limit::AtMost(20.0),
    },
    Target {
        key: "start",
        what: "4,080 virtual routers at 100 ms: from the start until all are backups",
        unit: "ms",
        of: |results, who| {
            results.median(Scenario::Many, who, "4,080 virtual routers: from its start until all are backups")
        },
        floor: |_| None,
        floor_is: "",
        limit: Limit::AtMost(2000.0),
    },
    Target {
        key: "steady",
        what: "the same: false takeovers",
        unit: "",
        of: |results, who| results.worst(Scenario::Many, who, "false takeovers"),
        floor: |_| Some(0.0),
        floor_is: "none",
        limit: Limit::AtMost(0.0),
    },
    Target {
        key: "memory",
        what: "the same: resident memory as master",
        unit: "MB",
        of: |results, who| results.median(Scenario::Many, who, "memory (VmRSS)"),
        floor: |_| None,
        floor_is: "",
        limit: Limit::AtMost(40.0),
    },
    Target {
        key: "foreign",
        what: "what XDP adds to a packet that is no advert",
        unit: "ns",
        of: |results, who| results.median(Scenario::Xdp, who, "what vipd adds to it"),
        floor: |_| Some(0.0),
        floor_is: "an empty program",
        limit: Limit::AtMost(15.0),
    },
    Target {
        key: "valid",
        what: "a valid advert in XDP, the dearer kind",
        unit: "ns",
        of: |results, who| valid_in_xdp(results).filter(|_| who == Who::Vipd),
        floor: |results| {
            results.median(Scenario::Xdp, Who::Vipd, "a foreign packet, passed by an empty program")
        },
        floor_is: "an empty program",
        limit: Limit::AtMost(250.0),
    },
];

const WITHOUT: &str = "of that without an agent: generator, veth";
const LAST: &str = "last address announced after its deadline";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::results::Measured;
    use clap::ValueEnum as _;
    use vipd_tests::bench::Figure;

    fn measured(scenario: Scenario, figures: &[(Who, &str, f64)]) -> Results {
        let mut measured = Measured::new(scenario);
        for (who, name, value) in figures {
            measured.add(*who, vec![Figure::new(name, "", *value)]);
        }
        Results { measured: vec![measured], ..Results::default() }
    }

    fn reached(results: &Results) -> Vec<(&'static str, bool)> {
        judge(results).iter().map(|verdict| (verdict.target.key, verdict.is_reached())).collect()
    }

    #[test]
    fn what_was_not_measured_is_not_judged() {
        assert!(judge(&Results::default()).is_empty());
        let cut = measured(Scenario::Cut, &[(Who::Vipd, LAST, 15.0)]);
        assert_eq!(reached(&cut), [("cut", true)]);
        let cut = measured(Scenario::Cut, &[(Who::Vipd, LAST, 15.1), (Who::Keepalived, LAST, 269.0)]);
        assert_eq!(reached(&cut), [("cut", false)]);
    }

    #[test]
    fn where_all_was_to_be_measured_what_is_missing_is_missed() {
        let all = Scenario::value_variants().iter().copied().map(Measured::new);
        let verdicts = judge(&Results { measured: all.collect(), ..Results::default() });
        assert_eq!(verdicts.len(), TARGETS.len());
        assert!(verdicts.iter().all(|verdict| verdict.limit.is_none() || !verdict.is_reached()));
    }

    #[test]
    fn a_part_of_keepalived_needs_keepalived() {
        let name = "machine CPU per advert";
        let alone = measured(Scenario::Machine, &[(Who::Vipd, name, 3.0)]);
        assert!(judge(&alone).is_empty());
        let both = measured(Scenario::Machine, &[(Who::Vipd, name, 3.0), (Who::Keepalived, name, 10.0)]);
        assert_eq!(reached(&both), [("machine", true)]);
        let both = measured(Scenario::Machine, &[(Who::Vipd, name, 4.0), (Who::Keepalived, name, 10.0)]);
        assert_eq!(reached(&both), [("machine", false)]);
    }

    #[test]
    fn one_false_takeover_at_one_rate_is_one_too_many() {
        let mut flood = Measured::new(Scenario::Flood);
        for (point, takeovers) in [("4,000", 0.0), ("4,000", 1.0), ("16,000", 0.0)] {
            flood.add(Who::Vipd, vec![Figure::new("false takeovers", "", takeovers).at(point, 1.0)]);
        }
        assert_eq!(reached(&Results { measured: vec![flood], ..Results::default() }), [("takeovers", false)]);
    }

    #[test]
    fn cost_is_held_against_load() {
        let name = |count: u8| format!("{count} virtual routers: {SHARE}");
        let (few, all) = (name(25), name(255));
        let backup = measured(Scenario::Backup, &[(Who::Vipd, &few, 0.2), (Who::Vipd, &all, 0.5)]);
        assert_eq!(reached(&backup), [("growth", false)]);
    }
}

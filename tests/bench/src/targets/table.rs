//! The table of targets.

use super::Floor::{Fixed, Measured, Unknown};
use super::Limit::{AtLeast, AtMost, OfKeepalived, Unlimited};
use super::Reading::{At, Greatest, Median, Ratio, Worst, WorstAt};
use super::{Reading, Target};
use crate::measure::owners::{Fault, SKEW, point};
use crate::metric::Metric;
use crate::scenario::Scenario::{
    Addresses, Backup, Check, Cut, Flood, Floors, Foreign, Machine, Many, Master, Notify, One, Owners,
    Reload, Slow, Upgrade, Xdp,
};
use crate::scenario::{ALL, COUNTS, MOST};
use crate::subject::Who;

const MOST_ROUTERS: u32 = ALL as u32;
const VALID: Reading = Greatest(&[Median(Xdp, Metric::XdpNew), Median(Xdp, Metric::XdpUnchanged)]);
const SHARE: Reading = At(Backup, Metric::ProcessShare, MOST_ROUTERS);
const FEW_SHARE: Reading = At(Backup, Metric::ProcessShare, COUNTS[0] as u32);
const SLOW_SHARE: Reading = Median(Slow, Metric::ProcessShare);

macro_rules! targets {
    ($($key:literal $title:literal $unit:literal $of:expr, $floor:expr, $limit:expr;)*) => {
        &[$(Target { key: $key, title: $title, unit: $unit, of: $of, floor: $floor, limit: $limit },)*]
    };
}

/// All targets: key, title, unit, reading, floor, limit.
pub(super) const TARGETS: &[Target] = targets! {
    "backup" "backup, 255 virtual routers at 10 ms: process CPU per advert" "µs"
        At(Backup, Metric::ProcessPerAdvert, MOST_ROUTERS),
        Measured(Who::Vipd, VALID, 1e-3, "XDP program, outside the process"), AtMost(0.3);
    "machine" "backup, 255 virtual routers at 10 ms: machine CPU per advert" "µs"
        Median(Machine, Metric::MachinePerAdvert),
        Measured(Who::Vipd, Median(Machine, Metric::MachineWithoutAgent), 1.0, "without an agent"),
        OfKeepalived(1.0 / 3.0);
    "adds" "backup, 255 virtual routers at 10 ms: machine CPU per advert added by the agent" "µs"
        Median(Machine, Metric::MachineAdded), Unknown, Unlimited;
    "growth" "backup at 10 ms: growth of process CPU from 25 to 255 virtual routers" "×"
        Ratio(&SHARE, &FEW_SHARE), Fixed(1.0, "constant"), AtMost(2.0);
    "faster" "backup, 255 virtual routers: growth of process CPU from 100 ms to 10 ms" "×"
        Ratio(&SHARE, &SLOW_SHARE), Unknown, AtMost(2.0);
    "master" "master, 255 virtual routers at 10 ms: process CPU per advert sent" "µs"
        Median(Master, Metric::ProcessPerAdvertSent),
        Measured(Who::Kernel, Median(Floors, Metric::SendFloor), 1.0, "sendmmsg"), AtMost(8.0);
    "spacing" "master, 255 virtual routers at 10 ms: deviation of advert spacing, p99.9" "ms"
        Median(Master, Metric::SpacingP999), Unknown, AtMost(0.5);
    "garp" "link cut, 1 virtual router at 10 ms: first GARP after the first advert" "ms"
        Median(One, Metric::GarpAfterAdvert),
        Measured(Who::Kernel, Median(Floors, Metric::TakeoverFloor), 1.0, "netlink, one send"), AtMost(0.2);
    "addresses" "link cut, 100 addresses at 10 ms: time from the deadline to the last announcement" "ms"
        Median(Addresses, Metric::LastAnnounced),
        Measured(Who::Kernel, Median(Floors, Metric::TakeoversFloor), 1.0, "netlink, sendmmsg"), AtMost(1.0);
    "cut" "link cut, 255 virtual routers at 10 ms: longest time from a deadline to its announcement" "ms"
        Median(Cut, Metric::LastAnnounced), Unknown, AtMost(15.0);
    "silence" "link cut, 255 virtual routers at 10 ms: longest gap between adverts of the new master" "ms"
        Median(Cut, Metric::LongestSilence), Fixed(10.0, "interval"), AtMost(20.0);
    "takeovers" "flood against a pair at 10 ms: false takeovers at the worst rate" ""
        Worst(Flood, Metric::FalseTakeovers), Fixed(0.0, ""), AtMost(0.0);
    "stray" "flood against a pair at 10 ms: stray GARPs at the worst rate" ""
        Worst(Flood, Metric::StrayGarps), Fixed(0.0, ""), AtMost(0.0);
    "late" "flood against a pair at 10 ms: longest gap between adverts at the worst rate" "ms"
        Worst(Flood, Metric::MasterGap), Fixed(10.0, "interval"), AtMost(20.0);
    "reload" "100 reloads, 255 virtual routers at 10 ms: longest gap between adverts of unchanged routers" "ms"
        Median(Reload, Metric::ReloadGap), Fixed(10.0, "interval"), AtMost(20.0);
    "reloads" "100 reloads, 255 virtual routers at 10 ms: takeovers and priority-0 adverts of unchanged routers" ""
        Median(Reload, Metric::ReloadTakeovers), Fixed(0.0, ""), AtMost(0.0);
    "upgrade" "100 upgrades each of master and backup, 255 virtual routers at 10 ms: longest gap between adverts" "ms"
        Worst(Upgrade, Metric::UpgradeGap), Fixed(10.0, "interval"), AtMost(20.0);
    "transitions" "100 upgrades each of master and backup: state changes and unexpected adverts" ""
        Worst(Upgrade, Metric::UpgradeTransitions), Fixed(0.0, ""), AtMost(0.0);
    "counts" "100 upgrades each of master and backup: adverts not counted, or counted twice" ""
        Worst(Upgrade, Metric::UpgradeLost), Fixed(0.0, ""), AtMost(0.0);
    "notified" "link cut, 255 virtual routers at 10 ms: time until all notification commands have run" "ms"
        Median(Notify, Metric::NotifyTime), Unknown, OfKeepalived(1.0);
    "notifications" "link cut, 255 virtual routers at 10 ms: notifications lost" ""
        Median(Notify, Metric::NotifyMissing), Fixed(0.0, ""), AtMost(0.0);
    "check" "255 virtual routers at 10 ms with a check that hangs: longest gap between adverts" "ms"
        Median(Check, Metric::CheckGap), Fixed(10.0, "interval"), AtMost(20.0);
    "owners" "signals to the master at 10 ms to 1 s: its answers after the takeover, maximum of all runs" ""
        Worst(Owners, Metric::LateAnswers), Fixed(0.0, ""), AtMost(0.0);
    "guardian" "SIGKILL to the master, 1 virtual router at 1 s: longest takeover after the signal" "ms"
        WorstAt(Owners, Metric::TakeoverDelay, point(Fault::Kill, 1000)), Fixed(SKEW, "Skew_Time"), AtMost(SKEW + 5.0);
    "start" "4,080 virtual routers at 100 ms: time from start until all are backups" "ms"
        At(Many, Metric::Start, MOST), Unknown, AtMost(2000.0);
    "steady" "4,080 virtual routers at 100 ms: false takeovers" ""
        Worst(Many, Metric::FalseTakeovers), Fixed(0.0, ""), AtMost(0.0);
    "memory" "4,080 virtual routers at 100 ms: resident memory as master" "MB"
        Median(Many, Metric::Memory), Unknown, AtMost(40.0);
    "throughput" "TCP throughput into the node, default XDP mode, compared with no agent" "%"
        Median(Foreign, Metric::ThroughputKept), Fixed(100.0, "no agent"), AtLeast(97.0);
    "round-trips" "TCP round trips to the node, default XDP mode, compared with no agent" "%"
        Median(Foreign, Metric::RoundTripsKept), Fixed(100.0, "no agent"), AtLeast(97.0);
    "foreign" "XDP program: time added to a packet that is not VRRP" "ns"
        Median(Xdp, Metric::XdpAdded), Fixed(0.0, "empty program"), AtMost(15.0);
    "fence" "fence at egress: time added to a sent packet while nothing is fenced" "ns"
        Median(Xdp, Metric::FenceAdded), Fixed(0.0, "empty program"), AtMost(10.0);
    "valid" "XDP program: time for a valid advert" "ns"
        VALID, Measured(Who::Vipd, Median(Xdp, Metric::XdpEmpty), 1.0, "empty program"), AtMost(250.0);
};

//! All metrics, with their keys, units and titles.

use std::fmt;

macro_rules! metrics {
    ($($name:ident $key:literal $unit:literal $title:literal $(($kind:ident))?;)*) => {
        /// A measured quantity.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Metric {
            $(#[doc = $title] $name,)*
        }

        impl Metric {
            /// All metrics.
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)*];

            /// Returns the key used in JSON, which is stable across versions.
            pub(crate) fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }

            /// Returns the unit; empty for counts.
            pub(crate) fn unit(self) -> &'static str {
                match self { $(Self::$name => $unit,)* }
            }

            /// Returns whether the metric is a CPU cost of the program. If the scenario measures
            /// another build of vipd, such metrics are checked for regressions.
            pub(crate) fn is_cpu(self) -> bool {
                match self { $(Self::$name => metrics!(@cpu $($kind)?),)* }
            }
        }

        impl fmt::Display for Metric {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $title,)* })
            }
        }
    };
    (@cpu cpu) => { true };
    (@cpu) => { false };
}

metrics! {
    ProcessPerAdvert "process-per-advert" "µs" "process CPU per advert received" (cpu);
    ProcessPerAdvertSent "process-per-advert-sent" "µs" "process CPU per advert sent" (cpu);
    ProcessShare "process-share" "%" "process CPU, share of one core" (cpu);
    MachinePerAdvert "machine-per-advert" "µs" "machine CPU per advert";
    MachineWithoutAgent "machine-without-agent" "µs" "machine CPU per advert without an agent: generator and veth";
    GeneratorPerAdvert "generator-per-advert" "µs" "CPU of the generator's thread per advert";
    MachineAdded "machine-added" "µs" "machine CPU per advert added by the agent" (cpu);
    SpacingP99 "spacing-p99" "ms" "deviation of advert spacing from the interval, p99";
    SpacingP999 "spacing-p999" "ms" "deviation of advert spacing from the interval, p99.9";
    FirstAdvert "first-advert" "ms" "first advert after the deadline";
    FirstGarp "first-garp" "ms" "first GARP after the deadline";
    GarpAfterAdvert "garp-after-advert" "ms" "first GARP after the first advert";
    LastAnnounced "last-announced" "ms" "time from the deadline to the last announcement";
    LongestSilence "longest-silence" "ms" "longest gap between adverts of the new master";
    FloodRate "flood-rate" "/s" "actual flood rate, adverts per second";
    FalseTakeovers "false-takeovers" "" "false takeovers";
    StrayGarps "stray-garps" "" "stray GARPs";
    BackupGarps "backup-garps" "" "stray GARPs sent by the backup";
    MasterGap "master-gap" "ms" "longest gap between adverts of the master";
    ReloadGap "reload-gap" "ms" "longest gap between adverts of unchanged routers";
    ReloadTakeovers "reload-takeovers" "" "takeovers and priority-0 adverts of unchanged routers";
    ReloadDelay "reload-delay" "ms" "from the signal to the first advert with the new priority";
    UpgradeGap "upgrade-gap" "ms" "longest gap between adverts of the master";
    UpgradeTransitions "upgrade-transitions" "" "state changes, adverts of the backup and priority-0 adverts";
    UpgradeLost "upgrade-lost" "" "adverts not counted, or counted twice";
    UpgradeTime "upgrade-time" "ms" "duration of `vipd upgrade`";
    NotifyDelay "notify-delay" "ms" "from the link cut until the notification command of an instance has run";
    NotifyTime "notify-time" "ms" "from the link cut until all notification commands have run";
    NotifyMissing "notify-missing" "" "instances whose last notification does not report Master";
    CheckGap "check-gap" "ms" "longest gap between adverts while a check hangs";
    LateAnswers "late-answers" "" "answers and announcements of the old master after the takeover";
    BothAnswer "both-answer" "ms" "time for which both nodes answer";
    AnswerGap "answer-gap" "ms" "client's longest wait for an answer";
    TakeoverDelay "takeover-delay" "ms" "takeover after the signal";
    Start "start" "ms" "time from start until all routers are backups";
    BackupShare "backup-share" "%" "process CPU as backup, share of one core" (cpu);
    MasterShare "master-share" "%" "process CPU as master, share of one core" (cpu);
    Memory "memory" "MB" "resident memory as master";
    SendFloor "send-floor" "µs" "CPU per advert sent with sendmmsg, 64 per call";
    AddressFloor "address-floor" "ms" "one address added over netlink";
    TakeoverFloor "takeover-floor" "ms" "one address added over netlink and one GARP sent";
    AddressesFloor "addresses-floor" "ms" "100 addresses added over netlink in one request";
    GarpsFloor "garps-floor" "ms" "100 GARPs sent in one sendmmsg call";
    TakeoversFloor "takeovers-floor" "ms" "100 addresses added and announced";
    XdpEmpty "xdp-empty" "ns" "non-VRRP packet, passed by an empty program";
    XdpForeign "xdp-foreign" "ns" "non-VRRP packet, passed by vipd" (cpu);
    XdpAdded "xdp-added" "ns" "non-VRRP packet, time added by vipd";
    XdpBadTtl "xdp-bad-ttl" "ns" "advert with a wrong TTL" (cpu);
    XdpBadChecksum "xdp-bad-checksum" "ns" "advert with a wrong checksum" (cpu);
    XdpNew "xdp-new" "ns" "valid advert with new content" (cpu);
    XdpLimited "xdp-limited" "ns" "valid advert from a rate-limited sender" (cpu);
    XdpUnchanged "xdp-unchanged" "ns" "valid, unchanged advert" (cpu);
    FenceSent "fence-sent" "ns" "sent packet, passed by the fence at egress (TC) while nothing is fenced" (cpu);
    FenceAdded "fence-added" "ns" "time added by the fence to a sent packet while nothing is fenced";
    FenceActiveReceived "fence-active-received" "ns" "non-VRRP packet, passed by vipd while a VIP is fenced" (cpu);
    FenceActiveSent "fence-active-sent" "ns" "sent packet, passed by the fence at egress while a VIP is fenced" (cpu);
    ThroughputWithout "throughput-without" "Gbit/s" "TCP throughput into the node without an agent";
    ThroughputWith "throughput-with" "Gbit/s" "TCP throughput into the node with an agent";
    ThroughputKept "throughput-kept" "%" "TCP throughput with an agent, relative to no agent";
    RoundTripsWithout "round-trips-without" "/s" "TCP round trips per second without an agent";
    RoundTripsWith "round-trips-with" "/s" "TCP round trips per second with an agent";
    RoundTripsKept "round-trips-kept" "%" "TCP round trips with an agent, relative to no agent";
}

#[cfg(test)]
mod tests {
    use super::Metric;

    #[test]
    fn keys_are_unique() {
        let mut keys: Vec<_> = Metric::ALL.iter().map(|metric| metric.key()).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), Metric::ALL.len());
        assert!(Metric::ProcessShare.is_cpu() && !Metric::Memory.is_cpu());
    }
}

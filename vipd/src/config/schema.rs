//! The table of configuration keys, from which messages, range checks and `docs/configuration.md`
//! are derived.
//!
//! To add a key, add a row here and the code that reads it.

use std::fmt;

use super::duration;

const SECOND: u64 = 1_000_000_000;

/// A kind of table in the file. It determines the allowed keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Section {
    /// The top of the file.
    Top,
    /// `[[instance]]`.
    Instance,
    /// `[[interface]]`.
    Interface,
    /// A virtual address given as a table.
    VirtualAddress,
    /// A unicast peer given as a table.
    Peer,
    /// `garp`.
    Garp,
    /// `[instance.hmac]`.
    Hmac,
    /// An element of `hmac.keys`.
    HmacKey,
    /// `[[script]]`.
    Script,
    /// `[[process]]`.
    Process,
    /// `[[file]]`.
    File,
    /// An element of `track`.
    Track,
    /// `[instance.notify]` or `[group.notify]`.
    Notify,
    /// The top-level `[notify]`.
    Notifications,
    /// `[control]`.
    Control,
    /// `[metrics]`.
    Metrics,
    /// `[[group]]`.
    Group,
    /// An element of `routes`.
    Route,
    /// An element of `rules`.
    Rule,
    /// An array element, which has no key of its own.
    Element,
}

/// Values that a key accepts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Boolean,
    /// Minimum and maximum, inclusive.
    Integer(u8, u8),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Minimum and maximum in nanoseconds, inclusive.
    Duration(u64, u64),
    /// Like `Duration`, but 0 is also allowed and means never.
    DurationOrNever(u64, u64),
    /// Parsed by a dedicated function; the text describes the allowed values.
    Other(&'static str),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |f: &mut fmt::Formatter<'_>, from: u64, to: u64| {
            let [from, to] = [from, to].map(duration::text);
            write!(f, "a duration as a string, from \"{from}\" to \"{to}\"")
        };
        match *self {
            Self::Boolean => f.write_str("true or false"),
            Self::Integer(from, to) => write!(f, "an integer from {from} to {to}"),
            Self::Choice([words @ .., last]) => {
                let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
                write!(f, "{} or {last:?}", words.join(", "))
            }
            Self::Choice([]) => Ok(()),
            Self::Duration(from, to) => range(f, from, to),
            Self::DurationOrNever(from, to) => {
                range(f, from, to)?;
                f.write_str(", or \"0s\" for never")
            }
            Self::Other(words) => f.write_str(words),
        }
    }
}

/// A configuration key. `Display` gives the name used in messages, such as `vrid` or `garp.repeat`.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) section: Section,
    pub(super) name: &'static str,
    pub(super) allowed: Kind,
    /// A valid value, or `…` as a placeholder for one, shown in messages.
    pub(super) example: &'static str,
    /// Default value as Markdown for the reference, or "required".
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference only"))]
    default: &'static str,
    /// Description as Markdown for the reference.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference only"))]
    doc: &'static str,
    /// Equivalent keepalived keyword.
    #[cfg_attr(not(test), expect(dead_code, reason = "for the reference only"))]
    keepalived: &'static str,
}

impl Key {
    /// Returns a valid assignment, such as `vrid = 51`, or just a value for array elements.
    pub(super) fn example(&self) -> String {
        match self.section {
            Section::Element => self.example.to_owned(),
            _ => format!("{} = {}", self.name, self.example),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.section {
            Section::Garp => "garp.",
            Section::Hmac => "hmac.",
            Section::Notify | Section::Notifications => "notify.",
            Section::Control => "control.",
            Section::Metrics => "metrics.",
            _ => "",
        };
        write!(f, "{prefix}{}", self.name)
    }
}

/// Returns the names of a table's keys in schema order.
pub(super) fn names(section: Section) -> Vec<&'static str> {
    KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect()
}

macro_rules! schema {
    ($($section:ident { $(
        $id:ident $name:literal, $allowed:expr, $default:literal, $example:literal, $doc:literal, $keepalived:literal;
    )* })*) => {
        $($(pub(super) static $id: Key = Key {
            section: Section::$section,
            name: $name,
            allowed: $allowed,
            default: $default,
            example: $example,
            doc: $doc,
            keepalived: $keepalived,
        };)*)*
        /// All keys.
        static KEYS: &[&Key] = &[$($(&$id,)*)*];
    };
}

const HOST: Kind = Kind::Other("an IPv4 or IPv6 address without a prefix length");
const INTERFACE_NAME: Kind = Kind::Other("the name of a network interface");
const DELAY: Kind = Kind::Duration(0, 1000 * SECOND);
const NAME_TEXT: Kind = Kind::Other("a string of 1 to 64 printable characters without white space");
const ARGV: Kind = Kind::Other("an array of strings: the absolute path of an executable, and its arguments");
const PATH: Kind = Kind::Other("an absolute path");
const GROUP: Kind = Kind::Other("the name of a group of users");
const LISTENER: Kind = Kind::Other("an IPv4 or IPv6 address and a port from 1 to 65535, as a string");
const USER: Kind = Kind::Other("the name of a user");
const CHECK_TIME: Kind = Kind::Duration(SECOND / 10, 86_400 * SECOND);
const NETWORK: Kind = Kind::Other("a network with its prefix length, or an IPv4 or IPv6 address");
const NUMBER: Kind = Kind::Other("an integer from 1 to 4294967295");
const XDP_MODE: Kind = Kind::Choice(&["auto", "native", "generic"]);

// Each row: id "name", allowed values, default, example, doc, keepalived keyword.
schema! {
    Top {
        REALTIME "realtime", Kind::Choice(&["auto", "off"]), "`\"auto\"`", "\"auto\"",
            "`\"auto\"` requests SCHED_FIFO and locked memory; if they are denied, the agent runs without them", "`vrrp_rt_priority`";
        XDP "xdp", XDP_MODE, "`\"auto\"`", "\"auto\"",
            "XDP mode of all interfaces; `\"auto\"` is native on drivers whose native mode is known not to affect other traffic, and TC ingress on all others (generic before Linux 6.6)", "";
        FENCE "fence", Kind::Choice(&["on", "off"]), "`\"on\"`", "\"on\"",
            "`\"on\"` makes the kernel stop using the VIPs of a dead or stopped master once another node has become master", "";
        INCLUDE "include", Kind::Other("an array of strings"), "`[]`", "[\"conf.d/*.toml\"]",
            "further files, relative to this one; `*` in a file name matches any characters, but not the names of hidden files; the files contain only arrays of tables, such as `[[instance]]`, and cannot include others", "`include`";
        INSTANCES "instance", Kind::Other("an array of tables"), "required", "…", "the virtual routers, at least one", "`vrrp_instance`";
        SCRIPTS "script", Kind::Other("an array of tables"), "none", "…", "commands whose exit status is tracked", "`vrrp_script`";
        PROCESSES "process", Kind::Other("an array of tables"), "none", "…", "programs that must run", "`vrrp_track_process`";
        FILES "file", Kind::Other("an array of tables"), "none", "…", "files with a number that changes the priority", "`vrrp_track_file`";
        GROUPS "group", Kind::Other("an array of tables"), "none", "…", "instances that are masters together or not at all", "`vrrp_sync_group`";
        NOTIFICATIONS "notify", Kind::Other("a table"), "none", "{ fifo = \"/run/vipd/notify\" }", "settings for all notifications", "";
        CONTROL "control", Kind::Other("a table"), "none", "{ read_group = \"adm\" }", "access to the control socket for users other than root", "";
        METRICS "metrics", Kind::Other("a table"), "none", "{ listen = \"127.0.0.1:9650\" }", "metrics, health and a status page over HTTP", "";
        INTERFACES "interface", Kind::Other("an array of tables"), "none", "…", "settings for individual interfaces", "";
    }
    Instance {
        NAME "name", NAME_TEXT, "required", "\"VI_1\"",
            "name in logs and reports, unique among the instances", "`vrrp_instance`";
        INTERFACE "interface", INTERFACE_NAME, "required", "\"eth1\"",
            "interface for adverts and VIPs", "`interface`";
        VRID "vrid", Kind::Integer(1, 255), "required", "51",
            "virtual router identifier, the same on all routers; an IPv4 and an IPv6 instance may share one", "`virtual_router_id`";
        VERSION "version", Kind::Other("2 or 3"), "`3`", "3",
            "3 (RFC 9568) or 2 (RFC 3768, IPv4 only)", "`version`, default 2 for IPv4";
        FAMILY "family", Kind::Choice(&["ipv4", "ipv6"]), "family of `virtual_addresses`", "\"ipv4\"",
            "needed only if `virtual_addresses` is empty; the default is then IPv4", "`native_ipv6`";
        PRIORITY "priority", Kind::Integer(1, 255), "`100`", "100",
            "the router with the highest priority becomes master; 255 is only for the owner of the addresses", "`priority`";
        ADVERT_INTERVAL "advert_interval",
            Kind::Other("a duration as a string, from \"10ms\" to \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2"),
            "`\"1s\"`", "\"1s\"", "time between adverts: a multiple of 10 ms in VRRPv3, of 1 s in VRRPv2", "`advert_int`";
        DOWN_AFTER_ADVERTS "down_after_adverts", Kind::Integer(1, 100), "`3`", "3",
            "number of missed adverts after which the master is considered down, the same on all routers", "`down_timer_adverts`";
        PREEMPT "preempt", Kind::Boolean, "`true`", "true",
            "take over from a lower-priority master", "`nopreempt` for `false`";
        PREEMPT_DELAY "preempt_delay", DELAY, "`\"0s\"`", "\"30s\"",
            "delay before a lower-priority master is preempted", "`preempt_delay`";
        STARTUP_DELAY "startup_delay", DELAY, "`\"0s\"`", "\"10s\"",
            "time for which the router stays in Initialize before its first start, counted from the time at which it could first have started", "`vrrp_startup_delay`";
        ACCEPT "accept", Kind::Boolean, "`true`", "true",
            "Accept_Mode: as master, accept packets to the VIPs; `false` drops them", "`accept`, `no_accept`";
        CHECKSUM "checksum", Kind::Choice(&["rfc5798", "rfc9568"]), "`\"rfc5798\"`", "\"rfc5798\"",
            "form of the checksum in VRRPv3 adverts sent over IPv4; both forms are accepted from others", "`v3_checksum_as_v2` for `\"rfc9568\"`";
        AUTH_PASS "auth_pass", Kind::Other("a string of 1 to 8 bytes"), "none", "\"…\"",
            "VRRPv2 password, sent in plain text", "`auth_type PASS`, `auth_pass`";
        AUTH_PASS_FILE "auth_pass_file", Kind::Other("the path of a file whose first line is a password of 1 to 8 bytes"),
            "none", "\"/etc/vipd/password\"", "file that contains the password; a relative path is relative to the directory of the configuration file", "";
        HMAC "hmac", Kind::Other("a table"), "none", "{ keys = [{ id = 1, file = \"/etc/vipd/key\" }] }",
            "keys and rules for signed adverts", "`auth_hmac`";
        VIRTUAL_MAC "virtual_mac", Kind::Boolean, "`false`", "true",
            "put the VIPs of the instance's family, except those with another `dev`, on a macvlan with the virtual router MAC, 00:00:5e:00:01:VRID (IPv6: 00:00:5e:00:02:VRID)", "`use_vmac`";
        VIRTUAL_MAC_TRANSMIT_ON_BASE "virtual_mac_transmit_on_base", Kind::Boolean, "`false`; `true` with peers", "true",
            "send adverts from the interface's own MAC", "`vmac_xmit_base`";
        SOURCE "source", HOST, "the interface's primary address", "\"192.0.2.1\"",
            "source address of multicast adverts; an address of the interface, link-local in IPv6", "`mcast_src_ip`";
        UNICAST_SOURCE "unicast_source", HOST, "required with peers", "\"192.0.2.1\"",
            "source address of unicast adverts; the peers send their adverts to this address", "`unicast_src_ip`";
        UNICAST_PEERS "unicast_peers", Kind::Other("an array of 1 to 255 peers, each a string or a table"), "none: multicast",
            "[\"192.0.2.2\"]", "send adverts to these peers and accept adverts only from them", "`unicast_peer`";
        VIRTUAL_ADDRESSES "virtual_addresses", Kind::Other("an array of up to 255 addresses, each a string or a table"),
            "required", "[\"192.0.2.10/24\"]",
            "advertised VIPs, all of one family, the same on all routers; `[]` to elect a master without advertised VIPs",
            "`virtual_ipaddress`, `no_virtual_ipaddress`";
        VIRTUAL_ADDRESSES_EXCLUDED "virtual_addresses_excluded", Kind::Other("an array of addresses, each a string or a table"),
            "`[]`", "[\"192.0.2.20/24\"]", "VIPs of either family that are not advertised", "`virtual_ipaddress_excluded`";
        TRACK "track", Kind::Other("an array of tables"), "`[]`", "[{ interface = \"eth2\", weight = -50 }]",
            "objects whose failure lowers the priority or causes a fault", "`track_interface`, `track_script`, `track_process`, `track_file`";
        ROUTES "routes", Kind::Other("an array of tables"), "`[]`", "[{ to = \"0.0.0.0/0\", via = \"192.0.2.1\", table = 100 }]",
            "routes that exist while the router is master", "`virtual_routes`";
        RULES "rules", Kind::Other("an array of tables"), "`[]`", "[{ from = \"192.0.2.10\", table = 100, priority = 100 }]",
            "policy rules that exist while the router is master", "`virtual_rules`";
        NOTIFY "notify", Kind::Other("a table"), "none", "{ any = [\"/etc/vipd/notify\"] }", "commands that run when the state changes", "`notify`, `notify_master` …";
        GARP "garp", Kind::Other("a table"), "", "{ repeat = 5 }", "settings for the announcements of VIPs", "";
    }
    Interface {
        INTERFACE_NAMED "name", INTERFACE_NAME, "required", "\"eth1\"", "an interface that is the `interface` of at least one instance", "";
        INTERFACE_XDP "xdp", XDP_MODE, "the top-level `xdp`", "\"native\"", "XDP mode of this interface", "";
    }
    VirtualAddress {
        ADDRESS "address", Kind::Other("an IPv4 or IPv6 address, with or without a prefix length"), "required", "\"192.0.2.10/24\"",
            "the VIP; the prefix length defaults to 32 or 128", "";
        DEV "dev", INTERFACE_NAME, "the instance's `interface`", "\"eth2\"", "interface to add the VIP to", "`dev`";
        LABEL "label", Kind::Other("a string of 1 to 15 bytes without white space"), "none", "\"eth1:vip\"", "address label (IPv4 only)", "`label`";
        SCOPE "scope", Kind::Choice(&["global", "link", "host"]), "`\"global\"`", "\"global\"", "address scope (IPv4 only)", "`scope`";
        BROADCAST "broadcast", Kind::Other("an IPv4 address"), "none", "\"192.0.2.255\"", "broadcast address (IPv4 only)", "`brd`";
        PREFERRED "preferred", Kind::Boolean, "`true`; `false` for an IPv6 /128", "false",
            "whether the kernel may prefer the VIP to other addresses as the source of new connections (IPv6 only); `false` sets the preferred lifetime to 0", "`preferred_lft`, default 0 for /128";
    }
    Peer {
        PEER_ADDRESS "address", HOST, "required", "\"192.0.2.2\"", "the peer's address, of the instance's family", "";
        MIN_TTL "min_ttl", Kind::Integer(1, 255), "`255`", "255",
            "minimum TTL or Hop Limit of the peer's adverts: 255 minus the number of routers in between", "`min_ttl`";
    }
    Garp {
        GARP_REPEAT "repeat", Kind::Integer(1, 255), "`5`", "5",
            "number of gratuitous ARPs or unsolicited Neighbor Advertisements per VIP at a takeover", "`garp_master_repeat`";
        GARP_DELAY "delay", DELAY, "`\"5s\"`", "\"5s\"", "delay until the VIPs are announced again; `\"0s\"` for never", "`garp_master_delay`";
        GARP_REFRESH "refresh", Kind::DurationOrNever(SECOND, 86_400 * SECOND), "`\"0s\"`", "\"60s\"",
            "interval at which a master repeats the announcements", "`garp_master_refresh`";
        GARP_REFRESH_REPEAT "refresh_repeat", Kind::Integer(1, 255), "`1`", "1", "number of packets per VIP in each refresh", "`garp_master_refresh_repeat`";
        GARP_INTERVAL "interval", Kind::Duration(0, SECOND), "`\"0s\"`", "\"1ms\"",
            "pause between packets", "`vrrp_garp_interval`, `vrrp_gna_interval`";
    }
    Hmac {
        HMAC_KEYS "keys", Kind::Other("an array of 1 to 8 tables"), "required", "[{ id = 1, file = \"/etc/vipd/key\" }]",
            "keys with which received adverts are verified; every router needs the active keys of all others", "`key`";
        HMAC_ACTIVE "active", Kind::Integer(1, 255), "the only key; required with several keys unless `mode` is `\"receive-only\"`", "1",
            "`id` of the key with which adverts are signed", "`active_key`";
        HMAC_MODE "mode", Kind::Choice(&["enforce", "permissive", "receive-only"]), "`\"enforce\"`", "\"enforce\"",
            "`\"enforce\"` signs adverts and drops adverts that are not signed; `\"permissive\"` signs adverts and accepts adverts that are not signed; `\"receive-only\"` does not sign adverts, and also accepts adverts that are not signed. All modes drop adverts with a wrong HMAC", "`mode`";
        HMAC_ANTI_REPLAY "anti_replay", Kind::Choice(&["time", "monotonic"]), "`\"time\"`", "\"time\"",
            "`\"time\"` drops adverts whose time differs from this host's clock by more than `window`, and so requires synchronized clocks; both values drop adverts that are not newer than the sender's last one", "`anti_replay`";
        HMAC_WINDOW "window", Kind::Duration(SECOND, 300 * SECOND), "3 × `advert_interval` in whole seconds, from `\"5s\"` to `\"300s\"`", "\"5s\"",
            "maximum difference of the clocks, in whole seconds", "`time_window`";
    }
    HmacKey {
        HMAC_KEY_ID "id", Kind::Integer(1, 255), "required", "1", "identifier of the key, the same on all routers, unique in the instance", "";
        HMAC_KEY_FILE "file", Kind::Other("the path of a file that contains a key of 32 to 64 bytes"), "none", "\"/etc/vipd/key\"",
            "file that contains the key, not readable by others; a relative path is relative to the directory of the configuration file", "`file:`";
        HMAC_KEY_CREDENTIAL "credential", Kind::Other("the name of a systemd credential"), "none", "\"vipd-key-1\"",
            "credential that contains the key, passed by systemd with `LoadCredential=` or `LoadCredentialEncrypted=`", "";
        HMAC_KEY_HEX "hex", Kind::Other("a string of 64 to 128 hexadecimal digits"), "none", "\"…\"", "the key itself", "`hex:`";
    }
    Script {
        SCRIPT_NAME "name", NAME_TEXT, "required", "\"haproxy\"", "name in `track` and in reports, unique among the scripts", "";
        COMMAND "command", ARGV, "required", "[\"/usr/bin/pgrep\", \"-x\", \"haproxy\"]",
            "runs without a shell; the check is up if the exit status is 0", "`script`";
        SCRIPT_INTERVAL "interval", CHECK_TIME, "`\"1s\"`", "\"2s\"", "time between the starts of two runs, longer if a run takes longer", "`interval`";
        SCRIPT_TIMEOUT "timeout", CHECK_TIME, "`interval`", "\"1s\"",
            "time after which the process group of the command is killed, and the run counts as failed", "`timeout`";
        RISE "rise", Kind::Integer(1, 255), "`1`", "2", "number of successful runs in a row after which the check is up", "`rise`";
        FALL "fall", Kind::Integer(1, 255), "`1`", "2", "number of failed runs in a row after which the check is down", "`fall`";
        SCRIPT_USER "user", USER, "the agent's user", "\"nobody\"", "user that the command runs as", "`user`";
        INITIALLY "initially", Kind::Choice(&["up", "down"]), "`\"up\"`", "\"down\"", "state at the start, until `rise` or `fall` runs in a row change it", "`init_fail` for `\"down\"`";
    }
    Process {
        PROCESS_NAME "name", NAME_TEXT, "required", "\"haproxy\"", "name in `track` and in reports, unique among the processes", "";
        EXECUTABLE "executable", PATH, "none", "\"/usr/sbin/haproxy\"", "executable of the processes; either this or `comm`", "`process`";
        COMM "comm", Kind::Other("a string of 1 to 15 bytes without `/`, line feeds and null bytes"), "none", "\"haproxy\"", "command name of the processes, as in `/proc/PID/comm`", "`process`";
        QUORUM "quorum", Kind::Integer(1, 255), "`1`", "2", "number of processes that must run", "`quorum`";
        TERMINATE_DELAY "terminate_delay", DELAY, "`\"0s\"`", "\"1s\"",
            "time for which there must be too few processes before the check changes from up to down", "`terminate_delay`";
    }
    File {
        FILE_NAME "name", NAME_TEXT, "required", "\"manual\"", "name in `track` and in reports, unique among the files", "";
        FILE_PATH "path", PATH, "required", "\"/etc/vipd/weight\"", "file that contains an integer", "`file`";
    }
    Track {
        TRACK_INTERFACE "interface", INTERFACE_NAME, "none", "\"eth2\"", "up while the interface is up and has a carrier", "`track_interface`";
        TRACK_SCRIPT "script", Kind::Other("the name of a `[[script]]`"), "none", "\"haproxy\"", "", "`track_script`";
        TRACK_PROCESS "process", Kind::Other("the name of a `[[process]]`"), "none", "\"haproxy\"", "", "`track_process`";
        TRACK_FILE "file", Kind::Other("the name of a `[[file]]`"), "none", "\"manual\"", "", "`track_file`";
        TRACK_ROUTE "route", Kind::Other("\"default\" or a network with its prefix length"), "none", "\"default\"",
            "up while the main table has this route with a usable next hop; `\"default\"` means the default route of the instance's family", "";
        WEIGHT "weight", Kind::Other("an integer from -253 to 253"), "none: a fault while the object is down; `1` for a file", "-20",
            "a negative weight is added to the priority while the object is down, a positive one while it is up; a file's number is multiplied by the weight", "`weight`";
    }
    Group {
        GROUP_NAME "name", NAME_TEXT, "required", "\"gateway\"", "name in reports, unique among the groups", "`vrrp_sync_group`";
        MEMBERS "members", Kind::Other("an array of at least 2 names of instances"), "required", "[\"WAN\", \"LAN\"]",
            "instances, each in one group only", "`group`";
        GROUP_TRACK "track", Kind::Other("an array of tables"), "`[]`", "[{ interface = \"eth2\", weight = -50 }]",
            "objects that all members track", "`track_script` …";
        GROUP_NOTIFY "notify", Kind::Other("a table"), "none", "{ any = [\"/etc/vipd/notify\"] }",
            "commands that run when the state of the group changes; the keys are those of `[instance.notify]`", "`notify`, `notify_master` …";
    }
    Notify {
        NOTIFY_MASTER "master", ARGV, "none", "[\"/etc/vipd/notify\", \"master\"]", "runs on the transition to Master", "`notify_master`";
        NOTIFY_BACKUP "backup", ARGV, "none", "[\"/etc/vipd/notify\", \"backup\"]", "runs on the transition to Backup", "`notify_backup`";
        NOTIFY_FAULT "fault", ARGV, "none", "[\"/etc/vipd/notify\", \"fault\"]", "runs on the transition to Fault", "`notify_fault`";
        NOTIFY_STOP "stop", ARGV, "none", "[\"/etc/vipd/notify\", \"stop\"]", "runs when the instance or group has stopped: when the agent shuts down, or when a reload removes it or starts the instance again", "`notify_stop`";
        NOTIFY_ANY "any", ARGV, "none", "[\"/etc/vipd/notify\"]", "runs on every transition and stop, after the specific command if there is one; keepalived's arguments are appended: `INSTANCE` or `GROUP`, the name, the state in capitals, and the priority", "`notify`";
        NOTIFY_USER "user", USER, "the agent's user", "\"nobody\"", "user that the commands run as", "`script_user`";
        NOTIFY_TIMEOUT "timeout", Kind::Duration(SECOND / 10, 3600 * SECOND), "`\"10s\"`", "\"10s\"",
            "time after which the process group of a command is killed", "";
    }
    Notifications {
        FIFO "fifo", PATH, "none", "\"/run/vipd/notify\"", "FIFO that receives a line in keepalived's format for each transition or stop of an instance or group", "`vrrp_notify_fifo`";
    }
    Control {
        READ_GROUP "read_group", GROUP, "none", "\"adm\"", "group whose members may run `status`, `stats`, `events` and `top`", "";
        ADMIN_GROUP "admin_group", GROUP, "none", "\"vipd-admin\"", "group whose members may also run `reload`, `drain`, `undrain`, `failover`, `priority` and `upgrade` (without `--exe`)", "";
    }
    Metrics {
        LISTEN "listen", LISTENER, "none: off", "\"127.0.0.1:9650\"",
            "address and port of the HTTP server for `/metrics`, `/healthz` and the status page; anyone who can connect to it can read them", "";
        KEEPALIVED_NAMES "keepalived_names", Kind::Boolean, "`false`", "true",
            "also export the metrics of keepalived-exporter, so that its dashboards and alerts can be used", "";
    }
    Route {
        ROUTE_TO "to", NETWORK, "required", "\"10.0.0.0/8\"",
            "destination; `\"0.0.0.0/0\"` or `\"::/0\"` for a default route", "the first word";
        ROUTE_VIA "via", HOST, "none", "\"192.0.2.1\"", "next hop, of the same family", "`via`";
        ROUTE_DEV "dev", INTERFACE_NAME, "selected by the kernel", "\"eth0\"",
            "outgoing interface; required for type `\"unicast\"` if `via` is missing or link-local, and for `onlink`", "`dev`";
        ROUTE_TABLE "table", NUMBER, "`254`", "100", "routing table; 254 is the main table", "`table`";
        ROUTE_METRIC "metric", Kind::Other("an integer from 0 to 4294967295"), "`0`; `1024` in IPv6", "50",
            "the route with the lowest metric is used; a table has at most one route per destination and metric", "`metric`, `preference`";
        ROUTE_SOURCE "source", HOST, "none", "\"192.0.2.10\"",
            "source address of packets that this host sends, for example a VIP", "`src`";
        ROUTE_SCOPE "scope", Kind::Choice(&["global", "link", "host"]), "`\"global\"`; `\"link\"` for type `\"unicast\"` without `via`", "\"link\"",
            "scope of the destination (IPv4 only)", "`scope`";
        ROUTE_TYPE "type", Kind::Choice(&["unicast", "blackhole", "unreachable", "prohibit", "throw"]), "`\"unicast\"`", "\"blackhole\"",
            "`\"blackhole\"`, `\"unreachable\"` and `\"prohibit\"` drop packets; `\"throw\"` continues with the next rule", "`blackhole` …";
        ROUTE_ONLINK "onlink", Kind::Boolean, "`false`", "true",
            "the next hop is treated as on-link on `dev`, even if no prefix of the interface contains it", "`onlink`";
    }
    Rule {
        RULE_FROM "from", NETWORK, "all", "\"192.0.2.10\"", "source of packets, for example a VIP", "`from`";
        RULE_TO "to", NETWORK, "all", "\"10.0.0.0/8\"", "destination of packets", "`to`";
        RULE_IIF "iif", INTERFACE_NAME, "all", "\"eth1\"", "interface on which packets arrive; `\"lo\"` for packets that this host sends", "`iif`";
        RULE_OIF "oif", INTERFACE_NAME, "all", "\"eth1\"", "interface to which the sending socket of a local packet is bound", "`oif`";
        RULE_FWMARK "fwmark", Kind::Other("an integer from 1 to 4294967295, or a string with a mark and its mask such as \"0x10/0xff\""), "all", "\"0x10/0xff\"",
            "firewall mark of packets", "`fwmark`";
        RULE_TABLE "table", NUMBER, "required", "100", "routing table that matching packets use", "`table`, `lookup`";
        RULE_PRIORITY "priority", NUMBER, "required", "100", "rules with lower numbers match first; the rule for the main table has 32766", "`priority`, `preference`";
    }
    Element {
        ROUTE "a route", Kind::Other("a table"), "", "{ to = \"10.0.0.0/8\", via = \"192.0.2.1\" }", "", "";
        RULE "a rule", Kind::Other("a table"), "", "{ from = \"192.0.2.10\", table = 100, priority = 100 }", "", "";
        VIRTUAL_ADDRESS "a virtual address", Kind::Other("a string or a table"), "", "\"192.0.2.10/24\"", "", "";
        UNICAST_PEER "a unicast peer", HOST, "", "\"192.0.2.2\"", "", "";
        INCLUDED "an included file", Kind::Other("a string"), "", "\"conf.d/*.toml\"", "", "";
        MEMBER "a member", Kind::Other("the name of an instance"), "", "\"LAN\"", "", "";
        HMAC_KEY "a key", Kind::Other("a table"), "", "{ id = 1, file = \"/etc/vipd/key\" }", "", "";
        TRACKED "a tracked object", Kind::Other("a table"), "", "{ interface = \"eth2\", weight = -50 }", "", "";
    }
}

/// The arrays of tables that an included file may contain.
pub(super) const INCLUDABLE: [&str; 6] = ["instance", "group", "script", "process", "file", "interface"];

/// The keys of `notify` that are commands.
pub(super) static NOTIFY_COMMANDS: [&Key; 5] =
    [&NOTIFY_MASTER, &NOTIFY_BACKUP, &NOTIFY_FAULT, &NOTIFY_STOP, &NOTIFY_ANY];

#[cfg(test)]
pub(super) mod reference;

//! The keys a configuration may have, and what each may say: the one place its messages are taken from.

use std::fmt;

/// A key, what it may say, and an example to copy. Displayed as a person would name it: `garp.repeat`.
#[derive(Debug)]
pub(super) struct Key {
    /// The table it stands in and a point, where its name alone would not say which key it is.
    table: &'static str,
    pub(super) name: &'static str,
    pub(super) allowed: &'static str,
    pub(super) example: &'static str,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.table, self.name)
    }
}

const fn key(name: &'static str, allowed: &'static str, example: &'static str) -> Key {
    Key { table: "", name, allowed, example }
}

const fn garp(name: &'static str, allowed: &'static str, example: &'static str) -> Key {
    Key { table: "garp.", name, allowed, example }
}

const TRUE_OR_FALSE: &str = "true or false";
const HOST: &str = "an IPv4 or IPv6 address without prefix length";
const INTERFACE_NAME: &str = "the name of a network interface";

pub(super) const REALTIME: Key = key("realtime", "\"auto\" or \"off\"", "realtime = \"auto\"");

pub(super) const NAME: Key =
    key("name", "a string of 1 to 64 printable characters without white space", "name = \"VI_1\"");
pub(super) const INTERFACE: Key = key("interface", INTERFACE_NAME, "interface = \"eth1\"");
pub(super) const VRID: Key = key("vrid", "an integer from 1 to 255", "vrid = 51");
pub(super) const VERSION: Key = key("version", "2 or 3", "version = 3");
pub(super) const FAMILY: Key = key("family", "\"ipv4\" or \"ipv6\"", "family = \"ipv4\"");
pub(super) const PRIORITY: Key =
    key("priority", "an integer from 1 to 254, or 255 for the owner of the addresses", "priority = 100");
pub(super) const ADVERT_INTERVAL: Key = key(
    "advert_interval",
    "a duration as a string, from \"10ms\" to \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2",
    "advert_interval = \"1s\"",
);
pub(super) const DOWN_AFTER_ADVERTS: Key =
    key("down_after_adverts", "an integer from 1 to 100", "down_after_adverts = 3");
pub(super) const PREEMPT: Key = key("preempt", TRUE_OR_FALSE, "preempt = true");
pub(super) const PREEMPT_DELAY: Key =
    key("preempt_delay", "a duration as a string, from \"0s\" to \"1000s\"", "preempt_delay = \"30s\"");
pub(super) const STARTUP_DELAY: Key =
    key("startup_delay", "a duration as a string, from \"0s\" to \"1000s\"", "startup_delay = \"10s\"");
pub(super) const ACCEPT: Key = key("accept", TRUE_OR_FALSE, "accept = true");
pub(super) const CHECKSUM: Key = key("checksum", "\"rfc5798\" or \"rfc9568\"", "checksum = \"rfc5798\"");
pub(super) const AUTH_PASS: Key = key("auth_pass", "a string of 1 to 8 bytes", "auth_pass = \"…\"");
pub(super) const AUTH_PASS_FILE: Key = key(
    "auth_pass_file",
    "the path of a file whose first line is a password of 1 to 8 bytes",
    "auth_pass_file = \"/etc/vipd/password\"",
);
pub(super) const VIRTUAL_MAC: Key = key("virtual_mac", TRUE_OR_FALSE, "virtual_mac = true");
pub(super) const VIRTUAL_MAC_TRANSMIT_ON_BASE: Key =
    key("virtual_mac_transmit_on_base", TRUE_OR_FALSE, "virtual_mac_transmit_on_base = true");
pub(super) const SOURCE: Key = key("source", HOST, "source = \"192.0.2.1\"");
pub(super) const UNICAST_SOURCE: Key = key("unicast_source", HOST, "unicast_source = \"192.0.2.1\"");
pub(super) const UNICAST_PEERS: Key = key(
    "unicast_peers",
    "an array of 1 to 255 peers, each a string or a table",
    "unicast_peers = [\"192.0.2.2\"]",
);
pub(super) const VIRTUAL_ADDRESSES: Key = key(
    "virtual_addresses",
    "an array of up to 255 addresses, each a string or a table",
    "virtual_addresses = [\"192.0.2.10/24\"]",
);
pub(super) const VIRTUAL_ADDRESSES_EXCLUDED: Key = key(
    "virtual_addresses_excluded",
    "an array of addresses, each a string or a table",
    "virtual_addresses_excluded = [\"192.0.2.20/24\"]",
);
pub(super) const GARP: Key = key("garp", "a table", "garp = { repeat = 5 }");

/// An element of `virtual_addresses` and `virtual_addresses_excluded`.
pub(super) const VIRTUAL_ADDRESS: Key = key("a virtual address", "a string or a table", "\"192.0.2.10/24\"");
pub(super) const ADDRESS: Key =
    key("address", "an IPv4 or IPv6 address with its prefix length", "address = \"192.0.2.10/24\"");
pub(super) const DEV: Key = key("dev", INTERFACE_NAME, "dev = \"eth2\"");
pub(super) const LABEL: Key =
    key("label", "a string of 1 to 15 bytes without white space", "label = \"eth1:vip\"");
pub(super) const SCOPE: Key = key("scope", "\"global\", \"link\" or \"host\"", "scope = \"global\"");
pub(super) const BROADCAST: Key = key("broadcast", "an IPv4 address", "broadcast = \"192.0.2.255\"");
pub(super) const PREFERRED: Key = key("preferred", TRUE_OR_FALSE, "preferred = false");

/// An element of `unicast_peers` that is a string.
pub(super) const UNICAST_PEER: Key = key("a unicast peer", HOST, "\"192.0.2.2\"");
pub(super) const PEER_ADDRESS: Key = key("address", HOST, "address = \"192.0.2.2\"");
pub(super) const MIN_TTL: Key = key("min_ttl", "an integer from 1 to 255", "min_ttl = 255");

pub(super) const GARP_REPEAT: Key = garp("repeat", "an integer from 1 to 255", "repeat = 5");
pub(super) const GARP_DELAY: Key =
    garp("delay", "a duration as a string, from \"0s\" to \"1000s\"", "delay = \"5s\"");
pub(super) const GARP_REFRESH: Key = garp(
    "refresh",
    "a duration as a string, from \"1s\" to \"86400s\", or \"0s\" for none",
    "refresh = \"60s\"",
);
pub(super) const GARP_REFRESH_REPEAT: Key =
    garp("refresh_repeat", "an integer from 1 to 255", "refresh_repeat = 1");
pub(super) const GARP_INTERVAL: Key =
    garp("interval", "a duration as a string, from \"0ms\" to \"1s\"", "interval = \"1ms\"");

/// Keys at the top of the file.
pub(super) const TOP_LEVEL: &[&str] = &[REALTIME.name, "instance"];

/// Keys of an `[[instance]]`.
pub(super) const IN_INSTANCE: &[&str] = &[
    NAME.name,
    INTERFACE.name,
    VRID.name,
    VERSION.name,
    FAMILY.name,
    PRIORITY.name,
    ADVERT_INTERVAL.name,
    DOWN_AFTER_ADVERTS.name,
    PREEMPT.name,
    PREEMPT_DELAY.name,
    STARTUP_DELAY.name,
    ACCEPT.name,
    CHECKSUM.name,
    AUTH_PASS.name,
    AUTH_PASS_FILE.name,
    VIRTUAL_MAC.name,
    VIRTUAL_MAC_TRANSMIT_ON_BASE.name,
    SOURCE.name,
    UNICAST_SOURCE.name,
    UNICAST_PEERS.name,
    VIRTUAL_ADDRESSES.name,
    VIRTUAL_ADDRESSES_EXCLUDED.name,
    GARP.name,
];

/// Keys of a virtual address that is a table.
pub(super) const IN_VIRTUAL_ADDRESS: &[&str] =
    &[ADDRESS.name, DEV.name, LABEL.name, SCOPE.name, BROADCAST.name, PREFERRED.name];

/// Keys of a unicast peer that is a table.
pub(super) const IN_UNICAST_PEER: &[&str] = &[PEER_ADDRESS.name, MIN_TTL.name];

/// Keys of `garp`.
pub(super) const IN_GARP: &[&str] =
    &[GARP_REPEAT.name, GARP_DELAY.name, GARP_REFRESH.name, GARP_REFRESH_REPEAT.name, GARP_INTERVAL.name];

//! The keys a configuration may have, and what each may say: the one place its messages are taken from.

/// A key, what it may say, and an example to copy.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) allowed: &'static str,
    pub(super) example: &'static str,
}

const fn key(name: &'static str, allowed: &'static str, example: &'static str) -> Key {
    Key { name, allowed, example }
}

pub(super) const REALTIME: Key = key("realtime", "\"auto\" or \"off\"", "realtime = \"auto\"");

pub(super) const NAME: Key =
    key("name", "a string of 1 to 64 printable characters without white space", "name = \"VI_1\"");
pub(super) const INTERFACE: Key = key("interface", "the name of a network interface", "interface = \"eth1\"");
pub(super) const VRID: Key = key("vrid", "an integer from 1 to 255", "vrid = 51");
pub(super) const VERSION: Key = key("version", "2 or 3", "version = 3");
pub(super) const PRIORITY: Key =
    key("priority", "an integer from 1 to 254, or 255 for the owner of the addresses", "priority = 100");
pub(super) const ADVERT_INTERVAL: Key = key(
    "advert_interval",
    "a duration as a string, from \"10ms\" to \"40.95s\" in VRRPv3, from \"1s\" to \"255s\" in VRRPv2",
    "advert_interval = \"1s\"",
);
pub(super) const PREEMPT: Key = key("preempt", "true or false", "preempt = true");
pub(super) const VIRTUAL_ADDRESSES: Key = key(
    "virtual_addresses",
    "an array of 1 to 255 IPv4 addresses as strings",
    "virtual_addresses = [\"192.0.2.10/24\"]",
);

/// Keys at the top of the file.
pub(super) const TOP_LEVEL: &[&str] = &[REALTIME.name, "instance"];

/// Keys of an `[[instance]]`.
pub(super) const INSTANCE: &[&str] = &[
    NAME.name,
    INTERFACE.name,
    VRID.name,
    VERSION.name,
    PRIORITY.name,
    ADVERT_INTERVAL.name,
    PREEMPT.name,
    VIRTUAL_ADDRESSES.name,
];

//! Reads and checks the tables of the file, one subject per module.

pub(super) mod addresses;
mod announcements;
pub(super) mod check;
mod command;
pub(super) mod control;
pub(super) mod election;
pub(super) mod group;
pub(super) mod hmac;
pub(super) mod instance;
pub(super) mod interface;
mod interval;
pub(super) mod metrics;
pub(super) mod notify;
mod password;
pub(super) mod routing;
pub(super) mod secret;
mod track;
pub(super) mod transport;
mod virtual_address;
mod wire;

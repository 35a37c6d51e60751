//! Reads and checks the tables of the file, one subject per module.

pub(super) mod addresses;
mod announcements;
pub(super) mod election;
pub(super) mod instance;
pub(super) mod interface;
mod interval;
mod password;
pub(super) mod transport;
mod virtual_address;
mod wire;

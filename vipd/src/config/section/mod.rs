//! The tables of the file, read and checked one subject per file.

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

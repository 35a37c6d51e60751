//! Code that several subcommands share.

pub(crate) mod agent;
pub(crate) mod debian;
pub(crate) mod nextest;
pub(crate) mod privilege;
pub(crate) mod process;
pub(crate) mod remap;
pub(crate) mod scheduling;
pub(crate) mod toolchain;
pub(crate) mod workspace;

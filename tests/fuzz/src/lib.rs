//! vipd's fuzz targets. Each is a module with a function that accepts arbitrary bytes and panics if
//! an invariant is violated.
//!
//! The functions are called by libFuzzer, with coverage-guided inputs (`cargo xtask fuzz`), and by
//! a test that replays the corpus and the inputs of past findings. A further test calls `core`
//! with random bytes. [`TARGETS`] lists all targets for the replay.

pub mod config;
pub mod control;
pub mod core;
pub mod parser;
pub mod xdp;

mod repair;

// The test bench that loads the BPF program and compares it with the parser. It is a module of
// vipd's tests rather than a crate, because a crate would have to be published for vipd's packaged
// tests to compile.
#[path = "../../../vipd/tests/xdp/bench.rs"]
#[expect(dead_code, reason = "only vipd's own tests use all of it")]
mod bench;
#[path = "../../../vipd/tests/xdp/captured.rs"]
mod captured;
#[path = "../../../vipd/tests/xdp/reference.rs"]
mod reference;

/// A function that accepts arbitrary bytes, and panics if an invariant is violated.
pub type Target = fn(&[u8]);

/// All targets with their names. A target's binary, corpus and regressions are named after the
/// target.
pub const TARGETS: [(&str, Target); 5] = [
    ("parser", parser::run),
    ("xdp", xdp::run),
    ("core", core::run),
    ("config", config::run),
    ("control", control::run),
];

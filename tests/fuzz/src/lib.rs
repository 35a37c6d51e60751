//! What vipd is fuzzed with: a module a target, each with a function that takes any bytes and panics when something
//! does not hold that must.
//!
//! libFuzzer calls them with bytes that it grows by coverage (`cargo xtask fuzz`), a test calls them with every file of
//! the corpus and every input that once made them panic. [`TARGETS`] names them for both.

pub mod config;
pub mod control;
pub mod core;
pub mod parser;
pub mod xdp;

mod repair;

// The bench that loads the XDP program and compares. It stays with vipd's tests of the program, which are its first
// user; a crate of its own would have to be published with vipd, or be missed by its packaged tests.
#[path = "../../../vipd/tests/xdp/bench.rs"]
#[expect(dead_code, reason = "vipd's own tests use all of it")]
mod bench;
#[path = "../../../vipd/tests/xdp/reference.rs"]
mod reference;

/// A function that takes any bytes, and panics when something does not hold.
pub type Target = fn(&[u8]);

/// Each target by its name: that of its program, its corpus and its regressions.
pub const TARGETS: [(&str, Target); 5] = [
    ("parser", parser::run),
    ("xdp", xdp::run),
    ("core", core::run),
    ("config", config::run),
    ("control", control::run),
];

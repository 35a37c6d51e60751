//! What vipd is fuzzed with: a module a target, each with a function that takes any bytes and panics when something
//! does not hold that must.
//!
//! libFuzzer calls them with bytes that it grows by coverage (`cargo xtask fuzz`), a test calls them with every file of
//! the corpus and every input that once made them panic. [`TARGETS`] names them for both.

pub mod parser;
mod repair;

/// A function that takes any bytes, and panics when something does not hold.
pub type Target = fn(&[u8]);

/// Each target by its name: that of its program, its corpus and its regressions.
pub const TARGETS: [(&str, Target); 1] = [("parser", parser::run)];

//! The agent and its tools; everything is in the library, where tests reach it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vipd::cli::main()
}

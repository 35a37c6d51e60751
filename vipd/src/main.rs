//! The `vipd` program. All code is in the library, where tests can use it.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    vipd::cli::main()
}

//! Development tasks; see `cargo xtask --help`. Each subcommand has its own file.
//!
//! This crate does not depend on the crate `vipd`, because vipd's build script rejects a stale eBPF
//! object, which `cargo xtask ebpf` must be able to rebuild.

mod bench;
mod chaos;
mod conformance;
mod dist;
mod docs;
mod ebpf;
mod fuzz;
mod interop;
mod lab;
mod lint;
#[path = "../../vipd/build/provenance.rs"]
mod provenance;
mod run;
mod setup;
mod simulate;
mod support;
mod test;

use std::process::ExitCode;

use clap::Parser;

/// Development tasks of vipd
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Verb {
    Run(run::Args),
    Lab(lab::Args),
    Interop(interop::Args),
    Conformance(conformance::Args),
    Setup(setup::Args),
    Ebpf(ebpf::Args),
    Lint(lint::Args),
    Test(test::Args),
    Fuzz(fuzz::Args),
    Simulate(simulate::Args),
    Bench(bench::Args),
    Chaos(chaos::Args),
    Docs(docs::Args),
    Dist(dist::Args),
}

fn main() -> ExitCode {
    let result = match Verb::parse() {
        Verb::Run(args) => run::run(&args),
        Verb::Lab(args) => lab::run(&args),
        Verb::Interop(args) => interop::run(&args),
        Verb::Conformance(args) => conformance::run(&args),
        Verb::Setup(args) => setup::run(&args),
        Verb::Ebpf(args) => ebpf::run(&args),
        Verb::Lint(args) => lint::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Simulate(args) => simulate::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Chaos(args) => chaos::run(&args),
        Verb::Docs(args) => docs::run(&args),
        Verb::Dist(args) => dist::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Print the chain of causes, but not the backtrace that anyhow's `Debug` includes, because
        // the errors are user errors.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

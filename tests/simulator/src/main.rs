//! `cargo xtask simulate`: runs a campaign of many worlds, or repeats a single world.

use std::io::{IsTerminal as _, Write as _, stderr};
use std::process::ExitCode;
use std::thread::available_parallelism;
use std::time::Instant;

use clap::Parser;
use vipd_simulator::campaign::{Summary, run_all};
use vipd_simulator::{Defect, run, sync};

/// Simulate LANs with hundreds of VRRP routers in virtual time, and check the protocol's invariants
#[derive(Parser)]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Args {
    /// Stop after at least this many takeovers
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    takeovers: u64,
    /// Start with this seed
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
    /// Also run this number of worlds of each kind with sync groups
    #[arg(long, value_name = "N", default_value_t = 5_000)]
    groups: u64,
    /// Run only the world with this seed
    #[arg(long, value_name = "SEED", conflicts_with_all = ["takeovers", "from", "groups", "threads"])]
    seed: Option<u64>,
    /// With --seed, print all events of the world
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Number of worlds to simulate in parallel [default: one per CPU]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let start = Instant::now();
    let summary = match args.seed {
        Some(seed) => repeat(seed, args.trace),
        None => campaign(&args),
    };
    report(&summary, start.elapsed().as_secs_f64());
    if let Some(violation) = summary.violation {
        eprintln!("{violation}");
        return ExitCode::FAILURE;
    }
    if args.seed.is_none() && args.groups > 0 {
        return groups(&args);
    }
    ExitCode::SUCCESS
}

/// Runs the worlds with sync groups.
fn groups(args: &Args) -> ExitCode {
    let start = Instant::now();
    let sync::Summary { worlds, transitions, violation } =
        sync::run_all(args.from, args.groups, threads(args));
    let seconds = start.elapsed().as_secs_f64();
    anstream::println!("{worlds:>12} worlds with sync groups in {seconds:.1} s, {transitions} transitions");
    match violation {
        None => ExitCode::SUCCESS,
        Some((_, violation)) => {
            eprintln!("{violation}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the number of worlds to run in parallel.
fn threads(args: &Args) -> usize {
    args.threads.unwrap_or_else(|| available_parallelism().map_or(1, Into::into))
}

fn repeat(seed: u64, trace: bool) -> Summary {
    let mut summary = Summary::default();
    summary.add(run(seed, Defect::None, trace));
    summary
}

fn campaign(args: &Args) -> Summary {
    let terminal = stderr().is_terminal();
    let summary = run_all(args.from, args.takeovers, threads(args), |so_far| {
        if terminal {
            // Ignore errors: the terminal may be gone.
            let _ = write!(stderr(), "\r{so_far} of {} takeovers", args.takeovers);
        }
    });
    if terminal {
        let _ = write!(stderr(), "\r\x1b[K");
    }
    summary
}

fn report(summary: &Summary, seconds: f64) {
    let Summary { worlds, routers, passed, tally, .. } = summary;
    let hours = passed / 3_600_000_000_000;
    anstream::println!("{:>12} takeovers in {seconds:.1} s", tally.takeovers());
    for (reason, count) in &tally.takeovers {
        anstream::println!("{count:>12}   {reason}");
    }
    anstream::println!("{worlds:>12} worlds with {routers} routers");
    anstream::println!("{hours:>12} hours of virtual time");
    anstream::println!("{:>12} adverts sent, {} inputs handled by routers", tally.adverts, tally.inputs);
    anstream::println!("{:>12} checks at rest that every virtual router has the right master", tally.rests);
}

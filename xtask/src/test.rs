//! `cargo xtask test`: runs the tests.

use std::ffi::OsStr;
use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::support::process::{self, run as run_command};
use crate::support::toolchain::Toolchain;
use crate::support::{agent, nextest, privilege, scheduling, workspace};
use crate::{conformance, ebpf, fuzz, interop, provenance, setup, simulate};

/// Environment variable with the path of vipd, read by the tests.
const AGENT_VARIABLE: &str = "VIPD_BIN";
/// Environment variable with the eBPF object to embed, read by vipd's build script.
const OBJECT_VARIABLE: &str = "VIPD_EBPF_OBJECT";
/// Environment variable with vipd's XDP mode, read by the lab.
const XDP_VARIABLE: &str = "VIPD_TEST_XDP";
/// End-to-end tests to repeat in native XDP mode, because vipd uses TC ingress on veth by default.
const NATIVE_TESTS: &str = "package(vipd-tests) & (binary(attachment) | binary(readiness) | binary(counting) | \
                            binary(hostile) | binary(pause) | (binary(failover) & !test(keepalived)))";
/// Selects the crates for the host. All runs of nextest except that of [`OBJECT_TESTS`] use the
/// same selection, because cargo derives the features of dependencies from the selection, and would
/// recompile dependencies for a different selection.
const EVERY_CRATE: [&str; 3] = ["--workspace", "--exclude", "vipd-ebpf"];
/// Packages without examples in their documentation (`doctest = false`), whose documentation tests
/// would only compile vipd once more.
const WITHOUT_EXAMPLES: [&str; 4] = ["vipd", "vipd-fuzz", "vipd-simulator", "vipd-tests"];
/// The tests of the eBPF object, which use BPF_PROG_TEST_RUN.
const OBJECT_TESTS: [&str; 4] = ["--package", "vipd", "--test", "xdp"];
/// Duration in seconds for each fuzz target: enough to replay the corpus and to detect a broken
/// target.
const FUZZ_SECONDS: u32 = 10;

/// Run all tests, including privileged ones; needs root
///
/// Installs missing Debian packages and cargo-nextest, builds vipd in release mode, runs the tests
/// of every crate, and repeats some end-to-end tests in native XDP mode. Then runs the conformance
/// and interop suites, and the documentation tests. In parallel with all these tests, on idle CPUs,
/// rebuilds the eBPF object if the toolchain is installed, simulates half a million takeovers, and
/// builds the fuzz targets. Finally, tests the rebuilt object if it differs from the committed
/// object, and fuzzes every target for ten seconds. For tests that need neither privileges nor a
/// network, run `cargo test`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo test                            only unprivileged tests; about a minute
  cargo xtask test --quick              the tests of every crate, without long ones or other VRRP daemons
  cargo xtask test --privileged         the tests of every crate
  cargo xtask test                      everything, as in CI; about 15 minutes after the build
  cargo xtask test -- --test failover   some tests; arguments as for `cargo nextest run`")]
pub(crate) struct Args {
    /// Run only the tests of all crates, and repeat some in native XDP mode
    #[arg(long, conflicts_with = "quick")]
    privileged: bool,
    /// Run only the tests of all crates, once, without those that run peers or take long
    #[arg(long)]
    quick: bool,
    /// Run only `cargo nextest run` with these arguments, such as a filter or `--test NAME`
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Runs `cargo xtask test`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    privilege::require("the test suite", "cargo xtask test")?;
    setup::tests()?;
    nextest::ensure_installed("test")?;
    agent::build("test")?;

    let mut all = EVERY_CRATE.to_vec();
    if args.quick {
        all.extend(["--profile", "quick"]);
    }
    all.extend(args.arguments.iter().map(String::as_str));
    let mut steps = Steps::default();
    if args.quick || !args.arguments.is_empty() {
        steps.run("tests of every crate", || nextest_run(&all, &[]));
    } else if args.privileged {
        test_crates(&mut steps, &all);
    } else {
        test_everything(&mut steps, &all);
    }
    steps.finish(start)
}

/// Runs the tests of every crate, with nextest's arguments `all`, and repeats some in native XDP
/// mode.
fn test_crates(steps: &mut Steps, all: &[&str]) {
    steps.run("build of the tests", || nextest_run(&[all, &["--no-run"]].concat(), &[]));
    steps.run("tests of every crate", || nextest_run(all, &[]));
    let native = [&EVERY_CRATE[..], &["--filterset", NATIVE_TESTS]].concat();
    steps.run("end-to-end tests in native XDP mode", || {
        nextest_run(&native, &[(XDP_VARIABLE, "native".as_ref())])
    });
}

/// Runs all steps: those that mostly wait for timers and, at the same time on idle CPUs, those that
/// only compute.
fn test_everything(steps: &mut Steps, all: &[&str]) {
    let object = thread::scope(|scope| {
        // None of these steps uses the folder of the debug build, which cargo locks.
        let computation = scope.spawn(|| {
            let mut steps = Steps::default();
            if let Err(error) = scheduling::run_when_idle() {
                return (steps, Err(error.context("cannot restrict computations to idle CPUs")));
            }
            let object = rebuilt_object();
            steps.run("simulation", simulate::run_all);
            steps.run("build of the fuzz targets", fuzz::build_all);
            (steps, object)
        });
        test_crates(steps, all);
        steps.run("conformance", conformance::run_all);
        steps.run("interop with keepalived and FRR", interop::run_all);
        steps.run("documentation tests", documentation_tests);
        let (computed, object) = computation.join().unwrap_or_else(|panic| resume_unwind(panic));
        steps.extend(computed);
        object
    });
    steps.run("test of the rebuilt eBPF object", || test_object(object?));
    steps.run("fuzzing", || fuzz::run_all(FUZZ_SECONDS));
}

/// The results of the steps. A step runs even if an earlier step has failed.
#[derive(Default)]
struct Steps {
    passed: Vec<&'static str>,
    failed: Vec<&'static str>,
}

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) {
        let start = Instant::now();
        let result = step();
        let seconds = start.elapsed().as_secs();
        match result {
            Ok(()) => {
                progress(format_args!("passed: {name} ({seconds} s)"));
                self.passed.push(name);
            }
            Err(error) => {
                progress(format_args!("FAILED: {name} ({seconds} s): {error:#}"));
                self.failed.push(name);
            }
        }
    }

    fn extend(&mut self, others: Self) {
        self.passed.extend(others.passed);
        self.failed.extend(others.failed);
    }

    fn finish(self, start: Instant) -> Result<()> {
        let (passed, failed) = (self.passed.len(), self.failed.len());
        progress(format_args!("{} s: {}", start.elapsed().as_secs(), self.passed.join(", ")));
        println!("steps: {passed} passed, {failed} failed");
        if failed > 0 {
            bail!("failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}

fn nextest_run(arguments: &[&str], variables: &[(&str, &OsStr)]) -> Result<()> {
    let mut command = nextest::command();
    command.args(["--run-ignored", "all"]).args(arguments).env(AGENT_VARIABLE, agent::path());
    command.envs(variables.iter().copied());
    run_command(&mut command)
}

/// Runs the documentation tests, which nextest does not support.
fn documentation_tests() -> Result<()> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--locked", "--doc"]).args(EVERY_CRATE);
    cargo.args(WITHOUT_EXAMPLES.iter().flat_map(|package| ["--exclude", package]));
    run_command(&mut cargo)
}

/// Rebuilds the eBPF object if the toolchain is installed. Returns the path of the rebuilt object
/// if it differs from the committed object.
fn rebuilt_object() -> Result<Option<PathBuf>> {
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(reason) => {
            progress(format_args!(
                "eBPF object NOT rebuilt, so the committed one was not verified: {reason:#}"
            ));
            return Ok(None);
        }
    };
    let rebuilt = workspace::target().join("ebpf/rebuilt/vipd.bpf.o");
    ebpf::build(&toolchain, &rebuilt)?;
    let committed = workspace::root().join(provenance::OBJECT);
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    if read(&rebuilt)? == read(&committed)? {
        progress("the rebuilt eBPF object is identical to the committed one");
        return Ok(None);
    }
    Ok(Some(rebuilt))
}

/// Tests a rebuilt eBPF object that differs from the committed object, which has already been
/// tested.
fn test_object(rebuilt: Option<PathBuf>) -> Result<()> {
    let Some(object) = rebuilt else { return Ok(()) };
    progress("the rebuilt eBPF object differs from the committed one; testing it as well");
    nextest_run(&OBJECT_TESTS, &[(OBJECT_VARIABLE, object.as_os_str())])
        .with_context(|| format!("testing the rebuilt object {}", object.display()))
}

fn progress(message: impl std::fmt::Display) {
    process::progress("test", message);
}

//! `cargo xtask test`: runs the tests.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::support::process::{self, run as run_command};
use crate::support::toolchain::Toolchain;
use crate::support::{agent, nextest, privilege, workspace};
use crate::{conformance, ebpf, fuzz, interop, provenance, setup, simulate};

/// Environment variable with the path of vipd, read by the tests.
const AGENT_VARIABLE: &str = "VIPD_BIN";
/// Environment variable with the eBPF object to embed, read by vipd's build script.
const OBJECT_VARIABLE: &str = "VIPD_EBPF_OBJECT";
/// Environment variable with vipd's XDP mode, read by the lab.
const XDP_VARIABLE: &str = "VIPD_TEST_XDP";
/// End-to-end tests that are repeated in native XDP mode. On veth, vipd's default is TC ingress.
const NATIVE_TESTS: &str = "binary(attachment) | binary(readiness) | binary(counting) | binary(hostile) | \
                            binary(pause) | (binary(failover) & !test(keepalived))";
/// The tests of the eBPF object, which use BPF_PROG_TEST_RUN.
const OBJECT_TESTS: [&str; 4] = ["--package", "vipd", "--test", "xdp"];
/// Duration in seconds for each fuzz target: enough to replay the corpus and to detect a broken
/// target.
const FUZZ_SECONDS: u32 = 10;

/// Run all tests, including privileged ones; needs root
///
/// Installs missing Debian packages and cargo-nextest, builds vipd in release mode, runs the tests
/// of every crate, and repeats some end-to-end tests in native XDP mode. Then rebuilds the eBPF
/// object if the toolchain is installed, simulates half a million takeovers, runs the conformance
/// and interop suites, and fuzzes every target for 10 s. For tests that need neither privileges nor
/// a network, run `cargo test`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo test                            only unprivileged tests; about a minute
  cargo xtask test --quick              the tests of every crate, except those that run keepalived
  cargo xtask test --privileged         the tests of every crate
  cargo xtask test                      everything, as in CI; under 20 minutes
  cargo xtask test -- --test failover   some tests; arguments as for `cargo nextest run`")]
pub(crate) struct Args {
    /// Run only the tests of every crate
    #[arg(long, conflicts_with = "quick")]
    privileged: bool,
    /// Run only the tests of every crate, except those that run keepalived
    #[arg(long)]
    quick: bool,
    /// Arguments for `cargo nextest run`: a filter, `--test NAME`
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

    let mut all = vec!["--workspace", "--exclude", "vipd-ebpf"];
    if args.quick {
        all.extend(["--profile", "quick"]);
    }
    all.extend(args.arguments.iter().map(String::as_str));
    let mut steps = Steps::default();
    steps.add("tests of every crate", nextest_run(&all, &[]));
    if args.arguments.is_empty() && !args.quick {
        let native = ["--package", "vipd-tests", "--filterset", NATIVE_TESTS];
        steps.add(
            "end-to-end tests in native XDP mode",
            nextest_run(&native, &[(XDP_VARIABLE, "native".as_ref())]),
        );
    }
    if args.arguments.is_empty() && !args.quick && !args.privileged {
        steps.add("documentation tests", documentation_tests());
        steps.add("eBPF object", rebuilt_object());
        steps.add("simulation", simulate::run_all());
        steps.add("conformance", conformance::run_all());
        steps.add("interop with keepalived and FRR", interop::run_all());
        steps.add("fuzzing", fuzz::run_all(FUZZ_SECONDS));
    }
    steps.finish(start)
}

/// The results of the steps. Later steps run even if a step has failed.
#[derive(Default)]
struct Steps {
    passed: Vec<&'static str>,
    failed: Vec<&'static str>,
}

impl Steps {
    fn add(&mut self, name: &'static str, result: Result<()>) {
        match result {
            Ok(()) => self.passed.push(name),
            Err(error) => {
                progress(format_args!("FAILED: {name}: {error:#}"));
                self.failed.push(name);
            }
        }
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
    run_command(workspace::cargo().args([
        "test",
        "--locked",
        "--doc",
        "--workspace",
        "--exclude",
        "vipd-ebpf",
    ]))
}

/// Rebuilds the eBPF object if the toolchain is installed, and tests the result if it differs from
/// the committed object.
fn rebuilt_object() -> Result<()> {
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(reason) => {
            progress(format_args!(
                "eBPF object NOT rebuilt, so the committed one was not verified: {reason:#}"
            ));
            return Ok(());
        }
    };
    let rebuilt = workspace::target().join("ebpf/rebuilt/vipd.bpf.o");
    ebpf::build(&toolchain, &rebuilt)?;
    let committed = workspace::root().join(provenance::OBJECT);
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    if read(&rebuilt)? == read(&committed)? {
        progress("the rebuilt eBPF object is identical to the committed one");
        return Ok(());
    }
    progress("the rebuilt eBPF object differs from the committed one; testing it as well");
    nextest_run(&OBJECT_TESTS, &[(OBJECT_VARIABLE, rebuilt.as_os_str())])
        .with_context(|| format!("testing the rebuilt object {}", rebuilt.display()))
}

fn progress(message: impl std::fmt::Display) {
    process::progress("test", message);
}

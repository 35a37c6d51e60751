//! `cargo xtask test`: the tests in their tiers.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::support::process::{self, run as run_command};
use crate::support::toolchain::Toolchain;
use crate::support::{agent, nextest, privilege, workspace};
use crate::{conformance, ebpf, fuzz, interop, provenance, setup, simulate};

/// Tells the tests which agent to start.
const AGENT_VARIABLE: &str = "VIPD_BIN";
/// Tells vipd's build script which object to embed.
const OBJECT_VARIABLE: &str = "VIPD_EBPF_OBJECT";
/// The tests of the object itself, by BPF_PROG_TEST_RUN.
const OBJECT_TESTS: [&str; 4] = ["--package", "vipd", "--test", "xdp"];
/// Seconds for each fuzz target: enough to replay its corpus and to see that it still works.
const FUZZ_SECONDS: u32 = 10;

/// Run the tests, the privileged ones included; needs root
///
/// `cargo test` alone runs what needs neither privileges nor a network. This verb installs what the rest needs (Debian packages
/// and cargo-nextest, if they are missing), builds the agent in release, and runs every test of every crate. Then, unless told
/// otherwise, it rebuilds the eBPF object where its toolchain is installed, simulates a million takeovers, plays the conformance
/// suite and every combination with keepalived and FRR, and fuzzes every target for 10 s.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  cargo test                            unprivileged tests, a minute
  cargo xtask test --quick              without peers, long simulation and fuzzing, 3 to 4 minutes
  cargo xtask test --privileged         every test of every crate, keepalived's cases included
  cargo xtask test                      everything, as CI does, about 15 minutes
  cargo xtask test -- --test failover   some tests; the arguments are those of `cargo nextest run`")]
pub(crate) struct Args {
    /// Every test of every crate, and no more
    #[arg(long, conflicts_with = "quick")]
    privileged: bool,
    /// As --privileged, without the cases that play keepalived
    #[arg(long)]
    quick: bool,
    /// Passed on to `cargo nextest run`: a filter, `--test NAME`
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// Runs the verb.
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
    steps.add("tests of every crate", nextest_run(&all, None));
    if args.arguments.is_empty() && !args.quick && !args.privileged {
        steps.add("documentation tests", documentation_tests());
        steps.add("eBPF object", rebuilt_object());
        steps.add("simulation", simulate::everything());
        steps.add("conformance", conformance::everything());
        steps.add("combinations with keepalived and FRR", interop::everything());
        steps.add("fuzzing", fuzz::everything(FUZZ_SECONDS));
    }
    steps.finish(start)
}

/// What was run, and what failed. A step that fails does not keep the next from running.
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
                say(format_args!("FAILED: {name}: {error:#}"));
                self.failed.push(name);
            }
        }
    }

    fn finish(self, start: Instant) -> Result<()> {
        let (passed, failed) = (self.passed.len(), self.failed.len());
        say(format_args!("{} s: {}", start.elapsed().as_secs(), self.passed.join(", ")));
        println!("steps: {passed} passed, {failed} failed");
        if failed > 0 {
            bail!("failed: {}", self.failed.join(", "));
        }
        Ok(())
    }
}

fn nextest_run(arguments: &[&str], object: Option<&OsStr>) -> Result<()> {
    let mut command = nextest::command();
    command.args(["--run-ignored", "all"]).args(arguments).env(AGENT_VARIABLE, agent::path());
    if let Some(object) = object {
        command.env(OBJECT_VARIABLE, object);
    }
    run_command(&mut command)
}

/// nextest does not run them.
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

/// Rebuilds the object where that is possible, and tests the rebuilt one unless it is identical.
fn rebuilt_object() -> Result<()> {
    let toolchain = match Toolchain::find() {
        Ok(toolchain) => toolchain,
        Err(reason) => {
            say(format_args!(
                "THE EBPF OBJECT WAS NOT REBUILT: the committed one was tested; that these sources make it was not \
                 checked ({reason:#})"
            ));
            return Ok(());
        }
    };
    let rebuilt = workspace::target().join("ebpf/rebuilt/vipd.bpf.o");
    ebpf::build(&toolchain, &rebuilt)?;
    let committed = workspace::root().join(provenance::OBJECT);
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    if read(&rebuilt)? == read(&committed)? {
        say("the rebuilt eBPF object is identical to the committed one");
        return Ok(());
    }
    say("the rebuilt eBPF object differs from the committed one: testing it, too");
    nextest_run(&OBJECT_TESTS, Some(rebuilt.as_os_str()))
        .with_context(|| format!("{}, which this toolchain builds from these sources", rebuilt.display()))
}

fn say(message: impl std::fmt::Display) {
    process::say("test", message);
}

//! `cargo xtask test`: passes every test, the privileged ones included, and installs what they need.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::support::process::{self, line};
use crate::support::toolchain::Toolchain;
use crate::support::{agent, privilege, workspace};
use crate::{conformance, ebpf, fuzz, interop, provenance, setup, simulate};

/// Tells the tests which agent to start.
const AGENT_VARIABLE: &str = "VIPD_BIN";
/// Tells vipd's build script to put another object in.
const OBJECT_VARIABLE: &str = "VIPD_EBPF_OBJECT";
/// The tests of the object itself, by BPF_PROG_TEST_RUN.
const OBJECT_TESTS: [&str; 4] = ["--package", "vipd", "--test", "xdp"];
/// For which each fuzz target runs: enough to replay its corpus, and to see that it still works.
const FUZZ_SECONDS: u32 = 10;

/// Pass every test, the privileged ones included; needs root
///
/// Installs what the tests need, builds the agent in release, passes the tests of every crate, and, where the
/// BPF toolchain is installed, rebuilds the eBPF object and passes its tests on the rebuilt one. Then it
/// simulates a million takeovers, plays the conformance suite and every combination with keepalived and FRR, and fuzzes
/// every target for 10 s, unless it was given arguments for `cargo test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on to `cargo test`: a filter, `--test NAME`, `-- --nocapture`
    #[arg(last = true, value_name = "ARGUMENTS")]
    arguments: Vec<String>,
}

/// What a run of `cargo test` counted.
#[derive(Default)]
struct Tally {
    suites: usize,
    passed: usize,
    failed: usize,
    ignored: usize,
}

/// Runs the verb.
pub(crate) fn run(args: &Args) -> Result<()> {
    let start = Instant::now();
    privilege::require("the test suite", "cargo xtask test")?;
    setup::tests()?;

    agent::build("test")?;

    let mut tally = Tally::default();
    let mut everything = vec!["--workspace", "--exclude", "vipd-ebpf", "--no-fail-fast"];
    everything.extend(args.arguments.iter().map(String::as_str));
    let passed = cargo_test(&everything, None, &mut tally)?;

    let rebuilt = match Toolchain::find() {
        Ok(toolchain) => test_rebuilt_object(&toolchain, &mut tally)?,
        Err(reason) => format!(
            "THE EBPF OBJECT WAS NOT REBUILT: the committed one was tested, nothing showed that these sources make it \
             ({reason:#})"
        ),
    };

    let more = if args.arguments.is_empty() {
        // All of them, whatever becomes of the first.
        let worlds = simulate::everything();
        let suite = conformance::everything();
        let matrix = interop::everything();
        fuzz::everything(FUZZ_SECONDS).and(matrix).and(suite).and(worlds)
    } else {
        say(
            "NEITHER SIMULATED NOR FUZZED NOR PLAYED WITH THE PEERS: the arguments ask for some of the tests; `cargo \
             xtask simulate`, `fuzz`, `interop` and `conformance` do it",
        );
        Ok(())
    };

    say(rebuilt);
    let Tally { suites, passed: ok, failed, ignored } = tally;
    let seconds = start.elapsed().as_secs();
    say(format_args!("{ok} passed, {failed} failed, {ignored} ignored in {suites} suites, {seconds} s"));
    if !passed || failed > 0 {
        bail!("tests failed");
    }
    more
}

/// Rebuilds the object and passes its tests on the rebuilt one, unless it is the same to the byte.
fn test_rebuilt_object(toolchain: &Toolchain, tally: &mut Tally) -> Result<String> {
    let rebuilt = workspace::target().join("ebpf/rebuilt/vipd.bpf.o");
    ebpf::build(toolchain, &rebuilt)?;
    let committed = workspace::root().join(provenance::OBJECT);
    let read = |path: &Path| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    if read(&rebuilt)? == read(&committed)? {
        return Ok(
            "the rebuilt eBPF object is the committed one to the byte: its tests stand for both".into()
        );
    }
    say("the rebuilt eBPF object differs from the committed one: passing its tests on the rebuilt one too");
    if !cargo_test(&OBJECT_TESTS, Some(rebuilt.as_os_str()), tally)? {
        bail!("the tests failed on {}, which these sources make with this toolchain", rebuilt.display());
    }
    Ok("the rebuilt eBPF object differs from the committed one and passes the same tests".into())
}

/// Runs `cargo test`, shows what it prints, and counts; whether it succeeded.
fn cargo_test(arguments: &[&str], object: Option<&OsStr>, tally: &mut Tally) -> Result<bool> {
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--locked"]).args(arguments).stdout(Stdio::piped());
    cargo.env(AGENT_VARIABLE, agent::path());
    if let Some(object) = object {
        cargo.env(OBJECT_VARIABLE, object);
    }
    let command = line(&cargo);
    say(&command);
    let mut child = cargo.spawn().with_context(|| format!("cannot start {command}"))?;
    let stdout = child.stdout.take().context("the standard output of `cargo test` was not piped")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.with_context(|| format!("cannot read what {command} prints"))?;
        println!("{line}");
        tally.add(&line);
    }
    Ok(child.wait().with_context(|| format!("cannot wait for {command}"))?.success())
}

impl Tally {
    /// Counts the last line of a suite: `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some((_, counts)) = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        self.suites += 1;
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else { continue };
            let number: usize = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

fn say(message: impl std::fmt::Display) {
    process::say("test", message);
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn the_tally_adds_suites_up_and_ignores_other_lines() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            tally.add(line);
        }
        let Tally { suites, passed, failed, ignored } = tally;
        assert_eq!((suites, passed, failed, ignored), (2, 5, 1, 1));
    }
}

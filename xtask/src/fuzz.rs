//! `cargo xtask fuzz`: fuzzes vipd with libFuzzer on stable Rust.

mod outcome;

use std::fs;
use std::io::{BufRead, BufReader};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context, Result, bail, ensure};

use crate::support::process::{self, ask, line, output, program, run as run_command};
use crate::support::{debian, privilege, workspace};
use outcome::Outcome;

/// Path of the fuzz package, relative to the workspace root.
const PACKAGE: &str = "tests/fuzz";
/// Binaries of the fuzz package. Repeats the package's own list, because xtask must not depend on
/// vipd (see main.rs).
const TARGETS: [&str; 5] = ["parser", "xdp", "core", "config", "control"];
/// The target that needs privileges because it loads the BPF program.
const PRIVILEGED: &str = "xdp";
/// Debian packages to install if there is no C++ compiler. libFuzzer is C++ code.
const COMPILER_PACKAGES: [&str; 1] = ["g++"];
/// Time in seconds after which an input counts as a hang.
const INPUT_TIMEOUT: u32 = 20;
/// Flags that enable LLVM's coverage instrumentation for libFuzzer, as `clang -fsanitize=fuzzer`
/// does. Unlike `-Zsanitizer` and cargo-fuzz, these flags work with a stable compiler.
const FLAGS: [&str; 6] = [
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    // Keep branches separate: folded branches would count as a single edge.
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0",
];

/// Fuzz vipd and report findings; target xdp needs root
///
/// Starts with the corpus and the inputs of past findings. New inputs are stored in cargo's target
/// directory.
#[derive(clap::Args)]
#[command(after_help = "\
Targets:
  parser    the advert parser in user space
  xdp       the BPF program in the kernel, compared with the parser
  core      a virtual router with arbitrary inputs at arbitrary times
  config    configuration files
  control   the control socket

Examples:
  cargo xtask fuzz                                 all targets, 10 s each
  cargo xtask fuzz core --seconds 600              one target, 10 minutes
  cargo xtask fuzz core --seconds 600 --keep       the same, and update the corpus
  cargo xtask fuzz core --input crash-0123         run a single input")]
pub(crate) struct Args {
    /// Targets to fuzz [default: all]
    #[arg(value_name = "TARGET", value_parser = TARGETS)]
    targets: Vec<String>,
    /// Time to fuzz each target, in seconds
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Run the target only on this input
    #[arg(long, value_name = "PATH", conflicts_with_all = ["seconds", "keep"])]
    input: Option<PathBuf>,
    /// Update the corpus in the repository: add inputs with new coverage, and drop redundant inputs
    #[arg(long)]
    keep: bool,
}

/// Runs `cargo xtask fuzz`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let mut targets: Vec<&str> = args.targets.iter().map(String::as_str).collect();
    if let Some(input) = &args.input {
        let [target] = targets[..] else { bail!("--input needs exactly one target") };
        let fuzzer = Fuzzer::build(&[target])?;
        return run_command(program(fuzzer.program(target)).arg(input));
    }
    if targets.is_empty() {
        targets.extend(TARGETS);
    }
    fuzz(&targets, args.seconds, args.keep)
}

/// Builds every target for [`run_all`].
pub(crate) fn build_all() -> Result<()> {
    Fuzzer::build(&TARGETS).map(drop)
}

/// Fuzzes every target for `seconds`, as a step of the test suite.
pub(crate) fn run_all(seconds: u32) -> Result<()> {
    fuzz(&TARGETS, seconds, false)
}

fn fuzz(targets: &[&str], seconds: u32, keep: bool) -> Result<()> {
    let fuzzer = Fuzzer::build(targets)?;
    let mut tallies = Vec::new();
    let mut failed = Vec::new();
    for (target, outcome) in fuzzer.run_in_parallel(targets, seconds) {
        let outcome = outcome?;
        if outcome.succeeded {
            tallies.push((target, outcome.tally));
        } else {
            eprintln!("{}", outcome.explain(target)?);
            failed.push(target);
        }
        if keep && outcome.succeeded {
            fuzzer.update_corpus(target)?;
        }
    }
    print!("{}", outcome::table(&tallies));
    ensure!(failed.is_empty(), "findings in: {}", failed.join(", "));
    Ok(())
}

/// Fuzz targets that have been built.
struct Fuzzer {
    /// Target directory with the binaries and their output.
    folder: PathBuf,
    /// Target triple of this machine.
    host: String,
}

impl Fuzzer {
    fn build(targets: &[&str]) -> Result<Self> {
        if targets.contains(&PRIVILEGED) {
            privilege::require("the fuzz target xdp", "cargo xtask fuzz")?;
        }
        if ask(program("c++").arg("--version")).is_none() {
            debian::install("fuzz", &COMPILER_PACKAGES)?;
        }
        let folder = workspace::target().join("fuzz");
        let fuzzer = Self { folder, host: host()? };
        progress("building with coverage instrumentation");
        let mut cargo = workspace::cargo();
        cargo.args(["build", "--locked", "--profile", "fuzz", "--package", "vipd-fuzz"]);
        cargo.args(["--features", "libfuzzer", "--target", &fuzzer.host]);
        cargo.args(targets.iter().flat_map(|target| ["--bin", target]));
        // Use a separate folder, because in a shared folder these flags would cause full rebuilds.
        // `--target` keeps the flags from applying to build scripts and macros, which are not
        // linked with libFuzzer.
        cargo.arg("--target-dir").arg(&fuzzer.folder).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
        run_command(&mut cargo)?;
        Ok(fuzzer)
    }

    fn program(&self, target: &str) -> PathBuf {
        self.folder.join(&self.host).join("fuzz").join(target)
    }

    /// Creates and returns a folder for a target's output, in cargo's target directory.
    fn scratch(&self, kind: &str, target: &str) -> Result<PathBuf> {
        let folder = self.folder.join(kind).join(target);
        fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(folder)
    }

    /// Runs the targets, one per CPU at a time. Returns the outcomes in the order of the targets.
    fn run_in_parallel<'a>(&self, targets: &[&'a str], seconds: u32) -> Vec<(&'a str, Result<Outcome>)> {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut outcomes = Vec::new();
            while let Some(target) = targets.get(next.fetch_add(1, Ordering::Relaxed)) {
                progress(format_args!("{target} for {seconds} s"));
                outcomes.push((*target, self.run(target, seconds)));
            }
            outcomes
        };
        let mut outcomes: Vec<_> = thread::scope(|scope| {
            let cpus = thread::available_parallelism().map_or(1, Into::into);
            let workers: Vec<_> = (0..cpus.min(targets.len())).map(|_| scope.spawn(work)).collect();
            let join =
                |worker: ScopedJoinHandle<'_, _>| worker.join().unwrap_or_else(|panic| resume_unwind(panic));
            workers.into_iter().flat_map(join).collect()
        });
        outcomes.sort_by_key(|(target, _)| targets.iter().position(|one| one == target));
        outcomes
    }

    /// Runs a target, starting with the corpus and the regressions.
    fn run(&self, target: &str, seconds: u32) -> Result<Outcome> {
        let mut command = program(self.program(target));
        command.arg(format!("-max_total_time={seconds}")).arg(format!("-timeout={INPUT_TIMEOUT}"));
        // libFuzzer concatenates this prefix and the file name.
        command.arg(format!("-artifact_prefix={}/", self.scratch("artifacts", target)?.display()));
        command.arg("-print_final_stats=1").arg(self.scratch("corpus", target)?);
        command.args(
            ["corpus", "regressions"]
                .map(|kind| repository_folder(kind, target))
                .iter()
                .filter(|path| path.is_dir()),
        );
        run_fuzzer(&mut command)
    }

    /// Replaces the corpus in the repository with a minimal set of inputs that has the same
    /// coverage as the old corpus and the new inputs.
    fn update_corpus(&self, target: &str) -> Result<()> {
        let corpus = repository_folder("corpus", target);
        let merged = self.scratch("merged", target)?;
        fs::remove_dir_all(&merged).with_context(|| format!("cannot empty {}", merged.display()))?;
        fs::create_dir_all(&merged).with_context(|| format!("cannot create {}", merged.display()))?;
        let mut command = program(self.program(target));
        // With counters, the corpus would contain an input for each loop count.
        command.args(["-set_cover_merge=1", "-use_counters=0"]).arg(&merged);
        command.args([&corpus, &self.scratch("corpus", target)?].into_iter().filter(|path| path.is_dir()));
        let outcome = run_fuzzer(&mut command)?;
        ensure!(outcome.succeeded, "{}", outcome.explain(target)?);
        if corpus.is_dir() {
            fs::remove_dir_all(&corpus).with_context(|| format!("cannot empty {}", corpus.display()))?;
        }
        fs::create_dir_all(&corpus).with_context(|| format!("cannot create {}", corpus.display()))?;
        for entry in fs::read_dir(&merged).with_context(|| format!("cannot list {}", merged.display()))? {
            let from = entry.with_context(|| format!("cannot list {}", merged.display()))?;
            let to = corpus.join(from.file_name());
            fs::copy(from.path(), &to).with_context(|| format!("cannot write {}", to.display()))?;
        }
        progress(format_args!("updated {}; commit it", corpus.display()));
        Ok(())
    }
}

/// Returns a target's folder in the repository: `corpus` or `regressions`.
fn repository_folder(kind: &str, target: &str) -> PathBuf {
    workspace::root().join(PACKAGE).join(kind).join(target)
}

/// Runs libFuzzer and parses its output, which is too long to print.
fn run_fuzzer(command: &mut Command) -> Result<Outcome> {
    let name = line(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    let stderr = child.stderr.take().context("the standard error of libFuzzer was not piped")?;
    // A target's output need not be valid UTF-8.
    let lines =
        BufReader::new(stderr).split(b'\n').map(|line| Ok(String::from_utf8_lossy(&line?).into_owned()));
    let output: Vec<String> =
        lines.collect::<std::io::Result<_>>().with_context(|| format!("cannot read the output of {name}"))?;
    let status = child.wait().with_context(|| format!("cannot wait for {name}"))?;
    Ok(Outcome::parse(status.success(), output))
}

/// Returns the compiler's host triple.
fn host() -> Result<String> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = output(program(rustc).arg("-vV").current_dir(workspace::root()))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("the output of `rustc -vV` has no `host:` line")?.to_owned())
}

fn progress(message: impl std::fmt::Display) {
    process::progress("fuzz", message);
}

#[cfg(test)]
mod tests {
    use super::{PACKAGE, TARGETS, workspace};

    #[test]
    fn list_of_targets_is_complete() {
        let folder = workspace::root().join(PACKAGE).join("fuzz_targets");
        let entries = std::fs::read_dir(&folder).expect("folder of the targets");
        let mut found: Vec<_> = entries.map(|entry| entry.expect("directory entry").path()).collect();
        found.sort();
        let mut listed: Vec<_> =
            TARGETS.iter().map(|target| folder.join(target).with_extension("rs")).collect();
        listed.sort();
        assert_eq!(found, listed);
    }
}

//! `cargo xtask conformance`: checks vipd, keepalived and FRR, or a router reachable through an
//! interface, against the RFCs, item by item.

mod device;

use std::fs;
use std::io::{IsTerminal as _, stderr, stdout};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use vipd_tests::agent::AgentKind;
use vipd_tests::conformance::table::{self, Row, Verdict};
use vipd_tests::conformance::{Item, Program, Scenario, document, items, render};

use crate::setup;
use crate::support::process::{self, run as run_command};
use crate::support::{agent, debian, privilege, workspace};

/// Run the conformance suite with vipd, keepalived and FRR, and print the results; needs root
///
/// Runs vipd's core in virtual time, then each program in private labs. The host's network is not
/// affected. If the output is not a terminal, prints Markdown. Fails if a program has an
/// undocumented difference from a scenario, or conforms despite a documented difference. For
/// keepalived and FRR, this applies only to the versions in Debian 12.
///
/// With --device, tests a router on the segment of an interface, with the scenarios that need only
/// network access. Conforming despite a documented difference is then not a failure. See
/// docs/conformance-device.md.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask conformance                                  all scenarios with all programs
  cargo xtask conformance --program keepalived s23 r1      some scenarios with one program
  cargo xtask conformance --markdown docs/conformance.md   write the results as a document

  A router on the segment of eth1, whose own address is between 192.0.2.2 and 192.0.2.4:
  cargo xtask conformance --device eth1 --vrid 51 --address 192.0.2.10 \\
      --source 192.0.2.2 --source 192.0.2.4")]
pub(crate) struct Args {
    /// Run only scenarios whose names start with one of these prefixes
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// Run only this program; may be given several times. With --device: the program that the
    /// device runs, whose documented differences then apply
    #[arg(long)]
    program: Vec<Name>,
    /// Also write the results to this file
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    #[command(flatten)]
    device: device::DeviceArgs,
}

/// A program, as named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    Vipd,
    Keepalived,
    Frr,
}

impl From<Name> for Program {
    fn from(name: Name) -> Self {
        match name {
            Name::Vipd => Self::Vipd,
            Name::Keepalived => Self::Keepalived,
            Name::Frr => Self::Frr,
        }
    }
}

/// Runs `cargo xtask conformance`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let programs: Vec<_> = args.program.iter().copied().map(Program::from).collect();
    let mut scenarios = document::all()?;
    let chosen = |scenario: &Scenario| args.scenarios.iter().any(|start| scenario.name.starts_with(start));
    scenarios.retain(|scenario| args.scenarios.is_empty() || chosen(scenario));
    ensure!(!scenarios.is_empty(), "no scenario name starts with {}", args.scenarios.join(" or "));
    if let Some(declaration) = args.device.declaration()? {
        return device::run(&declaration, &scenarios, &programs, args.markdown.as_deref());
    }
    privilege::require("the conformance suite", "cargo xtask conformance")?;
    setup::tests()?;
    agent::build("conformance")?;
    let programs = if programs.is_empty() { Program::ALL.to_vec() } else { programs };
    if programs.contains(&Program::Vipd) {
        let mut core = workspace::cargo();
        run_command(core.args(["test", "--locked", "--package", "vipd", "--test", "conformance"]))?;
    }
    let (rows, seconds) = play(&scenarios, &programs);
    let mut items = items::all()?;
    let shown = |name: &str| scenarios.iter().any(|scenario| scenario.items.iter().any(|item| item == name));
    items.retain(|item| args.scenarios.is_empty() || shown(&item.name));
    let document = |tables: &str| document(&rows, tables, seconds);
    report(&rows, &items, "../tests/conformance", args.markdown.as_deref(), document)?;
    verdict(&rows)
}

/// Prints the results, as Markdown if the output is not a terminal, and writes them to a file.
/// Links to scenarios begin with `directory`.
fn report(
    rows: &[Row<'_>],
    items: &[Item],
    directory: &str,
    file: Option<&Path>,
    document: impl Fn(&str) -> Result<String>,
) -> Result<()> {
    let tables = render::markdown(rows, items, directory);
    if stdout().is_terminal() {
        println!("{}", render::plain(rows, items));
    } else {
        println!("{tables}");
    }
    if let Some(path) = file {
        fs::write(path, document(&tables)?).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Runs every scenario with every program, as a step of the test suite. An earlier step runs the
/// scenarios on the core.
pub(crate) fn run_all() -> Result<()> {
    let scenarios = document::all()?;
    let (rows, _) = play(&scenarios, &Program::ALL);
    verdict(&rows)
}

fn play<'a>(scenarios: &'a [Scenario], programs: &[Program]) -> (Vec<Row<'a>>, u64) {
    let start = Instant::now();
    let vipd = AgentKind::Vipd(agent::path());
    let all = scenarios.len() * programs.len();
    let done = AtomicUsize::new(0);
    let terminal = stderr().is_terminal();
    let rows = table::play_all(scenarios, programs, &vipd, |scenario, program, verdict| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Verdict::Fails(error) | Verdict::LabError(error) | Verdict::PassesOnRetry(error) = verdict {
            let message = format_args!("{verdict}  {program}: {}: {error:#}", scenario.name);
            process::progress("conformance", message);
        } else if terminal || done.is_multiple_of(50) {
            let message = format_args!("{done} of {all}  {verdict}  {program}: {}", scenario.name);
            process::progress("conformance", message);
        }
    });
    let seconds = start.elapsed().as_secs();
    let unexplained =
        rows.iter().flat_map(|row| &row.verdicts).filter(|(_, verdict)| verdict.is_unexplained());
    process::progress(
        "conformance",
        format_args!(
            "{all} verdicts on {} scenarios, {} undocumented, {seconds} s",
            rows.len(),
            unexplained.count()
        ),
    );
    (rows, seconds)
}

/// The versions of keepalived and FRR whose differences the scenarios document, with the names of
/// the Debian packages.
const KNOWN_VERSIONS: [(Program, &str, &str); 2] =
    [(Program::Keepalived, "keepalived", "2.2.7"), (Program::Frr, "frr", "8.4.4")];

/// Returns an error if there are undocumented verdicts. For versions of keepalived and FRR other
/// than [`KNOWN_VERSIONS`], only failures of the lab count.
fn verdict(rows: &[Row<'_>]) -> Result<()> {
    let mut failures = Vec::new();
    let verdicts = rows.iter().flat_map(|row| row.verdicts.iter().map(|verdict| (row.scenario, verdict)));
    for (scenario, (program, verdict)) in verdicts {
        let package = KNOWN_VERSIONS.iter().find(|(peer, ..)| peer == program);
        let known = match package {
            // Debian adds an epoch before the upstream version and a revision after it.
            Some((_, package, version)) => {
                debian::version(package)?.split([':', '-', '+', '~']).any(|part| part == *version)
            }
            None => true,
        };
        if matches!(verdict, Verdict::LabError(_)) || (known && verdict.is_unexplained()) {
            failures.push(format!("{program} in {}", scenario.name));
        }
    }
    if failures.is_empty() {
        return Ok(());
    }
    bail!(
        "{} undocumented verdicts: {}; run `cargo xtask conformance SCENARIO` for details",
        failures.len(),
        failures.join(", ")
    )
}

/// Returns the document: a header with the command and the versions, then the tables.
fn document(rows: &[Row<'_>], tables: &str, seconds: u64) -> Result<String> {
    Ok(format!(
        "# Conformance\n\n\
         Generated by `cargo xtask conformance --markdown docs/conformance.md` in {seconds} s. The {} scenarios\n\
         were run with vipd's core in virtual time, except those that need the lab, and then with vipd and\n\
         Debian's keepalived {} and FRR {}, each on an isolated segment.\n\
         [How to read and write a scenario](../tests/conformance/README.md).\n\n\
         ok: behaves as the scenario specifies. ok (2nd): the same, when played a second time. differs:\n\
         behaves differently; the remark gives the reason. unsupported: cannot be configured as the scenario\n\
         requires. -: not run in the lab.\n\n{tables}",
        rows.len(),
        debian::version("keepalived")?,
        debian::version("frr")?,
    ))
}

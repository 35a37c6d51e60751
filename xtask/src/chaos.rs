//! `cargo xtask chaos`: injects random faults into real agents, and checks the frames on the wire.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anstyle::{AnsiColor, Style};
use anyhow::{Context, Result, bail, ensure};
use vipd_tests::agent::AgentKind;
use vipd_tests::chaos::fault::Kind;
use vipd_tests::chaos::genuine::Attack;
use vipd_tests::chaos::judge::{Bounds, Invariant};
use vipd_tests::chaos::plan::{Outline, Plan, Round};
use vipd_tests::chaos::run::{Figures, Options, Progress, Summary, run as play};
use vipd_tests::chaos::sabotage::Sabotage;
use vipd_tests::chaos::segment::{MAX_NODES, MAX_ROUTERS};
use vipd_tests::chaos::subject::Subject;
use vipd_tests::protocol::Version;
use vipd_tests::time::millis;

use crate::lab;
use crate::support::{agent, privilege, process};

const HEADING: Style = Style::new().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Play random faults against real agents, and check that no address ever has two owners; needs
/// root
///
/// Runs agents on 2 to 4 nodes in network namespaces, each master of some virtual routers and
/// backup of others. Kills, suspends, starves, reloads, upgrades, drains, fails over and restarts
/// agents, cuts and impairs links, partitions the segment, removes addresses, detaches BPF programs
/// and fills disks. Clients query all addresses with ARP, ND and ping, and each answer on the wire
/// is attributed to a node. A run consists of one-minute episodes with consecutive seeds; the last
/// one may be shorter. An episode's plan depends only on its seed and the options.
///
/// Invariants: an old owner stops answering once a new master's advert has reached it; takeovers,
/// and gaps between answers, last no longer than the protocol allows for the faults; faults that
/// must not change the masters cause no transition; after all faults, exactly one node answers for
/// each address. After a violation, prints the plan, the seed and a timeline, writes the frames to
/// a pcapng file, and ends the run.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  cargo xtask chaos                                 a minute with a random seed
  cargo xtask chaos --minutes 60 --nodes 4 --routers 6
  cargo xtask chaos --seed 17                       repeat an episode
  cargo xtask chaos --faults kill,pause --interval 10ms
  cargo xtask chaos --agent keepalived --keep-going --minutes 10
  cargo xtask chaos --set 'fence = \"off\"' --faults kill,pause
  cargo xtask chaos --sabotage late-guardian --faults kill
  cargo xtask chaos --attack --minutes 60 --interval 100ms
  cargo xtask chaos --seed 17 --plan                print the plan only")]
pub(crate) struct Args {
    /// Number of nodes, 2 to 4
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(u8).range(2..=i64::from(MAX_NODES)))]
    nodes: u8,
    /// Number of virtual routers, 1 to 32
    #[arg(long, value_name = "M", default_value = "3", value_parser = parse_routers)]
    routers: usize,
    /// Planned length in minutes [default: 1, or 0 with --seconds]
    #[arg(long, value_name = "T")]
    minutes: Option<u64>,
    /// Planned length in seconds, in addition to --minutes
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Seed of the first episode [default: random]
    #[arg(long, value_name = "SEED")]
    seed: Option<u64>,
    /// Advertisement interval [default: drawn from 10ms, 100ms and 1s]
    #[arg(long, value_name = "TIME", value_parser = crate::lab::parse_interval)]
    interval: Option<Duration>,
    /// Play only faults of these kinds
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    faults: Vec<Kind>,
    /// Do not play faults of these kinds
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    without: Vec<Kind>,
    /// Program to run on all nodes
    #[arg(long, value_enum, default_value = "vipd")]
    agent: Program,
    /// Run this build of vipd instead of building one
    #[arg(long, value_name = "PATH")]
    vipd: Option<PathBuf>,
    /// Top-level setting for vipd's configuration, such as 'fence = "off"'; may be repeated
    #[arg(long, value_name = "LINE")]
    set: Vec<String>,
    /// Sign adverts, and put an attacker without the key on the segment, who spoofs and replays
    /// adverts, exchanges their trailers, and floods the segment; see docs/chaos.md
    #[arg(long)]
    attack: bool,
    /// Simulate a defect of vipd that must be detected: no-fence, stuck-lease, late-guardian, or,
    /// with --attack, permissive
    #[arg(long, value_name = "DEFECT")]
    sabotage: Option<Sabotage>,
    /// Maximum time for a running agent to yield to a master that outranks it
    #[arg(long, value_name = "TIME", default_value = "5ms", value_parser = crate::lab::parse_interval)]
    reaction: Duration,
    /// Continue after violations, and exit with status 0
    #[arg(long)]
    keep_going: bool,
    /// Directory for the pcapng files of rounds with violations
    #[arg(long, value_name = "DIRECTORY", default_value = ".")]
    captures: PathBuf,
    /// Print the plan of the first episode without playing it
    #[arg(long)]
    plan: bool,
}

/// A program, as named on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Program {
    Vipd,
    Keepalived,
}

/// Runs `cargo xtask chaos`.
pub(crate) fn run(args: &Args) -> Result<()> {
    let outline = outline(args)?;
    let seed = args.seed.unwrap_or_else(random_seed);
    let length = match (args.minutes, args.seconds) {
        (None, None) => Duration::from_secs(60),
        (minutes, seconds) => Duration::from_secs(minutes.unwrap_or(0) * 60 + seconds.unwrap_or(0)),
    };
    ensure!(!length.is_zero(), "the length of the run is 0; choose at least --seconds 1");
    if args.plan {
        let plan = Plan::draw(seed, &outline, length.min(Duration::from_secs(60)));
        return write!(io::stdout(), "{plan}").context("cannot write to standard output");
    }
    privilege::require("chaos", "cargo xtask chaos")?;
    ensure!(args.captures.is_dir(), "--captures {} is not a directory", args.captures.display());
    ensure!(
        args.sabotage.is_none() || args.agent == Program::Vipd,
        "--sabotage simulates defects of vipd; omit --agent keepalived"
    );
    ensure!(
        !args.attack || args.agent == Program::Vipd,
        "--attack needs signed adverts, which the lab configures for vipd only; omit --agent keepalived"
    );
    ensure!(
        args.attack || args.sabotage != Some(Sabotage::Permissive),
        "--sabotage permissive is a defect of signed adverts; add --attack"
    );
    let agent = match (args.agent, &args.vipd) {
        (Program::Keepalived, _) => AgentKind::Keepalived,
        (Program::Vipd, Some(path)) => AgentKind::Vipd(std::path::absolute(path)?),
        (Program::Vipd, None) => AgentKind::Vipd(agent::build("chaos")?),
    };
    let options = Options {
        subject: Subject {
            agent,
            settings: args.set.join("\n"),
            sabotage: args.sabotage,
            is_attacked: args.attack,
        },
        outline,
        seed,
        length,
        bounds: Bounds { reaction: args.reaction, ..Bounds::default() },
        keep_going: args.keep_going,
        captures: args.captures.clone(),
    };
    let start = Instant::now();
    let summary = play(&options, &mut |progress| report(start, &progress))?;
    write_summary(&summary, start.elapsed(), &mut anstream::stdout())
        .context("cannot write to standard output")?;
    match summary.violated() {
        0 => Ok(()),
        _ if args.keep_going => Ok(()),
        violations => bail!("{violations} violation{}", if violations == 1 { "" } else { "s" }),
    }
}

fn outline(args: &Args) -> Result<Outline> {
    let mut kinds = if args.faults.is_empty() { Kind::ALL.to_vec() } else { args.faults.clone() };
    if args.attack && args.faults.is_empty() {
        kinds.push(Kind::Calm);
    }
    kinds.retain(|kind| !args.without.contains(kind));
    ensure!(!kinds.is_empty(), "--without leaves no kind of fault");
    let interval = args.interval.map(|interval| lab::interval(Version::V3, Some(interval))).transpose()?;
    Ok(Outline { nodes: args.nodes, routers: args.routers, interval, kinds })
}

/// Prints progress to standard error. For each violation, also prints the details needed to explain
/// it.
fn report(start: Instant, progress: &Progress<'_>) {
    let clock = format!("{:6.1} s", start.elapsed().as_secs_f64());
    match progress {
        Progress::Episode(plan) => {
            let rounds = plan.rounds.len();
            say(format_args!("{clock}  {rounds} rounds, seed {}: {}", plan.seed, plan.segment));
        }
        Progress::Round(plan, played) => {
            let round = played.number.checked_sub(1).and_then(|index| plan.rounds.get(index));
            let label = round.map_or_else(|| "start".to_owned(), Round::label);
            let gap = millis(played.verdict.longest_gap);
            say(format_args!(
                "{clock}  round {}/{}  {label}: longest gap {gap:.0} ms",
                played.number,
                plan.rounds.len()
            ));
            for skipped in &played.skipped {
                say(format_args!("          skipped: {skipped}"));
            }
            if !played.verdict.violations.is_empty() {
                anstream::eprintln!("{BAD}violated{BAD:#}:\n{}", played.describe(plan));
            }
        }
        Progress::Captured(path) => say(format_args!("frames written to {}", path.display())),
    }
}

fn write_summary(summary: &Summary, elapsed: Duration, out: &mut impl Write) -> io::Result<()> {
    let columns = ["rounds", "violated", "unlawful", "longest gap", "longest takeover"];
    let line = |out: &mut dyn Write, name: &str, cells: [String; 5]| {
        let [rounds, violated, unlawful, gap, takeover] = cells;
        writeln!(out, "{name:<15} {rounds:>7} {violated:>9} {unlawful:>9} {gap:>12} {takeover:>17}")
    };
    write!(out, "{HEADING}")?;
    line(out, "fault", columns.map(str::to_owned))?;
    write!(out, "{HEADING:#}")?;
    for (kind, figures) in &summary.kinds {
        line(out, kind.name(), figures.cells())?;
    }
    line(out, "two faults", Figures::cells(&summary.pairs))?;
    let Summary { answers, unlawful, episodes, .. } = summary;
    writeln!(
        out,
        "{episodes} episodes in {:.0} s: {answers} answers judged; {unlawful} unlawful answers and announcements; the \
         machine was stalled for {:.0} ms",
        elapsed.as_secs_f64(),
        millis(summary.stalled)
    )?;
    let Attack { received, forged, replayed } = summary.attack;
    if received > 0 {
        writeln!(
            out,
            "{received} adverts of the attacker reached nodes: {forged} different forged ones, {replayed} \
             replays"
        )?;
    }
    for invariant in Invariant::ALL {
        let count = summary.violations.get(&invariant).copied().unwrap_or(0);
        writeln!(out, "{invariant:<20} {count} violations")?;
    }
    Ok(())
}

/// Returns a seed that is short enough to type.
fn random_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::from(now.subsec_nanos()) % 1_000_000
}

fn parse_routers(text: &str) -> Result<usize> {
    match text.parse() {
        Ok(number) if (1..=MAX_ROUTERS).contains(&number) => Ok(number),
        _ => bail!("expected a number of virtual routers, 1 to {MAX_ROUTERS}"),
    }
}

fn say(message: impl std::fmt::Display) {
    process::progress("chaos", message);
}

//! Command-line arguments and help.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ColorChoice, Parser, Subcommand, ValueEnum as _};

use crate::control::runtime::DEFAULT_DIRECTORY;

/// The configuration file if none is given.
pub(super) const DEFAULT_CONFIG: &str = "/etc/vipd/vipd.toml";
/// Environment variable with the runtime directory.
pub(super) const RUNTIME_DIR: &str = "VIPD_RUNTIME_DIR";

/// A VRRP failover agent for Linux.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Examples:
  vipd check -c vipd.toml         check a configuration file
  sudo vipd run -c vipd.toml      run the agent in the foreground
  sudo vipd status                show which instances are master
  sudo vipd stats --watch 1       show counters and rates every second
  sudo vipd reload                apply the changed configuration file

Environment:
  VIPD_LOG          log level of `vipd run`, e.g. debug or vipd=trace [default: info]
  VIPD_RUNTIME_DIR  same as --runtime-dir
  NO_COLOR          disables colors with --color auto

Exit status:
  0  success
  1  failure: the reason is printed to standard error; `vipd doctor` also
     exits with 1 if it has found a problem
  2  invalid command line

The pages docs/commands.md, docs/configuration.md and docs/counters.md describe
the commands, the configuration keys and the counters."
)]
pub(super) struct Cli {
    /// Runtime directory with the control socket, one per agent
    #[arg(long, global = true, value_name = "DIR", env = RUNTIME_DIR, default_value = DEFAULT_DIRECTORY)]
    pub(super) runtime_dir: PathBuf,
    /// Whether output and log are colored; `auto` colors them on a terminal, unless `NO_COLOR` is
    /// set
    #[arg(long, global = true, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    pub(super) color: ColorChoice,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the agent in the foreground
    #[command(after_help = "\
Examples:
  sudo vipd run
  sudo VIPD_LOG=debug vipd run -c vipd.toml
  sudo vipd run -c second.toml --runtime-dir /run/vipd-second

Exit status: 0 after a clean shutdown by SIGTERM, SIGINT or SIGQUIT, or after
another process has taken over from this one (`vipd upgrade`, restart by
systemd); 1 if the agent cannot start or has failed.")]
    Run(ConfigArgs),
    /// Check a configuration file and report all errors and warnings with line and column
    #[command(after_help = "\
Examples:
  vipd check
  vipd check && sudo systemctl reload vipd

The file is also checked against the network interfaces of this machine, and
the executables of its commands are checked. Errors and warnings are printed to
standard error, one line each: FILE:LINE:COLUMN: TEXT. On a terminal, the line
of the file follows, with a caret under the column.

Exit status: 0 if the file is valid, even with warnings; 1 if it has errors or
cannot be read.")]
    Check(ConfigArgs),
    /// Translate a keepalived configuration file, and report settings that need attention
    #[command(after_help = "\
Examples:
  vipd import /etc/keepalived/keepalived.conf -o vipd.toml
  vipd import --config-id main keepalived.conf -o vipd.toml
  vipd import keepalived.conf | less

Messages with file and line are printed to standard error: notes about
settings that are not needed or were adapted, and settings that need
attention, which are also marked in the result. See docs/migration.md.

Exit status: 0 if the result has the same meaning; 1 if a setting needs
attention, if the file cannot be read, exceeds a limit or has no vrrp_instance,
if the output file exists (without --force) or cannot be written, or if the
result is not valid.")]
    Import(ImportArgs),
    /// Show the counters of a running agent
    #[command(after_help = "\
Examples:
  vipd stats --watch 1                     show totals and rates every second
  vipd stats --interface eth1 --vrid 51    show a single virtual router
  vipd stats --json | jq .global
  vipd stats --prometheus > /var/lib/node_exporter/vipd.prom

With --watch, rates per second follow the totals on a terminal. In a pipe, only
totals are printed, so that each column remains a number; --json and
--prometheus also print only totals.

Exit status: 1 if no instance matches --interface and --vrid.

Requires access to the control socket: run as root or as a member of a group
named in `[control]` or, without `[control]`, of the socket's group.")]
    Stats(StatsArgs),
    /// Show the state of every instance of a running agent
    #[command(after_help = "\
Examples:
  vipd status
  vipd status VI_1                 show details of an instance or a group
  vipd status --json | jq -r '.instances[] | select(.state == \"master\") | .name'

On a narrow terminal, columns are moved below their row or hidden; in a pipe,
all columns are printed.

Exit status: 0 in any state, even with a fault; 1 if a name is unknown.

Requires access to the control socket: run as root or as a member of a group
named in `[control]` or, without `[control]`, of the socket's group.")]
    Status(StatusArgs),
    /// Watch a running agent; drain or fail over instances interactively
    #[command(after_help = "\
Examples:
  sudo vipd top
  ssh -t node1 sudo vipd top

Keys:
  q, Ctrl-C            quit
  Up, Down, k, j       select an instance; also PgUp, PgDn, Home, End
  /                    show only instances whose name contains the typed text;
                       Enter keeps the filter, Esc clears it
  s, S, r              sort by the next or previous key, reverse the order
  d, u, f              drain, undrain or fail over the selected instance, after
                       a confirmation

Requires a terminal and access to the control socket. If the agent is not
running, the last report stays on the screen until the agent is back.

Exit status: 0 after q, Ctrl-C or SIGTERM, or if the terminal is closed; 1 if
there is no terminal.")]
    Top,
    /// Apply the configuration file to a running agent, without disturbing unchanged instances
    #[command(after_help = "\
Examples:
  vipd check && sudo vipd reload

Prints a line for each change. If the file has errors, prints all of them and
changes nothing. Signal SIGHUP does the same, with the result in the log.

Exit status: 0 if the file was applied, even without a change; 1 if nothing has
changed because of an error.")]
    Reload,
    /// Replace a running agent with a new process, for example after installing a new version
    #[command(after_help = "\
Examples:
  sudo vipd upgrade                after the package has been updated
  sudo vipd upgrade --exe ./target/release/vipd

The new process takes over all states, timers and counters: no instance
changes its state, and no advert is missed. Then it applies the configuration
file, as `vipd reload` does. If the new process cannot take over, the agent
continues, and the reason is printed.

Exit status: 0 if the new process has taken over; 1 if the agent continues.")]
    Upgrade(UpgradeArgs),
    /// Hand instances over to other nodes and keep them in fault until `undrain`
    #[command(after_help = "\
Examples:
  sudo vipd drain                  all instances, for example before maintenance
  sudo vipd drain VI_1 VI_2

A master sends a priority-0 advert, so that a backup takes over after its
Skew_Time.
Instances stay drained when the configuration is reloaded and when the agent
is restarted.

Exit status: 0 if all are drained, even if they were before; 1 if none has
changed because a name is unknown.")]
    Drain(Instances),
    /// Put drained instances back into service
    #[command(after_help = "\
Examples:
  sudo vipd undrain
  sudo vipd undrain VI_1 VI_2

Exit status: 0 if none of them is drained anymore; 1 if none has changed
because a name is unknown.")]
    Undrain(Instances),
    /// Hand mastership of instances over to another node once
    #[command(after_help = "\
Examples:
  sudo vipd failover VI_1

Run it on the master, which sends a priority-0 advert, so that a backup takes
over after its Skew_Time. The former master does not preempt the new one, even
if its priority is higher. It takes over again when the new master fails or
hands over mastership or, if there is no backup, after its
Active_Down_Interval.

The command ends once another node, or this one again, is master.

Exit status: 0 if other nodes have taken over all instances; 1 if none has
changed because a name is unknown, or an instance is not master or owns its
addresses; 1 also if an instance was not taken over by another node.")]
    Failover(Masters),
    /// Change the priority of an instance until it is reset or the agent shuts down
    #[command(after_help = "\
Examples:
  sudo vipd priority VI_1 150
  sudo vipd priority VI_1 reset    restore the configured priority

A reload keeps this priority unless it changes the configured one. An upgrade,
and a restart that keeps the states of the instances, keep it as well.

Exit status: 1 if the instance is unknown or the owner of its addresses.")]
    Priority(PriorityArgs),
    /// Show the latest events of a running agent, such as state changes
    #[command(after_help = "\
Examples:
  vipd events
  vipd events --follow --json | jq 'select(.to == \"master\")'

The agent keeps the last 1024 events. With --follow, a reader that is too slow
is disconnected.

Exit status: 0 at the end of the events, even if the agent has closed the
connection; 1 if the events cannot be read.

Requires access to the control socket: run as root or as a member of a group
named in `[control]` or, without `[control]`, of the socket's group.")]
    Events(EventsArgs),
    /// Find the cause of trouble on this host and on its segments
    #[command(after_help = "\
Examples:
  sudo vipd doctor
  sudo vipd doctor --seconds 30    observe the adverts for longer
  sudo vipd doctor --json | jq '.[\"vipd:findings\"][].check'

Compares the configuration file, the running agent, the kernel's settings and
the adverts on the segments. Each finding has its evidence and a remedy. See
docs/troubles.md. The command requests the MACs of VIPs and of unicast peers,
joins the VRRP groups, and attaches a BPF program to observe the adverts that
vipd drops at the XDP hook. None of this outlasts the command, unless it is
killed.

vipd's timers use the monotonic clock. The wall clock is checked because signed
adverts and the comparison of logs of several nodes depend on it.

Exit status: 0 if there is no problem, even with warnings; 1 if there is a
problem, or the checks cannot run.

Run it as root, in the network namespace of the agent.")]
    Doctor(DoctorArgs),
    /// List the VRRP routers of a segment
    #[command(after_help = "\
Examples:
  sudo vipd scan eth1
  sudo vipd scan eth1 --seconds 10 --json | jq '.[\"vipd:routers\"][].source'

Needs no agent, and does not disturb a running one. Only masters send adverts,
so backups are not listed. Adverts that this host sends are included.

Exit status: 0 even if there is no router; 1 if the interface cannot be
observed.

Requires CAP_NET_RAW, and CAP_SYS_ADMIN if an XDP program is attached to the
interface: run as root.")]
    Scan(ScanArgs),
    /// Capture adverts, each with the decision of the BPF program
    #[command(after_help = "\
Examples:
  sudo vipd capture eth1
  sudo vipd capture eth1 -w adverts.pcapng
  sudo vipd capture eth1 -w - | tshark -r - -T fields -e frame.comment

Captures the adverts that the interface sends and receives, including those
that vipd's XDP program drops, which tcpdump cannot capture. In the pcapng
file, the comment of each received frame is the decision of the BPF program
with this configuration file, and the reason. Rate limits, HMACs, clocks and
replays are not checked. Ends after --seconds, or with Ctrl-C.

Exit status: 0 at the end of the time or after Ctrl-C; 1 if the interface
cannot be observed, the configuration file given with -c is not valid or cannot
be read, or the capture file cannot be written.

Requires CAP_NET_RAW, and CAP_SYS_ADMIN if an XDP program is attached to the
interface: run as root.")]
    Capture(CaptureArgs),
    /// Remove VIPs, routes, rules, macvlans and BPF programs left by a dead agent
    #[command(after_help = "\
Examples:
  sudo vipd cleanup
  sudo ip netns exec NETNS vipd --runtime-dir DIR cleanup

Only needed if the agent will not be started again: a starting agent removes
the objects left by a dead agent with the same runtime directory. Until then,
the node of a dead master answers for its VIPs. Once another node has become
master, the kernel drops packets to and from these VIPs if they are fenced.

Run the command in the network namespace of the agent. It removes the VIPs,
routes, rules and TC filters of all dead agents there, and the macvlans and
BPF programs of each dead agent that has BPF programs or this runtime
directory. It fails while another agent runs in this namespace. BPF programs
that are pinned in another mount namespace are found only as root, with
CAP_SYS_ADMIN.

Exit status: 0 even if there was nothing to remove; 1 if an agent is running,
or a VIP, route, rule, macvlan or BPF program could not be removed.")]
    Cleanup,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    pub(super) config: ConfigArgs,
    /// Time to observe the adverts (default: 3.6 advert intervals, 4 to 60 s)
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub(super) seconds: Option<Duration>,
    /// Print one line of JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ScanArgs {
    /// Network interface
    #[arg(value_name = "INTERFACE")]
    pub(super) interface: String,
    /// Time to observe adverts; should be at least 3 advert intervals
    #[arg(long, value_name = "N", value_parser = seconds, default_value = "4")]
    pub(super) seconds: Duration,
    /// Print one line of JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct CaptureArgs {
    /// Network interface
    #[arg(value_name = "INTERFACE")]
    pub(super) interface: String,
    /// Write a pcapng file, or `-` for standard output (default: print a line per advert)
    #[arg(short, long, value_name = "FILE")]
    pub(super) write: Option<PathBuf>,
    /// Configuration file to compare adverts with (default: /etc/vipd/vipd.toml, if it exists)
    #[arg(short = 'c', value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Stop after this time
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub(super) seconds: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct UpgradeArgs {
    /// Executable of the new process (default: the file at the agent's own path). Requires root
    #[arg(long, value_name = "FILE")]
    pub(super) exe: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Instances {
    /// Names of instances or sync groups; all instances if none is given
    #[arg(value_name = "NAME")]
    pub(super) instances: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Masters {
    /// Names of instances or sync groups
    #[arg(value_name = "NAME", required = true)]
    pub(super) instances: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct PriorityArgs {
    /// Name of the instance
    #[arg(value_name = "NAME")]
    pub(super) instance: String,
    /// New priority, 1 to 254, or `reset`
    #[arg(value_name = "PRIORITY", value_parser = new_priority)]
    pub(super) priority: NewPriority,
}

/// A priority, or `None` to restore the configured priority.
#[derive(Clone, Copy, Debug)]
pub(super) struct NewPriority(pub(super) Option<u8>);

fn new_priority(text: &str) -> Result<NewPriority, String> {
    if text == "reset" {
        return Ok(NewPriority(None));
    }
    let priority = text.parse().ok().filter(|priority| (1..=254).contains(priority));
    priority
        .map(|priority| NewPriority(Some(priority)))
        .ok_or_else(|| "must be 1 to 254, or `reset`".to_owned())
}
#[derive(Debug, Args)]
pub(super) struct EventsArgs {
    /// Keep printing new events until interrupted
    #[arg(long, short = 'f')]
    pub(super) follow: bool,
    /// Print one JSON object per line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Configuration file
    #[arg(short = 'c', value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(super) config: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    /// The keepalived configuration file
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Write the result to a new file (default: standard output)
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Overwrite an existing output file
    #[arg(long, requires = "output")]
    pub(super) force: bool,
    /// ID for conditional lines (default: the host name up to its first dot)
    #[arg(long, value_name = "ID")]
    pub(super) config_id: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct StatsArgs {
    /// Show only instances on this interface
    #[arg(long, value_name = "IF")]
    pub(super) interface: Option<String>,
    /// Show only instances with this VRID, 1 to 255
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..))]
    pub(super) vrid: Option<u8>,
    /// Print one line of JSON, with RFC 8347 names
    #[arg(long, conflicts_with = "prometheus")]
    pub(super) json: bool,
    /// Print in the Prometheus text exposition format
    #[arg(long)]
    pub(super) prometheus: bool,
    /// Repeat at this interval, e.g. 1 or 0.5, until interrupted
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(super) watch: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// Names of instances or sync groups to show in detail
    #[arg(value_name = "NAME")]
    pub(super) names: Vec<String>,
    /// Print one line of JSON, with RFC 8347 names
    #[arg(long)]
    pub(super) json: bool,
}

/// Returns the value of `--color` in a command line that is invalid or requests help. For such a
/// command line, clap returns no values.
pub(super) fn color(arguments: &[OsString]) -> ColorChoice {
    let options = arguments.iter().take_while(|word| *word != "--");
    let mut words = options.map(|word| word.to_str().unwrap_or_default());
    let mut chosen = ColorChoice::Auto;
    while let Some(word) = words.next() {
        let value = match word.strip_prefix("--color") {
            Some("") => words.next(),
            Some(rest) => rest.strip_prefix('='),
            None => None,
        };
        chosen = value.and_then(|value| ColorChoice::from_str(value, false).ok()).unwrap_or(chosen);
    }
    chosen
}

/// Parses a number of seconds, which may have a fraction. The number must be above 0 and at most a
/// day, so that adding the duration to a time cannot overflow.
fn seconds(text: &str) -> Result<Duration, String> {
    text.parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .filter(|duration| !duration.is_zero() && *duration <= Duration::from_secs(86_400))
        .ok_or_else(|| "must be a number of seconds above 0 and at most 86400, e.g. 1 or 0.5".to_owned())
}

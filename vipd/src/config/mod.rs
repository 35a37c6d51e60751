//! Reads and checks the configuration file. If files cannot be included, only the reasons are
//! reported; otherwise, all problems are reported at once.

mod duration;
mod excerpt;
mod host;
mod include;
pub mod machine;
pub mod operate;
mod problem;
mod schema;
mod section;
pub mod settings;
mod table;
mod text;
pub mod track;
mod unique;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use zeroize::Zeroizing;

pub use excerpt::Excerpt;
pub use problem::{Executables, Problem, Problems};
pub use text::ConfigText;

use crate::process::{defect, prevent_core_dumps};
use crate::vrrp::config::RouterConfig;
use crate::vrrp::hmac;
use include::Sources;
use machine::Machine;
use operate::{Control, Group, Metrics, Notifications, Notify, Route, Rule};
use problem::{Collector, Findings};
use schema::Section;
#[cfg(test)]
pub(crate) use schema::reference::{has_key, keepalived_words};
use section::check::Checks;
use section::secret::Folders;
use section::{control, group, instance, interface, metrics, notify};
use settings::{Checksum, Password, Placement, Transport, VirtualMac, XdpMode};
use table::Table;
use track::{Process, Script, Track, TrackedFile};

/// Maximum size of a file in bytes. A larger file is probably not a configuration file, but a
/// device or a log file.
const MAX_BYTES: u64 = 1 << 20;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether the engine requests real-time scheduling.
    pub realtime: Realtime,
    /// Whether VIPs are fenced.
    pub fence: Fence,
    /// The instances in file order, at least one. Shared by the engine and the service.
    pub instances: Vec<Arc<Instance>>,
    /// Scripts that instances and groups can track, sorted by name.
    pub scripts: Vec<Arc<Script>>,
    /// Processes that instances and groups can track, sorted by name.
    pub processes: Vec<Arc<Process>>,
    /// Files that instances and groups can track, sorted by name.
    pub files: Vec<Arc<TrackedFile>>,
    /// Sync groups in file order.
    pub groups: Vec<Arc<Group>>,
    /// Access to the control socket.
    pub control: Control,
    /// Metrics over HTTP.
    pub metrics: Metrics,
    /// Settings for all notifications.
    pub notifications: Notifications,
    /// Warnings about valid but suspicious settings, in file order.
    pub warnings: Vec<Problem>,
    /// The executables of all commands.
    pub executables: Executables,
    /// The text of the files that were read.
    pub text: ConfigText,
}

/// Whether the engine requests real-time scheduling and locked memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Realtime {
    /// Requests `SCHED_FIFO` and `mlockall`. If the kernel denies a request, the agent logs this
    /// and runs without that feature.
    #[default]
    Auto,
    /// Requests neither real-time scheduling nor locked memory.
    Off,
}

/// Whether the kernel stops using the VIPs of a master whose agent is dead or stopped, once another
/// node has become master.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fence {
    /// VIPs are fenced.
    #[default]
    On,
    /// VIPs are not fenced: a master whose agent is dead or stopped keeps using its VIPs until they
    /// are removed.
    Off,
}

/// One virtual router on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Name in logs and reports, unique among the instances: 1 to 64 printable characters without
    /// white space.
    pub name: String,
    /// Name of the interface, 1 to 15 bytes.
    pub interface: String,
    /// Parameters of the protocol, for the state machine.
    pub router: RouterConfig,
    /// Source address of the instance's adverts (`unicast_source`, or `source` for multicast);
    /// `None` for the interface's primary address.
    pub source: Option<IpAddr>,
    /// Destination of the instance's adverts.
    pub transport: Transport,
    /// Checksum form of VRRPv3 adverts that the instance sends over IPv4.
    pub checksum: Checksum,
    /// Mode of the BPF program on the instance's interface.
    pub xdp: XdpMode,
    /// VRRPv2 authentication data.
    pub password: Option<Password>,
    /// Keys and rules for signed adverts; `None` if the instance does not sign adverts and drops
    /// signed adverts.
    pub hmac: Option<hmac::Config>,
    /// Settings of the virtual MAC; `None` if the instance does not use it.
    pub virtual_mac: Option<VirtualMac>,
    /// Accept_Mode (RFC 9568 section 6.1): as master, accept packets to the virtual addresses.
    pub accept: bool,
    /// Pause between announcement packets in nanoseconds; 0 for none (`garp.interval`).
    pub announce_interval: u64,
    /// Placement of each of [`RouterConfig::all_addresses`], in that order.
    pub placements: Vec<Placement>,
    /// Tracked objects, including those of the instance's group.
    pub track: Vec<Track>,
    /// Commands for transitions.
    pub notify: Option<Arc<Notify>>,
    /// Routes that exist while the instance is master.
    pub routes: Vec<Route>,
    /// Policy rules that exist while the instance is master.
    pub rules: Vec<Rule>,
}

/// Failure to load a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {cause}; {remedy}")]
    Read {
        /// The file, as named on the command line or found by `include`.
        path: String,
        /// The underlying error.
        cause: io::Error,
        /// The remedy, for the message.
        remedy: &'static str,
    },
    /// The file has errors.
    #[error(transparent)]
    Problems(#[from] Problems),
}

impl Config {
    /// Returns whether any instance has a VRRPv2 password or keys for signed adverts.
    pub(crate) fn has_secret(&self) -> bool {
        self.instances.iter().any(|instance| instance.password.is_some() || instance.hmac.is_some())
    }

    /// Reads and checks a file.
    ///
    /// # Errors
    /// Returns an error if the file or an included file cannot be read or is not UTF-8. If a
    /// pattern of `include` cannot be read, or an included file has keys that are not allowed
    /// there, returns only these problems. Otherwise, returns all problems in these files.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        Self::load_on(path, &Machine::default())
    }

    /// Reads and checks a file, as [`load_on`](Self::load_on) does. If the file has a password or a
    /// key, or has errors and may have one, this process writes no core dumps from then on.
    ///
    /// # Errors
    /// See [`load_on`](Self::load_on).
    pub(crate) fn load_protected(path: impl AsRef<Path>, machine: &Machine) -> Result<Self, ConfigError> {
        let config = Self::load_on(path, machine);
        if config.as_ref().map_or(true, Self::has_secret) {
            prevent_core_dumps();
        }
        config
    }

    /// Reads and checks a file, as [`load`](Self::load) does, and also checks it against a machine.
    /// Settings that do not fit the machine's interfaces cause warnings.
    ///
    /// # Errors
    /// See [`load`](Self::load). If executables are checked, also returns an error for a command
    /// that is missing or not safe to run.
    pub fn load_on(path: impl AsRef<Path>, machine: &Machine) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let file_name = path.display().to_string();
        let bytes = read(path).map_err(|cause| ConfigError::Read {
            path: file_name.clone(),
            remedy: remedy(&cause),
            cause,
        })?;
        let sources = Sources::gather(&bytes, folder(path), &file_name)?;
        Ok(Self::parse_in(folder(path), &sources, &file_name, machine)?)
    }

    /// Parses and checks a configuration. Files listed in `include` are not read. Problems are
    /// reported under `file_name`; relative paths in the configuration are relative to that file's
    /// directory.
    ///
    /// # Errors
    /// Returns every problem in the configuration, in file order.
    pub fn parse(source: &str, file_name: &str) -> Result<Self, Problems> {
        Self::parse_on(source, file_name, &Machine::default())
    }

    /// Parses a configuration like [`parse`](Self::parse), and also checks it against a machine.
    /// Settings that do not fit the machine's interfaces cause warnings.
    ///
    /// # Errors
    /// See [`parse`](Self::parse). If executables are checked, also returns a problem for each
    /// command that is missing or not safe to run.
    pub fn parse_on(source: &str, file_name: &str, machine: &Machine) -> Result<Self, Problems> {
        let sources = Sources { text: Zeroizing::new(source.to_owned()), included: Vec::new() };
        Self::parse_in(folder(Path::new(file_name)), &sources, file_name, machine)
    }

    fn parse_in(
        folder: &Path,
        sources: &Sources,
        file_name: &str,
        machine: &Machine,
    ) -> Result<Self, Problems> {
        let source = &sources.text;
        let mut problems = Collector::new(source, file_name, &sources.included);
        if machine.checks_executables {
            problems.check_executables(defect);
        }
        let (document, errors) = DeTable::parse_recoverable(source);
        for error in &errors {
            problems.syntax(error);
        }
        let table = Table::new(document.get_ref(), 0, "at the top of the file");
        let folders = Folders::new(folder, file_name, machine);
        let config = Self::read(&table, &folders, machine, &mut problems);
        let Findings { warnings, executables, text } = problems.finish(file_name, document.get_ref())?;
        // `read` returns `None` only after reporting a problem, so `finish` has already returned an
        // error. If it has not, that is a bug, and the file is still rejected.
        let config = config.ok_or_else(|| Problems::unexplained(file_name))?;
        Ok(Self { warnings, executables, text, ..config })
    }

    fn read(
        table: &Table<'_>,
        folders: &Folders<'_>,
        machine: &Machine,
        problems: &mut Collector<'_>,
    ) -> Option<Self> {
        table.reject_unknown(Section::Top, problems);
        // `load_on` has already read the included files; `parse` does not read them. Only values of
        // the wrong type are reported here.
        table.optional(&schema::INCLUDE, problems, |value| {
            value.elements(&schema::INCLUDED)?.iter().try_for_each(|element| element.string().map(drop))
        });
        let realtime = table
            .optional(&schema::REALTIME, problems, |value| value.choice([Realtime::Auto, Realtime::Off]));
        let fence = table.optional(&schema::FENCE, problems, |value| value.choice([Fence::On, Fence::Off]));
        if let (Some(obstacle), Some(None | Some(Fence::On))) = (&machine.fence_obstacle, fence) {
            problems.warn(
                0,
                format!("VIPs are not fenced if all processes of vipd are killed at once: {obstacle}"),
            );
        }
        let checks = checks(table, problems);
        let notifications = notify::notifications(table, problems);
        let control = control::read(table, problems);
        let metrics = metrics::read(table, problems);
        let (instances, groups) = instances(table, folders, machine, &checks, problems)?;
        Some(Self {
            realtime: realtime?.unwrap_or_default(),
            fence: fence?.unwrap_or_default(),
            instances,
            scripts: checks.scripts.into_values().collect(),
            processes: checks.processes.into_values().collect(),
            files: checks.files.into_values().collect(),
            groups,
            control,
            metrics,
            notifications,
            warnings: Vec::new(),
            executables: Executables::default(),
            text: ConfigText::default(),
        })
    }
}

/// Returns the directory that contains a file.
fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Reads every `[[script]]`, `[[process]]` and `[[file]]`.
fn checks(table: &Table<'_>, problems: &mut Collector<'_>) -> Checks {
    let mut checks = Checks::default();
    tables(table, &schema::SCRIPTS, "in a script", problems, |table, problems| {
        checks.script(table, problems);
    });
    tables(table, &schema::PROCESSES, "in a process", problems, |table, problems| {
        checks.process(table, problems);
    });
    tables(table, &schema::FILES, "in a file", problems, |table, problems| checks.file(table, problems));
    checks
}

/// The instances and their groups.
type Members = (Vec<Arc<Instance>>, Vec<Arc<Group>>);

/// Reads every `[[instance]]`, `[[group]]` and `[[interface]]`, and checks them for conflicts. The
/// tracked objects of a group are added to each of its members.
fn instances(
    table: &Table<'_>,
    folders: &Folders<'_>,
    machine: &Machine,
    checks: &Checks,
    problems: &mut Collector<'_>,
) -> Option<Members> {
    let default = table.optional(&schema::XDP, problems, interface::xdp).flatten().unwrap_or_default();
    let mut interfaces = Vec::new();
    tables(table, &schema::INTERFACES, "in an interface", problems, |table, problems| {
        interfaces.push(interface::Interface::read(table, problems));
    });
    let mut drafts = Vec::new();
    let found = tables(table, &schema::INSTANCES, "in an instance", problems, |table, problems| {
        drafts.push(instance::Draft::read(table, folders, checks, problems));
    });
    // After a syntax error, the rest of the file may not have been read.
    if found == Some(0) && !problems.has_syntax_error() {
        let remedy = remedy_for(&schema::INSTANCES);
        problems.add(0, format!("no instance is configured; at least one is required; {remedy}"));
    }
    found.filter(|count| *count > 0)?;
    let mut groups = Vec::new();
    tables(table, &schema::GROUPS, "in a group", problems, |table, problems| {
        groups.push(group::GroupDraft::read(table, checks, problems));
    });
    let groups = group::finish(groups, &drafts, problems);
    unique::check(&drafts, problems);
    section::hmac::check_load(&drafts, problems);
    if !machine.lacks_secrets && !machine.lacks_keys {
        section::hmac::check_shared(&drafts, problems);
    }
    machine.check(&drafts, problems);
    let modes = interface::modes(&interfaces, &drafts, problems);
    let mode = |name: &str| modes.get(name).copied().unwrap_or(default);
    let instances = drafts.into_iter().map(|draft| {
        let mut instance = draft.finish(mode)?;
        let group = groups.iter().find(|group| group.members.contains(&instance.name));
        instance.track.extend(group.into_iter().flat_map(|group| group.track.iter().cloned()));
        Some(Arc::new(instance))
    });
    Some((instances.collect::<Option<_>>()?, groups))
}

/// Reads an array of tables and returns the number of its elements, or 0 if the key is missing. If
/// the value is not an array, reports a problem and returns `None`.
fn tables(
    table: &Table<'_>,
    key: &schema::Key,
    place: &'static str,
    problems: &mut Collector<'_>,
    mut read: impl FnMut(&Table<'_>, &mut Collector<'_>),
) -> Option<usize> {
    let Some(found) = table.get(key.name) else { return Some(0) };
    let Some(array) = found.get_ref().as_array() else {
        let (kind, allowed, remedy) = (table::kind(found.get_ref()), key.allowed, remedy_for(key));
        problems.add(found.span().start, format!("{key} is {kind}; it must be {allowed}; {remedy}"));
        return None;
    };
    for element in array {
        let at = element.span().start;
        if let DeValue::Table(entries) = element.get_ref() {
            read(&Table::new(entries, at, place), problems);
        } else {
            let (kind, remedy) = (table::kind(element.get_ref()), remedy_for(key));
            problems.add(at, format!("an element of {key} is {kind}; it must be a table; {remedy}"));
        }
    }
    Some(array.len())
}

fn remedy_for(key: &schema::Key) -> String {
    format!("put each under its own `[[{key}]]` header")
}

/// Reads a file. The buffer is cleared when it is dropped, because it may contain keys.
///
/// # Errors
/// Returns an error if the file cannot be read, or is larger than 1 MiB.
pub(crate) fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path)?;
    let length = file.metadata()?.len().min(MAX_BYTES);
    // With this capacity, the buffer of a regular file is not reallocated, which would leave a copy
    // in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1));
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 1 MiB"));
    }
    Ok(bytes)
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "create it, or specify another file with -c FILE",
        io::ErrorKind::PermissionDenied => "run as a user with read permission, or change the file's mode",
        io::ErrorKind::IsADirectory | io::ErrorKind::FileTooLarge => {
            "specify a configuration file with -c FILE"
        }
        _ => "specify a readable file with -c FILE",
    }
}

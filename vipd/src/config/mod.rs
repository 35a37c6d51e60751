//! The configuration file: TOML in, checked virtual routers out, or every problem it has at once.

mod addresses;
mod announcements;
mod duration;
mod election;
mod host;
mod instance;
mod interval;
mod keys;
mod password;
mod problem;
pub mod settings;
mod table;
mod transport;
mod unique;
mod virtual_address;
mod wire;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;

use toml::de::{DeTable, DeValue};

pub use problem::{Problem, Problems};

use crate::vrrp::config::RouterConfig;
use keys::TOP_LEVEL;
use problem::Collector;
use settings::{Checksum, Password, Placement, Transport, VirtualMac};
use table::Table;

/// A configuration is a few kilobytes; more than this many bytes is a mistake (a device, a log file).
const MAX_BYTES: u64 = 1 << 20;

/// A whole configuration, already checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whether the engine asks for real-time scheduling.
    pub realtime: Realtime,
    /// The instances, at least one, in the order of the file.
    pub instances: Vec<Instance>,
    /// What is allowed and may well not be what is wanted, in the order of the file.
    pub warnings: Vec<Problem>,
}

/// Whether the engine asks the kernel for real-time scheduling and locked memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Realtime {
    /// `SCHED_FIFO` and `mlockall` where the process may; otherwise it runs without them and says so.
    #[default]
    Auto,
    /// Neither is asked for.
    Off,
}

/// One virtual router on one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Name in logs and reports, unique in the file: 1 to 64 printable characters without white space.
    pub name: String,
    /// Name of the interface, 1 to 15 bytes.
    pub interface: String,
    /// The virtual router itself.
    pub router: RouterConfig,
    /// Source of its adverts (`unicast_source`, or `source` in multicast); none for the interface's primary address.
    pub source: Option<IpAddr>,
    /// Where its adverts go.
    pub transport: Transport,
    /// Which checksum its adverts have, in VRRPv3 over IPv4.
    pub checksum: Checksum,
    /// VRRPv2's authentication data.
    pub password: Option<Password>,
    /// Whether it has the virtual MAC.
    pub virtual_mac: Option<VirtualMac>,
    /// Accept_Mode (RFC 9568 section 6.1): as master, accept packets to the virtual addresses.
    pub accept: bool,
    /// Nanoseconds between two packets of an announcement; 0 for none (`garp.interval`).
    pub announce_interval: u64,
    /// How each of [`RouterConfig::all_addresses`] is put on an interface, in that order.
    pub placements: Vec<Placement>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read at all.
    #[error("cannot read {path}: {cause}; {remedy}")]
    Read {
        /// The file as it was named.
        path: String,
        /// What the system said.
        cause: io::Error,
        /// What to do about it.
        remedy: &'static str,
    },
    /// It was read, and this is what is wrong in it.
    #[error(transparent)]
    Problems(#[from] Problems),
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, or with every problem in it.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigError> {
        let path = path.as_ref();
        let file_name = path.display().to_string();
        let bytes = read(path).map_err(|cause| ConfigError::Read {
            path: file_name.clone(),
            remedy: remedy(&cause),
            cause,
        })?;
        match std::str::from_utf8(&bytes) {
            Ok(source) => Ok(Self::parse_in(folder(path), source, &file_name)?),
            Err(error) => Err(Problems::not_utf8(&bytes, error.valid_up_to(), &file_name).into()),
        }
    }

    /// Checks a configuration that was read already; `file_name` is what its problems are reported under, and its folder
    /// is the one that paths in the configuration start from.
    ///
    /// # Errors
    /// With every problem in it, in the order of the file.
    pub fn parse(source: &str, file_name: &str) -> Result<Self, Problems> {
        Self::parse_in(folder(Path::new(file_name)), source, file_name)
    }

    fn parse_in(folder: &Path, source: &str, file_name: &str) -> Result<Self, Problems> {
        let mut problems = Collector::new(source);
        let (document, errors) = DeTable::parse_recoverable(source);
        for error in &errors {
            problems.syntax(error);
        }
        let table = Table::new(document.get_ref(), 0, "at the top of the file");
        let config = Self::read(&table, folder, &mut problems);
        let warnings = problems.finish(file_name)?;
        // Whatever returned `None` has reported why; should it ever not, this still refuses with words.
        let config = config.ok_or_else(|| Problems::unexplained(file_name))?;
        Ok(Self { warnings, ..config })
    }

    fn read(table: &Table<'_>, folder: &Path, problems: &mut Collector<'_>) -> Option<Self> {
        table.refuse_unknown(TOP_LEVEL, problems);
        let realtime = table.optional(&keys::REALTIME, problems, |value| match value.string()? {
            "auto" => Ok(Realtime::Auto),
            "off" => Ok(Realtime::Off),
            other => Err(value.refused(format!("{other:?}"), "choose one of them")),
        });
        let instances = instances(table, folder, problems)?;
        Some(Self { realtime: realtime?.unwrap_or_default(), instances, warnings: Vec::new() })
    }
}

/// The folder a file is in.
fn folder(file: &Path) -> &Path {
    file.parent().unwrap_or(Path::new(""))
}

/// Reads every `[[instance]]`, then looks at what they must not share.
fn instances(table: &Table<'_>, folder: &Path, problems: &mut Collector<'_>) -> Option<Vec<Instance>> {
    const REMEDY: &str = "write each virtual router under a line `[[instance]]`";
    let Some(found) = table.get("instance") else {
        problems.absent("instance", 0, format!("there is no instance; at least one is needed; {REMEDY}"));
        return None;
    };
    let at = found.span().start;
    let Some(array) = found.get_ref().as_array() else {
        let kind = table::kind(found.get_ref());
        problems.add(at, format!("instance is {kind}; it must be an array of tables; {REMEDY}"));
        return None;
    };
    if array.is_empty() {
        problems.add(at, format!("instance is an empty array; at least one is needed; {REMEDY}"));
    }
    let mut drafts = Vec::new();
    for element in array {
        let at = element.span().start;
        if let DeValue::Table(entries) = element.get_ref() {
            let table = Table::new(entries, at, "in an instance");
            drafts.push(instance::Draft::read(&table, folder, problems));
        } else {
            let kind = table::kind(element.get_ref());
            problems.add(at, format!("an element of instance is {kind}; it must be a table; {REMEDY}"));
        }
    }
    unique::check(&drafts, problems);
    drafts.into_iter().map(instance::Draft::finish).collect()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the file is larger than 1 MiB"));
    }
    Ok(bytes)
}

fn remedy(cause: &io::Error) -> &'static str {
    match cause.kind() {
        io::ErrorKind::NotFound => "create it, or name another file with -c FILE",
        io::ErrorKind::PermissionDenied => "run as a user who may read it, or change its mode",
        io::ErrorKind::IsADirectory | io::ErrorKind::FileTooLarge => {
            "name the configuration file itself with -c FILE"
        }
        _ => "name a readable file with -c FILE",
    }
}

//! `auth_pass` and `auth_pass_file`: the VRRPv2 password, which must not appear in messages.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::settings::Password;
use crate::config::table::{Located, Rejection, Table, Value};
use crate::vrrp::interval::Version;

/// Maximum number of bytes read from a password file.
const MAX_LINE: u64 = 4096;

/// Reads the configured password.
pub(in crate::config) fn read(
    table: &Table<'_>,
    folder: &Path,
    version: Option<Version>,
    problems: &mut Collector<'_>,
) -> Option<Password> {
    let written = table
        .given(&schema::AUTH_PASS, problems, |value| password(value, "auth_pass", value.string()?.as_bytes()))
        .flatten();
    let file = table.given(&schema::AUTH_PASS_FILE, problems, |value| from_file(value, folder)).flatten();
    if table.get(schema::AUTH_PASS.name).is_some()
        && let Some(file) = &file
    {
        problems.add(file.at, "auth_pass and auth_pass_file are mutually exclusive; remove one of them");
    }
    if let Some(Located { at, value: (_, name, mode) }) = &file
        && mode & 0o004 != 0
    {
        problems.warn(*at, format!("auth_pass_file {name:?} is world-readable; run `chmod o-r {name}`"));
    }
    let at = written.as_ref().map(|found| found.at).or(file.as_ref().map(|found| found.at))?;
    match version {
        Some(Version::V3) => problems.add(
            at,
            "a password is set for a VRRPv3 instance, but VRRPv3 has no authentication (RFC 9568 section 9); \
             remove it, or set `version = 2`",
        ),
        Some(Version::V2) => problems.warn(
            at,
            "the password is sent in plain text; it protects against misconfigured routers, not against attackers",
        ),
        None => {}
    }
    written.map(|found| found.value).or(file.map(|found| found.value.0))
}

/// Checks a password and pads it with zeros. `what` describes its origin in messages.
fn password(value: &Value<'_>, what: &str, bytes: &[u8]) -> Result<Password, Rejection> {
    let rejected = |found: &str, remedy: &str| {
        value.rejected_because(format!("{what} {found}; a password is 1 to 8 bytes; {remedy}"))
    };
    // A zero byte cannot be distinguished from padding.
    if bytes.contains(&0) {
        return Err(rejected("has a zero byte", "remove it"));
    }
    let mut padded = [0; 8];
    match padded.get_mut(..bytes.len()) {
        None => Err(rejected(
            &format!("has {} bytes", bytes.len()),
            "use the first eight, as keepalived does with longer passwords",
        )),
        Some([]) => Err(rejected("is empty", "set one, or remove the key")),
        Some(start) => {
            start.copy_from_slice(bytes);
            Ok(Password(padded))
        }
    }
}

/// Reads a password from a file. Returns the password, and the name and mode of the file.
fn from_file(value: &Value<'_>, folder: &Path) -> Result<(Password, String, u32), Rejection> {
    let path: PathBuf = folder.join(value.string()?);
    let name = path.display().to_string();
    let (line, mode) = first_line(&path).map_err(|error| {
        value.rejected_because(format!(
            "auth_pass_file {name:?} cannot be read: {error}; create it, or specify another file"
        ))
    })?;
    let password = password(value, &format!("auth_pass_file {name:?}"), &line)?;
    Ok((password, name, mode))
}

/// Returns the first line without its line ending, and the file's mode.
fn first_line(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut line = Vec::new();
    BufReader::new(file.take(MAX_LINE)).read_until(b'\n', &mut line)?;
    let line = line.strip_suffix(b"\n").map_or(&*line, |line| line.strip_suffix(b"\r").unwrap_or(line));
    Ok((line.to_vec(), mode))
}

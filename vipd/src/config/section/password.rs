//! `auth_pass` and `auth_pass_file`: the VRRPv2 password, which must not appear in messages.

use std::path::PathBuf;

use super::secret::{self, FirstLine, Folders};
use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::settings::Password;
use crate::config::table::{Located, Rejection, Table, Value};
use crate::vrrp::interval::Version;

/// Reads the configured password.
pub(in crate::config) fn read(
    table: &Table<'_>,
    folders: &Folders<'_>,
    version: Option<Version>,
    problems: &mut Collector<'_>,
) -> Option<Password> {
    let written = table
        .given(&schema::AUTH_PASS, problems, |value| password(value, "auth_pass", value.string()?.as_bytes()))
        .flatten();
    let file = table.given(&schema::AUTH_PASS_FILE, problems, |value| from_file(value, folders)).flatten();
    if table.get(schema::AUTH_PASS.name).is_some()
        && let Some(file) = &file
    {
        problems.add(file.at, "auth_pass and auth_pass_file are mutually exclusive; remove one of them");
    }
    // Only a warning, unlike for a key, because the password is sent in plain text in any case.
    if let Some(Located { at, value: (_, name, true) }) = &file {
        problems.warn(*at, format!("auth_pass_file {name:?} is world-readable; run `chmod o-r {name}`"));
    }
    if let Some(Located { at, .. }) = &written {
        secret::warn_if_configuration_is_readable(*at, &schema::AUTH_PASS, &schema::AUTH_PASS_FILE, problems);
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

/// Reads a password from a file. Returns the password, the name of the file, and whether the file
/// is world-readable.
fn from_file(value: &Value<'_>, folders: &Folders<'_>) -> Result<(Password, String, bool), Rejection> {
    let path: PathBuf = folders.configuration.join(value.string()?);
    let name = path.display().to_string();
    if !folders.has_secrets {
        return Ok((Password([0; 8]), name, false));
    }
    let line = FirstLine::read(&path).map_err(|error| {
        value.rejected_because(format!(
            "auth_pass_file {name:?} cannot be read: {error}; {}",
            secret::remedy(&error)
        ))
    })?;
    let password = password(value, &format!("auth_pass_file {name:?}"), &line.bytes)?;
    Ok((password, name, line.is_world_readable()))
}

//! An element of `hmac.keys`: a key and its ID. Messages must not contain the key.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::section::secret::{self, FirstLine, Folders};
use crate::config::table::{Located, Rejection, Table, Value};
use crate::vrrp::hmac::{Key, MAX_KEY, MIN_KEY, key_state};

/// Prefix of keys in hexadecimal, in files and credentials.
const HEX: &[u8] = b"hex:";
/// A random key has more different bytes than this: 32 random bytes have 16 or less with a
/// probability below 10^-12.
const FEW_BYTES: usize = 16;
/// The remedy for weak and malformed keys.
const GENERATE: &str = "write `hex:` and the output of `openssl rand -hex 32`";

/// The bytes of a key, overwritten with zeros when they are dropped.
type Bytes = Zeroizing<Vec<u8>>;

/// Reads a key. Returns its ID and the key, each `None` if a problem was reported.
pub(super) fn read(
    table: &Table<'_>,
    instance: &str,
    folders: &Folders<'_>,
    problems: &mut Collector<'_>,
) -> (Option<Located<u8>>, Option<Located<Key>>) {
    table.reject_unknown(schema::Section::HmacKey, problems);
    let id = table.required(&schema::HMAC_KEY_ID, problems, Value::integer);
    let name = match &id {
        Some(id) => format!("key {} of {instance}", id.value),
        None => format!("a key of {instance}"),
    };
    let sources = [&schema::HMAC_KEY_FILE, &schema::HMAC_KEY_CREDENTIAL, &schema::HMAC_KEY_HEX];
    let given = sources.iter().filter(|key| table.get(key.name).is_some()).count();
    if given != 1 {
        problems.absent(
            "hmac",
            table.at(),
            format!(
                "{name} has {given} of the keys file, credential and hex; it must have exactly one of them; use e.g. `{}`",
                schema::HMAC_KEY.example
            ),
        );
        return (id, None);
    }
    let mut set = None;
    for source in sources {
        let found = table.given(source, problems, |value| read_source(value, &name, folders));
        set = set.or(found.flatten());
    }
    let Some(Located { at, value: Source { bytes, warnings } }) = set else { return (id, None) };
    for warning in warnings {
        problems.warn(at, format!("{name}: {warning}"));
    }
    if table.get(schema::HMAC_KEY_HEX.name).is_some() {
        secret::warn_if_configuration_is_readable(
            at,
            &schema::HMAC_KEY_HEX,
            &schema::HMAC_KEY_FILE,
            problems,
        );
    }
    let key = id.as_ref().map(|id| Located { at, value: Key { id: id.value, state: key_state(&bytes) } });
    (id, key)
}

/// A key and warnings about it.
struct Source {
    bytes: Bytes,
    warnings: Vec<String>,
}

/// Reads the key from the place that `value` names, or from the value itself. `name` is the name of
/// the key in messages.
fn read_source(value: &Value<'_>, name: &str, folders: &Folders<'_>) -> Result<Source, Rejection> {
    let rejected = |message: String| value.rejected_because(format!("{name}: {message}"));
    let text = value.string()?;
    let key = value.key().name;
    if key == schema::HMAC_KEY_HEX.name {
        let bytes = decode_hex(text.as_bytes()).map_err(|found| rejected(format!("{key} {found}")))?;
        let warnings = weakness(&bytes, false).into_iter().map(|found| format!("{key} {found}")).collect();
        return Ok(Source { bytes, warnings });
    }
    // The user may have confused the keys. Messages below contain the value.
    if is_key(text) {
        return Err(rejected(format!(
            "{key} is a key; it must be {}; use `hex` for the key itself",
            value.key().allowed
        )));
    }
    let is_credential = key == schema::HMAC_KEY_CREDENTIAL.name;
    let path = if is_credential {
        credential_path(text, folders.credentials.as_deref()).map_err(rejected)?
    } else {
        folders.configuration.join(text)
    };
    let shown = if is_credential { text.to_owned() } else { path.display().to_string() };
    let line = FirstLine::read(&path).map_err(|error| {
        let remedy = if is_credential {
            format!("add `LoadCredential={text}:FILE` to the service, and restart it")
        } else {
            "create it, or specify another file".to_owned()
        };
        rejected(format!("{key} {shown:?} cannot be read: {error}; {remedy}"))
    })?;
    let mut warnings = Vec::new();
    // systemd sets the permissions of credentials.
    if !is_credential {
        if line.is_world_readable() {
            return Err(rejected(format!("{key} {shown:?} is world-readable; run `chmod o-r {shown}`")));
        }
        if line.is_group_readable() {
            warnings.push(format!("{key} {shown:?} is readable by its group; run `chmod g-r {shown}`"));
        }
    }
    let (bytes, is_text) =
        decode_line(&line.bytes).map_err(|found| rejected(format!("{key} {shown:?} {found}")))?;
    warnings.extend(weakness(&bytes, is_text).map(|found| format!("{key} {shown:?} {found}")));
    Ok(Source { bytes, warnings })
}

/// Returns the path of a credential in the directory of credentials.
fn credential_path(name: &str, directory: Option<&Path>) -> Result<PathBuf, String> {
    let mut components = Path::new(name).components();
    if !matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        || name.contains('/')
    {
        return Err(format!(
            "credential is {name:?}; it must be {}; use the name in `LoadCredential=NAME:FILE`",
            schema::HMAC_KEY_CREDENTIAL.allowed
        ));
    }
    let directory = directory.ok_or_else(|| {
        format!(
            "credential {name:?} is not available, because CREDENTIALS_DIRECTORY is not set; systemd sets it for a service \
             with `LoadCredential={name}:FILE`; in a shell, set it to /run/credentials/vipd.service"
        )
    })?;
    Ok(directory.join(name))
}

/// Returns whether a value seems to be a key instead of a name.
fn is_key(text: &str) -> bool {
    let digits = text.strip_prefix("hex:").unwrap_or(text);
    digits.len() >= 2 * MIN_KEY && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Decodes the line of a file or credential, in keepalived's format: `hex:` and hexadecimal digits, or
/// the key as text. Returns the key and whether it is text.
///
/// # Errors
/// Returns a description of the line, without its content.
fn decode_line(line: &[u8]) -> Result<(Bytes, bool), String> {
    if let Some(digits) = line.strip_prefix(HEX) {
        return Ok((decode_hex(digits.trim_ascii_end())?, false));
    }
    if line.iter().any(u8::is_ascii_control) {
        return Err(format!("has binary data or control characters; it must be a line of text; {GENERATE}"));
    }
    check_length(line.len())?;
    Ok((Zeroizing::new(line.to_vec()), true))
}

/// Decodes a key in hexadecimal.
///
/// # Errors
/// Returns a description of the digits, without their values.
fn decode_hex(digits: &[u8]) -> Result<Bytes, String> {
    if let Some(position) = digits.iter().position(|byte| !byte.is_ascii_hexdigit()) {
        return Err(format!(
            "has a character at position {} that is not a hexadecimal digit; use only the output of `openssl rand -hex 32`",
            position + 1
        ));
    }
    let (pairs, rest) = digits.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!(
            "has {} hexadecimal digits, which is not a whole number of bytes; check that it is complete",
            digits.len()
        ));
    }
    check_length(pairs.len())?;
    let digit =
        |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0);
    // The exact capacity, because a reallocation would leave a copy in memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(pairs.len()));
    bytes.extend(pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)));
    Ok(bytes)
}

fn check_length(length: usize) -> Result<(), String> {
    if (MIN_KEY..=MAX_KEY).contains(&length) {
        return Ok(());
    }
    Err(format!("has a key of {length} bytes; a key is {MIN_KEY} to {MAX_KEY} bytes; {GENERATE}"))
}

/// Returns why a key is weak.
fn weakness(bytes: &[u8], is_text: bool) -> Option<String> {
    let different = bytes.iter().collect::<BTreeSet<_>>().len();
    if different <= FEW_BYTES && !(is_text && bytes.iter().all(u8::is_ascii_hexdigit)) {
        return Some(format!(
            "has a key of only {different} different bytes, which is easy to guess; {GENERATE}"
        ));
    }
    if is_text && bytes.iter().all(u8::is_ascii_hexdigit) {
        return Some(
            "has hexadecimal digits without `hex:`, so that the key is their text; write `hex:` before them on all routers, \
             unless keepalived also uses the text"
                .to_owned(),
        );
    }
    bytes
        .iter()
        .all(|byte| matches!(byte, b' '..=b'~'))
        .then(|| format!("has a key that is text, which may be easy to guess; {GENERATE}"))
}

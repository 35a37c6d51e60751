//! An element of `hmac.keys`: a key and its ID. Messages must not contain the key.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::section::secret::{self, FirstLine, Folders};
use crate::config::table::{Located, Table, Value};
use crate::vrrp::hmac::{Key, MAX_KEY, MIN_KEY};

/// Prefix of keys in hexadecimal, in files and credentials.
const HEX: &str = "hex:";
/// A key with this many or fewer different bytes causes a warning. 32 random bytes have 16 or fewer
/// different ones with a probability below 10⁻⁹.
const FEW_BYTES: usize = 16;
/// The remedy for the key `hex`.
const GENERATE: &str = "use the output of `openssl rand -hex 32`";
/// The remedy for files and credentials.
const GENERATE_LINE: &str = "write `hex:` and, on the same line, the output of `openssl rand -hex 32`";

/// The bytes of a key, overwritten with zeros when they are dropped.
type Bytes = Zeroizing<Vec<u8>>;

/// Reads a key. Returns the ID, which is `None` if it is not valid, and the key, which is `None` if
/// it or the ID is not valid. `instance` is the name of the instance in messages.
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
    let given: Vec<_> = sources.into_iter().filter(|key| table.get(key.name).is_some()).collect();
    let &[source] = given.as_slice() else {
        problems.absent(
            schema::HMAC_KEYS.name,
            table.at(),
            format!(
                "{name} has {} of file, credential and hex; it must have exactly one of them; use e.g. `{}`",
                given.len(),
                schema::HMAC_KEY.example
            ),
        );
        return (id, None);
    };
    let found = table.given(source, problems, |value| {
        let result = match source.name {
            _ if folders.lacks_keys => {
                value.string().map(|_| Source::unknown()).map_err(|(_, message)| message)
            }
            name if name == schema::HMAC_KEY_HEX.name => from_hex(value.string()?),
            _ if is_key(value.string()?) => Err(format!(
                "{source} is a key; it must be {}; move the key to `hex`, or to a file or credential",
                source.allowed
            )),
            name if name == schema::HMAC_KEY_FILE.name => from_file(value.string()?, folders),
            _ => from_credential(value.string()?, folders),
        };
        let source = result.map_err(|message| value.rejected_because(format!("{name}: {message}")))?;
        Ok((source, value.span()))
    });
    let Some(Some(Located { at, value: (Source { key, warnings }, span) })) = found else {
        return (id, None);
    };
    let is_hex = source.name == schema::HMAC_KEY_HEX.name;
    for warning in warnings {
        // Many instances may name one file.
        if is_hex {
            problems.warn(at, format!("{name}: {warning}"));
        } else {
            problems.warn_once(at, warning);
        }
    }
    if is_hex {
        problems.inline_key(span);
        secret::warn_if_configuration_is_readable(at, source, &schema::HMAC_KEY_FILE, problems);
    }
    let key = id.as_ref().map(|id| Located { at, value: Key::new(id.value, &key) });
    (id, key)
}

/// A key and the warnings about it.
struct Source {
    key: Bytes,
    warnings: Vec<String>,
}

fn from_hex(digits: &str) -> Result<Source, String> {
    let key = decode_hex(digits.as_bytes()).map_err(|found| format!("hex {found}; {GENERATE}"))?;
    let warnings = few_bytes(&key).map(|found| format!("hex {found}; {GENERATE}")).into_iter().collect();
    Ok(Source { key, warnings })
}

fn from_file(file: &str, folders: &Folders<'_>) -> Result<Source, String> {
    if !folders.has_secrets {
        return Ok(Source::unknown());
    }
    let path = folders.configuration.join(file);
    let name = path.display();
    let what = format!("file {:?}", name.to_string());
    let line = FirstLine::read(&path)
        .map_err(|error| format!("{what} cannot be read: {error}; {}", secret::remedy(&error)))?;
    if line.is_world_readable() {
        return Err(format!(
            "{what} is world-readable; run `chmod o-r {name}`, and replace the key if others may have read it"
        ));
    }
    let mut source = Source::from_line(&line, &what)?;
    if line.is_readable_by_other_group(folders.group) {
        source.warnings.push(format!(
            "{what} is readable by its group, which is not the group of the configuration file; if the agent does not \
             belong to the key file's group, change that group with `chgrp`"
        ));
    }
    Ok(source)
}

fn from_credential(name: &str, folders: &Folders<'_>) -> Result<Source, String> {
    let mut components = Path::new(name).components();
    let first = components.next();
    if !matches!(first, Some(Component::Normal(_))) || components.next().is_some() || name.contains('/') {
        return Err(format!(
            "credential is {name:?}; it must be {}; use NAME of `LoadCredential=NAME:FILE`",
            schema::HMAC_KEY_CREDENTIAL.allowed
        ));
    }
    if !folders.has_secrets {
        return Ok(Source::unknown());
    }
    let path: PathBuf = match &folders.credentials {
        Some(directory) => directory.join(name),
        None => {
            return Err(format!(
                "credential {name:?} cannot be read, because CREDENTIALS_DIRECTORY is not set; systemd sets it for \
                 services with `LoadCredential={name}:FILE`; in a shell, set it to a directory with a file of this name"
            ));
        }
    };
    let what = format!("credential {name:?}");
    // systemd sets the permissions of credentials.
    let line = FirstLine::read(&path).map_err(|error| {
        format!(
            "{what} cannot be read: {error}; add `LoadCredential={name}:FILE` to the service, and restart it; if \
             permission is denied, run the command as root"
        )
    })?;
    Source::from_line(&line, &what)
}

impl Source {
    /// Stands for a key that is not read.
    fn unknown() -> Self {
        Self { key: Zeroizing::new(vec![0; MIN_KEY]), warnings: Vec::new() }
    }

    /// Decodes the line of a file or credential, in keepalived's format: `hex:` and hexadecimal
    /// digits, or a key as text. `what` describes the origin of the line in messages.
    fn from_line(line: &FirstLine, what: &str) -> Result<Self, String> {
        let line = &line.bytes;
        if let Some(digits) = line.strip_prefix(HEX.as_bytes()) {
            let key = decode_hex(digits.trim_ascii_end())
                .map_err(|found| format!("{what} {found}; {GENERATE_LINE}"))?;
            let warnings = few_bytes(&key).map(|found| format!("{what} {found}; {GENERATE_LINE}"));
            return Ok(Self { key, warnings: warnings.into_iter().collect() });
        }
        if line.iter().any(u8::is_ascii_control) {
            return Err(format!(
                "{what} has binary data or control characters; it must be a line of text; {GENERATE_LINE}"
            ));
        }
        check_length(line.len()).map_err(|found| format!("{what} {found}; {GENERATE_LINE}"))?;
        let warning = if line.iter().all(u8::is_ascii_hexdigit) {
            format!(
                "{what} has hexadecimal digits without `hex:`, so that the key is the text of the digits; write `hex:` before \
                 them on all routers or, if there are fewer than 64, replace the key"
            )
        } else {
            let found = few_bytes(line)
                .unwrap_or_else(|| "has a key that is text, which may be easy to guess".to_owned());
            format!("{what} {found}; {GENERATE_LINE}")
        };
        Ok(Self { key: Zeroizing::new(line.to_vec()), warnings: vec![warning] })
    }
}

/// Returns whether a value looks like a key that was given in place of the name of a file or
/// credential. Messages may contain such a name, but never a key.
fn is_key(text: &str) -> bool {
    let digits = text.strip_prefix(HEX).unwrap_or(text);
    digits.len() >= MIN_KEY && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Decodes a key in hexadecimal.
///
/// # Errors
/// Returns a description of the digits, without their values.
fn decode_hex(digits: &[u8]) -> Result<Bytes, String> {
    if let Some(position) = digits.iter().position(|byte| !byte.is_ascii_hexdigit()) {
        return Err(format!("has a character that is not a hexadecimal digit, at position {}", position + 1));
    }
    let (pairs, []) = digits.as_chunks::<2>() else {
        return Err(format!("has {} hexadecimal digits, which is an odd number", digits.len()));
    };
    check_length(pairs.len())?;
    let value = |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    // With this capacity, the buffer is not reallocated, which would leave a copy in memory.
    let mut key = Zeroizing::new(Vec::with_capacity(pairs.len()));
    key.extend(pairs.iter().filter_map(|[high, low]| Some(value(*high)? << 4 | value(*low)?)));
    Ok(key)
}

fn check_length(length: usize) -> Result<(), String> {
    if (MIN_KEY..=MAX_KEY).contains(&length) {
        return Ok(());
    }
    Err(format!("has a key of {length} bytes; a key has {MIN_KEY} to {MAX_KEY} bytes"))
}

/// Describes a key that is weak because it has few different bytes.
fn few_bytes(key: &[u8]) -> Option<String> {
    let different = key.iter().collect::<BTreeSet<_>>().len();
    let plural = if different == 1 { "" } else { "s" };
    (different <= FEW_BYTES)
        .then(|| format!("has a key with only {different} different byte{plural}, which is easy to guess"))
}

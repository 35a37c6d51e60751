//! `auth_hmac`. Messages must not contain a key.

use crate::import::keywords::{self, Block};
use crate::import::report::Position;
use crate::import::toml::{Table, Value};
use crate::import::translate::context::Context;
use crate::import::tree::Statement;

/// Length of a key, in bytes.
const LENGTH: std::ops::RangeInclusive<usize> = 32..=64;
/// keepalived's expression for the directory of systemd's credentials.
const CREDENTIALS: &str = "${_ENV CREDENTIALS_DIRECTORY}/";
/// The directory in which systemd creates a directory with the credentials of each service.
const SERVICES: &str = "/run/credentials/";
/// An unknown keyword of at least this length may be a key, so it is not shown.
const MAY_BE_KEY: usize = 16;

/// The settings of `auth_hmac`. `None` means that a setting is not configured.
#[derive(Debug)]
pub(super) struct Hmac {
    at: Position,
    keys: Vec<Key>,
    active: Option<(u8, Position)>,
    is_monotonic: bool,
    /// Window in seconds.
    window: Option<(u32, Position)>,
    mode: Option<String>,
}

struct Key {
    id: u8,
    source: Source,
}

/// Does not show the key.
impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

enum Source {
    File(String),
    /// Name of a credential.
    Credential(String),
    /// The key in hexadecimal.
    Inline(String),
}

impl Hmac {
    /// Reads the block `auth_hmac`. Returns `None` if it has no valid key.
    pub(super) fn read(block: &Statement, context: &mut Context<'_>) -> Option<Self> {
        let mut hmac = Self {
            at: block.at.clone(),
            keys: Vec::new(),
            active: None,
            is_monotonic: false,
            window: None,
            mode: None,
        };
        for setting in block.children() {
            hmac.setting(setting, context);
        }
        if hmac.keys.is_empty() {
            context.attention(
                &block.at,
                "`auth_hmac` has no valid key; it is left out, and adverts are not signed; add `[instance.hmac]`",
            );
            return None;
        }
        Some(hmac)
    }

    fn setting(&mut self, setting: &Statement, context: &mut Context<'_>) {
        let keyword = setting.keyword();
        if keyword.len() >= MAY_BE_KEY && keywords::find(Block::Hmac, keyword).is_none() {
            context.attention(
                &setting.at,
                "unknown keyword, not shown because it may be a key; it is left out; write `key ID KEY`",
            );
            return;
        }
        if !context.is_translated(Block::Hmac, setting) {
            return;
        }
        match keyword {
            "key" => self.key(setting, context),
            "active_key" => {
                self.active = context.integer(setting, 1..=255).map(|id| (id, setting.at.clone()));
            }
            "anti_replay" => match setting.argument() {
                Some("time") => self.is_monotonic = false,
                Some("monotonic") => self.is_monotonic = true,
                _ => context.invalid(setting, "time or monotonic"),
            },
            "time_window" => {
                let found = setting.argument().and_then(|text| text.parse().ok());
                match found.filter(|seconds| (1..=300).contains(seconds)) {
                    Some(seconds) => self.window = Some((seconds, setting.at.clone())),
                    None => context.invalid(setting, "an integer from 1 to 300"),
                }
            }
            "mode" => match setting.argument() {
                Some(mode @ ("enforce" | "permissive" | "receive-only")) => self.mode = Some(mode.to_owned()),
                _ => context.invalid(setting, "enforce, permissive or receive-only"),
            },
            keyword => context.no_translation(keyword, &setting.at),
        }
    }

    /// Reads `key ID KEY`.
    fn key(&mut self, setting: &Statement, context: &mut Context<'_>) {
        let at = &setting.at;
        let id = setting.argument().and_then(|text| text.parse().ok()).filter(|id| *id != 0);
        let Some(id) = id else {
            context.attention(
                at,
                "`key` has no ID from 1 to 255; it is left out; write `key ID KEY`, and repeat the import",
            );
            return;
        };
        if self.keys.iter().any(|key| key.id == id) {
            context.attention(
                at,
                format!("key {id} is already defined; this one is left out; remove one of them"),
            );
            return;
        }
        // An expression in the path may contain a space.
        let words = setting.arguments().get(1..).unwrap_or_default();
        let source = match source(&words.join(" "), words.len()) {
            Ok(source) => source,
            Err(problem) => {
                context.attention(at, format!("key {id} {problem}; it is left out; correct it"));
                return;
            }
        };
        let message = match &source {
            Source::File(file) if file.starts_with('/') => format!(
                "key {id} is in the file {file}, which vipd's user must be able to read, but no other user; run `chgrp vipd {file}` and \
                 `chmod 640 {file}`"
            ),
            Source::File(file) => format!(
                "key {id} is in the file {file}, which must be in the directory of vipd's configuration; copy it, then run `chgrp \
                 vipd` and `chmod 640`, or specify an absolute path"
            ),
            Source::Credential(name) => format!(
                "key {id} is the credential {name} of keepalived's service; add it to vipd's service with \
                 `LoadCredential={name}:FILE` or `LoadCredentialEncrypted={name}:FILE`"
            ),
            Source::Inline(_) => format!(
                "key {id} is in the result in plain text; move it to a file of its own (`file`) or to a systemd credential \
                 (`credential`)"
            ),
        };
        context.attention(at, message);
        self.keys.push(Key { id, source });
    }

    /// Returns `[instance.hmac]`.
    pub(super) fn table(&self, context: &mut Context<'_>) -> Table {
        let mut table = Table::new("[instance.hmac]");
        let keys = self.keys.iter().map(|key| {
            let (name, value) = match &key.source {
                Source::File(file) => ("file", file),
                Source::Credential(name) => ("credential", name),
                Source::Inline(digits) => ("hex", digits),
            };
            Value::Inline(vec![("id", Value::Integer(key.id.into())), (name, Value::Text(value.clone()))])
        });
        table.set("keys", Value::Array(keys.collect()));
        if let Some(active) = self.active_key(context) {
            table.set("active", Value::Integer(active.into()));
        }
        if let Some(mode) = &self.mode {
            table.text("mode", mode);
        }
        if self.is_monotonic {
            table.text("anti_replay", "monotonic");
        }
        match &self.window {
            Some((_, at)) if self.is_monotonic => {
                context.note(at, "`time_window` is left out: it has no effect with `anti_replay monotonic`");
            }
            Some((seconds, _)) => table.text("window", format!("{seconds}s")),
            None => {}
        }
        table
    }

    /// Returns the value of `active`: the configured key, or else the first one. In receive-only
    /// mode, in which no key signs, returns `None` if no key is configured as active.
    fn active_key(&self, context: &mut Context<'_>) -> Option<u8> {
        let first = self.keys.first()?.id;
        match &self.active {
            Some((active, _)) if self.keys.iter().any(|key| key.id == *active) => Some(*active),
            Some((active, at)) => {
                context.attention(
                    at,
                    format!("`active_key` is {active}, but there is no such key; key {first} is used; correct `active`"),
                );
                Some(first)
            }
            None if self.mode.as_deref() == Some("receive-only") => None,
            None => {
                context.attention(
                    &self.at,
                    format!(
                        "`auth_hmac` has no `active_key`; key {first} is used; check that all routers have this key"
                    ),
                );
                Some(first)
            }
        }
    }
}

/// Returns bytes in hexadecimal.
fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// Parses a key, which consists of `words` words.
///
/// # Errors
/// Returns a description of the key, without its content.
fn source(text: &str, words: usize) -> Result<Source, String> {
    if let Some(path) = text.strip_prefix("file:") {
        let of_service = || path.strip_prefix(SERVICES)?.split_once('/').map(|(_, name)| name);
        return match path.strip_prefix(CREDENTIALS).or_else(of_service) {
            Some(name) if !name.is_empty() && !name.contains('/') => Ok(Source::Credential(name.to_owned())),
            _ if path.is_empty() || path.contains("${") => {
                Err("has a file whose name is not known".to_owned())
            }
            _ => Ok(Source::File(path.to_owned())),
        };
    }
    if words > 1 {
        return Err("has more than one word".to_owned());
    }
    let (digits, bytes) = match text.strip_prefix("hex:") {
        Some(digits) if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            return Err("has characters that are not hexadecimal digits".to_owned());
        }
        Some(digits) if !digits.len().is_multiple_of(2) => {
            return Err(format!("has {} hexadecimal digits, which is an odd number", digits.len()));
        }
        Some(digits) => (digits.to_owned(), digits.len() / 2),
        None => (hex(text.as_bytes()), text.len()),
    };
    if LENGTH.contains(&bytes) {
        Ok(Source::Inline(digits))
    } else {
        Err(format!("has {bytes} bytes; it must have {} to {}", LENGTH.start(), LENGTH.end()))
    }
}

//! `[instance.hmac]`: keys and rules for signed adverts.

mod key;
mod load;

use std::collections::{BTreeMap, BTreeSet};

use vipd_common::hmac::MAX_KEYS;

use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::section::instance::Draft;
use crate::config::section::secret::Folders;
use crate::config::table::{Located, Rejection, Table, Value};
use crate::vrrp::hmac::{AntiReplay, Config, Key, Mode};
use crate::vrrp::interval::Interval;

pub(in crate::config) use load::check_load;

const SECOND: u64 = 1_000_000_000;
/// Default window in seconds, unless three intervals are longer.
const WINDOW: u32 = 5;
/// Largest window in seconds.
const MAX_WINDOW: u32 = 300;

/// The settings of an instance for signed adverts.
#[derive(Debug)]
pub(in crate::config) struct Hmac {
    pub(in crate::config) config: Config,
    /// Byte offset of each key, in the order of [`Config::keys`].
    positions: Vec<usize>,
}

/// Reads `hmac`. `instance` is the name of the instance in messages. Returns `None` if the table or
/// a required setting in it is missing, or if a setting or an element of `keys` is invalid. Unknown
/// settings, `hmac` together with a password, and `window` together with
/// `anti_replay = "monotonic"` are only reported.
pub(in crate::config) fn read(
    table: &Table<'_>,
    instance: &str,
    folders: &Folders<'_>,
    interval: Option<Interval>,
    problems: &mut Collector<'_>,
) -> Option<Hmac> {
    let found = table.given(&schema::HMAC, problems, |value| value.table("in `hmac`")).flatten()?;
    let Located { at, value: hmac } = found;
    hmac.reject_unknown(schema::Section::Hmac, problems);
    let has_password = [&schema::AUTH_PASS, &schema::AUTH_PASS_FILE];
    if let Some(password) = has_password.into_iter().find(|key| table.get(key.name).is_some()) {
        problems.add(
            at,
            format!("hmac and {password} are mutually exclusive; remove `{password}`, which does not protect adverts"),
        );
    }
    let mode = hmac.given(&schema::HMAC_MODE, problems, |value| {
        value.choice([Mode::Enforce, Mode::Permissive, Mode::ReceiveOnly])
    });
    if let Some(Some(mode)) = &mode {
        warn_of_mode(mode, problems);
    }
    let mode = mode.map(|mode| mode.map_or(Mode::Enforce, |mode| mode.value));
    let anti_replay = hmac.optional(&schema::HMAC_ANTI_REPLAY, problems, |value| {
        value.choice([AntiReplay::Time, AntiReplay::Monotonic])
    });
    let anti_replay = anti_replay.map(|found| found.unwrap_or(AntiReplay::Time));
    let window = hmac.given(&schema::HMAC_WINDOW, problems, window);
    if let (Some(Some(window)), Some(AntiReplay::Monotonic)) = (&window, anti_replay) {
        problems.add(
            window.at,
            format!(
                "{} and {} = \"monotonic\" are mutually exclusive; remove one of them",
                schema::HMAC_WINDOW,
                schema::HMAC_ANTI_REPLAY
            ),
        );
    }
    let window = window.map(|window| window.map_or_else(|| default_window(interval), |window| window.value));
    let active = hmac.given(&schema::HMAC_ACTIVE, problems, Value::integer);
    let keys = keys(&hmac, instance, folders, problems);
    let active = active_key(&hmac, active, mode, &keys, instance, problems);
    if keys.has_problems {
        return None;
    }
    let positions = keys.valid.iter().map(|key| key.at).collect();
    let keys = keys.valid.into_iter().map(|key| key.value).collect();
    let config = Config { keys, active: active?, mode: mode?, anti_replay: anti_replay?, window: window? };
    Some(Hmac { config, positions })
}

/// Warns about keys that instances on different interfaces share, once for each key and interface.
pub(in crate::config) fn check_shared(drafts: &[Draft], problems: &mut Collector<'_>) {
    // By key: the first interface and the position there, and the further interfaces.
    let mut interfaces: BTreeMap<_, (&str, usize, BTreeSet<&str>)> = BTreeMap::new();
    for draft in drafts {
        let (Some(interface), Some(hmac)) = (&draft.interface, &draft.hmac) else { continue };
        let interface = interface.value.as_str();
        for (key, at) in hmac.config.keys.iter().zip(&hmac.positions) {
            // Different keys have different inner states.
            let found = interfaces.entry(&key.state().inner).or_insert((interface, *at, BTreeSet::new()));
            let (other, first, further) = found;
            if *other == interface || !further.insert(interface) {
                continue;
            }
            let place = problems.place(*first);
            problems.warn(
                *at,
                format!(
                    "the same key is used on {other} at {place}; a router that has the key of one interface's network can \
                     also sign adverts in the other network; use a separate key for each interface"
                ),
            );
        }
    }
}

/// Warns about a mode that is intended for the introduction of keys.
fn warn_of_mode(mode: &Located<Mode>, problems: &mut Collector<'_>) {
    let (word, effect) = match mode.value {
        Mode::Enforce => return,
        Mode::Permissive => ("permissive", "accepts adverts that are not signed"),
        Mode::ReceiveOnly => ("receive-only", "signs nothing and accepts adverts that are not signed"),
    };
    problems.warn(
        mode.at,
        format!(
            "{} is {word:?}, which {effect}; it is intended only for the introduction of keys; when all routers have the \
             keys, use \"enforce\"",
            schema::HMAC_MODE
        ),
    );
}

/// Reads the window, in seconds.
fn window(value: &Value<'_>) -> Result<u32, Rejection> {
    let nanos = value.duration()?;
    let seconds = u32::try_from(nanos / SECOND).unwrap_or(MAX_WINDOW);
    if nanos.is_multiple_of(SECOND) {
        Ok(seconds)
    } else {
        Err(value.rejected_because(format!(
            "{} is {:?}, which is not a whole number of seconds; use \"{}s\" or \"{}s\"",
            value.key(),
            value.string()?,
            seconds.max(1),
            (seconds + 1).min(MAX_WINDOW)
        )))
    }
}

/// Returns the default window in seconds: three intervals, rounded up, within 5 s and 300 s.
fn default_window(interval: Option<Interval>) -> u32 {
    let nanos = interval.map_or(0, Interval::nanos);
    let seconds = nanos.saturating_mul(3).div_ceil(SECOND);
    u32::try_from(seconds).unwrap_or(MAX_WINDOW).clamp(WINDOW, MAX_WINDOW)
}

/// The elements of `keys`.
#[derive(Default)]
struct Keys {
    /// The valid IDs, including those of keys that are not valid.
    ids: Vec<u8>,
    valid: Vec<Located<Key>>,
    has_problems: bool,
}

fn keys(hmac: &Table<'_>, instance: &str, folders: &Folders<'_>, problems: &mut Collector<'_>) -> Keys {
    let elements = hmac.required(&schema::HMAC_KEYS, problems, |value| {
        let elements = value.elements(&schema::HMAC_KEY)?;
        if elements.is_empty() {
            return Err(value.rejected("empty", "add a key, or remove `hmac`"));
        }
        if elements.len() > MAX_KEYS.into() {
            let found = format!("{} keys", elements.len());
            return Err(value.rejected(found, "remove keys with which no router signs any more"));
        }
        Ok(elements)
    });
    let mut keys = Keys { has_problems: elements.is_none(), ..Keys::default() };
    let mut first = BTreeMap::new();
    for element in elements.into_iter().flat_map(|elements| elements.value) {
        let table = match element.table("in a key") {
            Ok(table) => table,
            Err((at, message)) => {
                problems.add(at, message);
                keys.has_problems = true;
                continue;
            }
        };
        let (id, key) = key::read(&table, instance, folders, problems);
        keys.has_problems |= key.is_none();
        keys.valid.extend(key);
        let Some(Located { at, value: id }) = id else { continue };
        if let Some(taken) = first.insert(id, at) {
            let place = problems.place(taken);
            problems
                .add(at, format!("key ID {id} of {instance} is already used at {place}; choose another ID"));
            keys.has_problems = true;
        } else {
            keys.ids.push(id);
        }
    }
    keys
}

/// Returns the ID of the active key. In receive-only mode, in which no adverts are signed, this is
/// the first key unless another one is specified.
#[expect(clippy::option_option, reason = "rejected, absent and given are distinct results")]
fn active_key(
    hmac: &Table<'_>,
    given: Option<Option<Located<u8>>>,
    mode: Option<Mode>,
    keys: &Keys,
    instance: &str,
    problems: &mut Collector<'_>,
) -> Option<u8> {
    let list = || keys.ids.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
    match (given?, keys.ids.as_slice()) {
        (_, []) => None,
        (Some(active), ids) if ids.contains(&active.value) => Some(active.value),
        (Some(active), _) => {
            problems.add(
                active.at,
                format!(
                    "{} is {}, but {instance} has no key with this ID; it must be one of {}; add the key, or choose another ID",
                    schema::HMAC_ACTIVE, active.value, list()
                ),
            );
            None
        }
        (None, [only]) => Some(*only),
        (None, [first, ..]) if mode == Some(Mode::ReceiveOnly) => Some(*first),
        (None, _) => {
            problems.absent(
                schema::HMAC_ACTIVE.name,
                hmac.at(),
                format!(
                    "{} is missing, but {instance} has several keys; it must be one of {}; add e.g. `{}`",
                    schema::HMAC_ACTIVE,
                    list(),
                    schema::HMAC_ACTIVE.example()
                ),
            );
            None
        }
    }
}

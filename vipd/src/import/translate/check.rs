//! `vrrp_script`, `vrrp_track_process` and `track_file`.

use std::collections::HashMap;

use super::command;
use super::context::Context;
use super::track::{self, Object, Weight};
use super::values::{self, SECOND};
use crate::import::keywords::Block;
use crate::import::toml::{Table, Value};
use crate::import::tree::Statement;

/// Maximum length of a command name in `/proc/PID/comm`.
const COMM_MAX: usize = 15;
/// Range of the interval and the timeout of scripts, in nanoseconds.
const CHECK_TIME: std::ops::RangeInclusive<u64> = SECOND / 10..=86_400 * SECOND;

/// A translated check.
#[derive(Debug)]
pub(super) struct Check {
    /// Name in vipd's configuration.
    pub(super) name: String,
    /// Default weight, used where the check is tracked without a weight.
    pub(super) weight: Option<Weight>,
    table: Table,
}

#[derive(Debug, Default)]
pub(super) struct Checks {
    list: Vec<Check>,
    /// Positions in `list`, by kind and keepalived's name.
    named: HashMap<(Object, String), usize>,
}

impl Checks {
    /// Returns whether a statement defines a check, and translates it if so.
    pub(super) fn read(&mut self, statement: &Statement, context: &mut Context<'_>) -> bool {
        let (object, read): (_, fn(&Statement, &mut Draft, &mut Context<'_>)) = match statement.keyword() {
            "vrrp_script" => (Object::Script, script),
            "vrrp_track_process" => (Object::Process, process),
            "track_file" | "vrrp_track_file" => (Object::File, file),
            _ => return false,
        };
        let start = context.report.len();
        let original = statement.argument().unwrap_or_default().to_owned();
        let name = context.name(&statement.at, &original);
        let key = (object, original);
        if self.named.contains_key(&key) {
            let (kind, name) = (object.key(), &key.1);
            context.attention(
                &statement.at,
                format!("a {kind} {name:?} is already defined; this one is left out; rename it"),
            );
            return true;
        }
        let mut draft = Draft::default();
        read(statement, &mut draft, context);
        let mut table = Table::new(match object {
            Object::Script => "[[script]]",
            Object::Process => "[[process]]",
            Object::File | Object::Interface => "[[file]]",
        });
        table.text("name", &name);
        for (key, value) in draft.entries {
            table.set(key, value);
        }
        super::annotate(&mut table, context.report.since(start));
        context.defined.insert(key.clone());
        self.named.insert(key, self.list.len());
        self.list.push(Check { name, weight: draft.weight, table });
        true
    }

    /// Returns the check that has this name in keepalived's configuration.
    pub(super) fn find(&self, object: Object, name: &str) -> Option<&Check> {
        self.named.get(&(object, name.to_owned())).and_then(|position| self.list.get(*position))
    }

    /// Returns the tables in file order.
    pub(super) fn tables(&self) -> impl Iterator<Item = &Table> {
        self.list.iter().map(|check| &check.table)
    }
}

/// The settings of a check in vipd's order.
#[derive(Debug, Default)]
struct Draft {
    entries: Vec<(&'static str, Value)>,
    weight: Option<Weight>,
}

impl Draft {
    fn set(&mut self, key: &'static str, value: Option<Value>) {
        self.entries.extend(value.map(|value| (key, value)));
    }
}

fn script(statement: &Statement, draft: &mut Draft, context: &mut Context<'_>) {
    let (mut command, mut interval, mut timeout, mut rise, mut fall) = (None, None, None, None, None);
    let (mut user, mut init_fail) = (None, None);
    for setting in statement.children() {
        if !context.is_translated(Block::Script, setting) {
            continue;
        }
        let time = |nanos: u64| Value::Text(values::duration(nanos));
        let count = |count: u8| Value::Integer(count.into());
        match setting.keyword() {
            "script" => command = command::script(setting, context).map(|argv| Value::texts(&argv)),
            "interval" => interval = context.time(setting, CHECK_TIME).map(time),
            "timeout" => timeout = context.time(setting, CHECK_TIME).map(time),
            "rise" => rise = context.integer(setting, 1..=255).map(count),
            "fall" => fall = context.integer(setting, 1..=255).map(count),
            "weight" => draft.weight = track::default_weight(setting, context),
            "user" => {
                if let [user, group, ..] = setting.arguments() {
                    context.group_of_user(&setting.at, user, group);
                }
                user = setting.argument();
            }
            "init_fail" => init_fail = Some(Value::Text("down".to_owned())),
            keyword => context.no_translation(keyword, &setting.at),
        }
    }
    if command.is_none() {
        context.attention(&statement.at, "the script has no command; add `command`");
    }
    let user = context.user(&statement.at, user).map(Value::Text);
    for (key, value) in [
        ("command", command),
        ("interval", interval),
        ("timeout", timeout),
        ("rise", rise),
        ("fall", fall),
        ("user", user),
        ("initially", init_fail),
    ] {
        draft.set(key, value);
    }
}

fn process(statement: &Statement, draft: &mut Draft, context: &mut Context<'_>) {
    let (mut comm, mut quorum, mut delay) = (None, None, None);
    for setting in statement.children() {
        if !context.is_translated(Block::Process, setting) {
            continue;
        }
        match setting.keyword() {
            "process" => comm = comm_of(setting, context),
            "quorum" => quorum = context.integer(setting, 1..=255),
            "delay" => {
                delay = context.time(setting, 0..=1000 * SECOND);
                context.attention(
                    &setting.at,
                    "`delay` is translated to `terminate_delay`, without a delay after a start; use a `[[script]]` with \
                     `rise` if the delay is needed",
                );
            }
            "terminate_delay" => delay = context.time(setting, 0..=1000 * SECOND),
            "weight" => draft.weight = track::default_weight(setting, context),
            keyword => context.no_translation(keyword, &setting.at),
        }
    }
    if comm.is_none() {
        context.attention(&statement.at, "the check has no process; add `comm` or `executable`");
    }
    draft.set("comm", comm.map(Value::Text));
    draft.set("quorum", quorum.map(|quorum| Value::Integer(quorum.into())));
    draft.set("terminate_delay", delay.map(|nanos| Value::Text(values::duration(nanos))));
}

/// Returns the command name by which a process is recognized.
fn comm_of(setting: &Statement, context: &mut Context<'_>) -> Option<String> {
    let [name, parameters @ ..] = setting.arguments() else {
        context.invalid(setting, "the name of a process");
        return None;
    };
    if !parameters.is_empty() {
        context.attention(
            &setting.at,
            format!(
                "the parameters of the process {name:?} are left out, because vipd does not compare them; use a \
                 `[[script]]` with `pgrep -f`"
            ),
        );
    }
    let mut end = name.len().min(COMM_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    Some(name[..end].to_owned())
}

fn file(statement: &Statement, draft: &mut Draft, context: &mut Context<'_>) {
    let mut path = None;
    for setting in statement.children() {
        if !context.is_translated(Block::File, setting) {
            continue;
        }
        match setting.keyword() {
            "file" => path = setting.argument(),
            "weight" => draft.weight = track::default_weight(setting, context),
            keyword => context.no_translation(keyword, &setting.at),
        }
    }
    match path {
        Some(path) if path.starts_with('/') => {}
        Some(path) => {
            context.attention(
                &statement.at,
                format!("the path {path:?} is relative; make it absolute, as vipd requires"),
            );
        }
        None => context.attention(&statement.at, "the check has no file; add `path`"),
    }
    draft.set("path", path.map(|path| Value::Text(path.to_owned())));
}

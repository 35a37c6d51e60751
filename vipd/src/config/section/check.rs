//! `[[script]]`, `[[process]]` and `[[file]]`: checks that instances and groups track.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::command;
use super::instance::name;
use crate::config::problem::Collector;
use crate::config::schema::{self, Key};
use crate::config::table::{Located, Rejection, Table, Value};
use crate::config::track::{Process, ProcessMatch, Script, TrackedFile};

/// The valid checks by name.
#[derive(Debug, Default)]
pub(in crate::config) struct Checks {
    pub(in crate::config) scripts: BTreeMap<String, Arc<Script>>,
    pub(in crate::config) processes: BTreeMap<String, Arc<Process>>,
    pub(in crate::config) files: BTreeMap<String, Arc<TrackedFile>>,
    /// Byte offset of the first definition of each name. The key is the kind of table and the name.
    names: BTreeMap<(&'static str, String), usize>,
}

impl Checks {
    /// Reads a `[[script]]`.
    pub(in crate::config) fn script(&mut self, table: &Table<'_>, problems: &mut Collector<'_>) {
        table.reject_unknown(schema::Section::Script, problems);
        let name = self.name(table, &schema::SCRIPT_NAME, schema::SCRIPTS.name, problems);
        let command = command::required(table, &schema::COMMAND, problems);
        let interval = table.optional(&schema::SCRIPT_INTERVAL, problems, Value::duration).flatten();
        let interval = interval.unwrap_or(1_000_000_000);
        let timeout = table.optional(&schema::SCRIPT_TIMEOUT, problems, Value::duration).flatten();
        let rise = table.optional(&schema::RISE, problems, Value::integer).flatten();
        let fall = table.optional(&schema::FALL, problems, Value::integer).flatten();
        let user = table.optional(&schema::SCRIPT_USER, problems, command::user).flatten();
        let initially_up =
            table.optional(&schema::INITIALLY, problems, |value| value.choice([true, false])).flatten();
        if let (Some(name), Some(command)) = (name, command) {
            let script = Script {
                name: name.clone(),
                command,
                interval,
                timeout: timeout.unwrap_or(interval),
                rise: rise.unwrap_or(1),
                fall: fall.unwrap_or(1),
                user,
                initially_up: initially_up.unwrap_or(true),
            };
            self.scripts.insert(name, Arc::new(script));
        }
    }

    /// Reads a `[[process]]`.
    pub(in crate::config) fn process(&mut self, table: &Table<'_>, problems: &mut Collector<'_>) {
        table.reject_unknown(schema::Section::Process, problems);
        let name = self.name(table, &schema::PROCESS_NAME, schema::PROCESSES.name, problems);
        let executable = table.given(&schema::EXECUTABLE, problems, command::path);
        let comm = table.given(&schema::COMM, problems, comm);
        let matches = match (executable, comm) {
            (Some(Some(path)), Some(None)) => Some(ProcessMatch::Executable(path.value)),
            (Some(None), Some(Some(comm))) => Some(ProcessMatch::Comm(comm.value)),
            (Some(Some(_)), Some(Some(Located { at, .. }))) => {
                problems.add(at, "comm and executable are mutually exclusive; remove one of them");
                None
            }
            (Some(None), Some(None)) => {
                problems.absent(
                    "executable",
                    table.at(),
                    "executable and comm are both missing; add e.g. `executable = \"/usr/sbin/haproxy\"`",
                );
                None
            }
            _ => None,
        };
        let quorum = table.optional(&schema::QUORUM, problems, Value::integer).flatten();
        let delay = table.optional(&schema::TERMINATE_DELAY, problems, Value::duration).flatten();
        if let (Some(name), Some(matches)) = (name, matches) {
            let process = Process {
                name: name.clone(),
                matches,
                quorum: quorum.unwrap_or(1),
                terminate_delay: delay.unwrap_or(0),
            };
            self.processes.insert(name, Arc::new(process));
        }
    }

    /// Reads a `[[file]]`.
    pub(in crate::config) fn file(&mut self, table: &Table<'_>, problems: &mut Collector<'_>) {
        table.reject_unknown(schema::Section::File, problems);
        let name = self.name(table, &schema::FILE_NAME, schema::FILES.name, problems);
        let path = table.required(&schema::FILE_PATH, problems, command::path);
        if let (Some(name), Some(path)) = (name, path) {
            self.files.insert(name.clone(), Arc::new(TrackedFile { name, path: path.value }));
        }
    }

    /// Returns the check that `value` names; `None` if the check's definition was rejected, in
    /// which case a problem has already been reported.
    pub(super) fn find<T>(
        &self,
        value: &Value<'_>,
        valid: &BTreeMap<String, Arc<T>>,
        tables: &Key,
    ) -> Result<Option<Arc<T>>, Rejection> {
        let name = value.string()?;
        if let Some(check) = valid.get(name) {
            return Ok(Some(Arc::clone(check)));
        }
        if self.names.contains_key(&(tables.name, name.to_owned())) {
            return Ok(None);
        }
        let names: Vec<_> = valid.keys().map(String::as_str).collect();
        let defined = match names.as_slice() {
            [] => "none is defined".to_owned(),
            names => format!("defined names: {}", names.join(", ")),
        };
        Err(value.rejected_because(format!(
            "{} {name:?} is not defined; {defined}; add a `[[{tables}]]` with that name",
            value.key()
        )))
    }

    /// Reads a name, which must be unique among the tables of this kind.
    fn name(
        &mut self,
        table: &Table<'_>,
        key: &'static Key,
        kind: &'static str,
        problems: &mut Collector<'_>,
    ) -> Option<String> {
        let Located { at, value } = table.required(key, problems, name)?;
        if let Some(taken) = self.names.get(&(kind, value.clone())) {
            let place = problems.place(*taken);
            problems.add(
                at,
                format!(
                    "{kind} {value:?} is already defined at {place}; names must be unique; rename one of them"
                ),
            );
            return None;
        }
        self.names.insert((kind, value.clone()), at);
        Some(value)
    }
}

/// Reads a command name as in `/proc/PID/comm`, which the kernel truncates to 15 bytes.
fn comm(value: &Value<'_>) -> Result<String, Rejection> {
    let text = value.string()?;
    if (1..=15).contains(&text.len()) && !text.contains(['\0', '/', '\n']) {
        Ok(text.to_owned())
    } else {
        Err(value.rejected(format!("{text:?}"), "use the first 15 bytes of the name, or `executable`"))
    }
}

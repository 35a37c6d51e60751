//! `notify`: commands that run when an instance or a group changes state, and the FIFO.

use std::sync::Arc;

use super::command;
use crate::config::operate::{Notifications, Notify};
use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::table::{Table, Value};

/// Default time limit of a command, in nanoseconds.
const TIMEOUT: u64 = 10_000_000_000;

/// Reads `[instance.notify]` or `[group.notify]`.
pub(super) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> Option<Arc<Notify>> {
    let notify = table.given(&schema::NOTIFY, problems, |value| value.table("in `notify`")).flatten()?;
    let at = notify.at;
    let notify = notify.value;
    notify.reject_unknown(schema::Section::Notify, problems);
    let mut optional = |key| command::optional(&notify, key, problems);
    let read = Notify {
        master: optional(&schema::NOTIFY_MASTER),
        backup: optional(&schema::NOTIFY_BACKUP),
        fault: optional(&schema::NOTIFY_FAULT),
        stop: optional(&schema::NOTIFY_STOP),
        any: optional(&schema::NOTIFY_ANY),
        user: notify.optional(&schema::NOTIFY_USER, problems, command::user).flatten(),
        timeout: notify
            .optional(&schema::NOTIFY_TIMEOUT, problems, Value::duration)
            .flatten()
            .unwrap_or(TIMEOUT),
    };
    let Notify { master, backup, fault, stop, any, .. } = &read;
    let is_absent = |key: &schema::Key| notify.get(key.name).is_none();
    if [master, backup, fault, stop, any].into_iter().all(Option::is_none)
        && schema::NOTIFY_COMMANDS.iter().all(|key| is_absent(key))
    {
        problems.add(
            at,
            "notify has no command; add `master`, `backup`, `fault`, `stop` or `any`, or remove the table",
        );
    }
    Some(Arc::new(read))
}

/// Reads the top-level `[notify]`.
pub(in crate::config) fn notifications(table: &Table<'_>, problems: &mut Collector<'_>) -> Notifications {
    let found = table.optional(&schema::NOTIFICATIONS, problems, |value| value.table("in `notify`"));
    let Some(found) = found.flatten() else { return Notifications::default() };
    found.reject_unknown(schema::Section::Notifications, problems);
    Notifications { fifo: found.optional(&schema::FIFO, problems, command::path).flatten() }
}

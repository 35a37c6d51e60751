//! `notify…` of instances and groups.

use super::command::{self, Command};
use super::context::Context;
use crate::import::toml::{Table, Value};
use crate::import::tree::Statement;

/// The commands of an instance or a group, by vipd's key, in the order of the configuration file.
#[derive(Debug, Default)]
pub(super) struct Notify {
    commands: Vec<(&'static str, Command, Statement)>,
}

/// keepalived's keywords and vipd's keys, in the order in which the keys are written.
const KEYS: [(&str, &str); 5] = [
    ("notify_master", "master"),
    ("notify_backup", "backup"),
    ("notify_fault", "fault"),
    ("notify_stop", "stop"),
    ("notify", "any"),
];

impl Notify {
    /// Returns whether a statement configures a notification command, and translates it if so.
    pub(super) fn read(&mut self, statement: &Statement, context: &mut Context<'_>) -> bool {
        let Some((_, key)) = KEYS.iter().find(|(keyword, _)| *keyword == statement.keyword()) else {
            return false;
        };
        if self.commands.iter().any(|(known, ..)| known == key) {
            context.attention(
                &statement.at,
                format!(
                    "the second `{}` is left out: keepalived ignores it, too; remove one of them",
                    statement.keyword()
                ),
            );
        } else if let Some(command) = command::notification(statement, context) {
            self.commands.push((*key, command, statement.clone()));
        }
        true
    }

    /// Returns the table, such as `[instance.notify]`; `None` if there are no commands.
    pub(super) fn table(&self, header: &'static str, context: &mut Context<'_>) -> Option<Table> {
        let mut table = Table::new(header);
        let mut users = Vec::new();
        for (_, key) in KEYS {
            let Some((_, command, statement)) = self.commands.iter().find(|(known, ..)| *known == key) else {
                continue;
            };
            table.set(key, Value::texts(&command.argv));
            users.push((context.user(&statement.at, command.user.as_deref()), statement));
        }
        let (first, others) = users.split_first()?;
        for (user, statement) in others.iter().filter(|(user, _)| *user != first.0) {
            let name =
                |user: &Option<String>, default: &str| user.clone().unwrap_or_else(|| default.to_owned());
            context.attention(
                &statement.at,
                format!(
                    "the command runs as {}, but vipd has one user for all commands of a table, here {}; use sudo or \
                     runuser in the command",
                    name(user, "keepalived's user"),
                    name(&first.0, "vipd's own user")
                ),
            );
        }
        if let (Some(user), _) = first {
            table.text("user", user);
        }
        Some(table)
    }

    /// Returns the statement of the first command.
    pub(super) fn first(&self) -> Option<&Statement> {
        self.commands.first().map(|(.., statement)| statement)
    }
}

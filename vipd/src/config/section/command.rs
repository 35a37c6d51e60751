//! Commands and the users that they run as.

use std::path::Path;

use crate::config::problem::Collector;
use crate::config::schema::Key;
use crate::config::table::{Located, Rejection, Table, Value};
use crate::config::track::User;
use crate::process::user_ids;

/// Reads a command: the absolute path of an executable and its arguments. There is no shell.
fn argv(value: &Value<'_>) -> Result<Vec<String>, Rejection> {
    let mut argv = Vec::new();
    for element in value.elements(value.key())? {
        let text = element.string()?;
        if text.contains('\0') {
            return Err(element
                .rejected_because(format!("{} has an argument with a null byte; remove it", value.key())));
        }
        argv.push(text.to_owned());
    }
    match argv.first() {
        None => Err(value.rejected("empty", &format!("use e.g. `{}`", value.key().example()))),
        Some(program) if !Path::new(program).is_absolute() => Err(value.rejected(
            format!("[{program:?}, …]"),
            "begin with the absolute path of the executable; there is no shell that would search for it",
        )),
        Some(_) => Ok(argv),
    }
}

/// Reads a command and records its executable. If executables are checked, reports an executable
/// that is missing or not safe to run.
fn command(
    table: &Table<'_>,
    key: &'static Key,
    is_required: bool,
    problems: &mut Collector<'_>,
) -> Option<Vec<String>> {
    let found: Option<Located<Vec<String>>> = if is_required {
        table.required(key, problems, argv)
    } else {
        table.given(key, problems, argv).flatten()
    };
    let Located { at, value } = found?;
    if let Some(program) = value.first() {
        problems.executable(at, key, program);
    }
    Some(value)
}

/// Reads an optional command.
pub(super) fn optional(
    table: &Table<'_>,
    key: &'static Key,
    problems: &mut Collector<'_>,
) -> Option<Vec<String>> {
    command(table, key, false, problems)
}

/// Reads a required command; `None` if it is missing or malformed, which is reported. If
/// executables are checked, also reports an executable that is missing or not safe to run.
pub(super) fn required(
    table: &Table<'_>,
    key: &'static Key,
    problems: &mut Collector<'_>,
) -> Option<Vec<String>> {
    command(table, key, true, problems)
}

/// Reads the user that commands run as.
pub(super) fn user(value: &Value<'_>) -> Result<User, Rejection> {
    let name = value.string()?;
    // For an empty name, `user_ids` would return the IDs of the agent's user.
    match (!name.is_empty()).then(|| user_ids(name)).flatten() {
        Some((uid, gid)) => Ok(User { name: name.to_owned(), uid, gid }),
        None => Err(value.rejected_because(format!(
            "{} is {name:?}, which is not a user of this system; create the user, or specify an existing one",
            value.key()
        ))),
    }
}

/// Reads an absolute path.
pub(super) fn path(value: &Value<'_>) -> Result<std::path::PathBuf, Rejection> {
    let text = value.string()?;
    if Path::new(text).is_absolute() && !text.contains('\0') {
        Ok(text.into())
    } else {
        Err(value.rejected(format!("{text:?}"), "begin it with `/`"))
    }
}

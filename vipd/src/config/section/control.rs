//! `[control]`: access to the control socket.

use crate::config::operate::{Control, UserGroup};
use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::table::{Rejection, Table, Value};
use crate::process::group_id;

/// Reads `[control]`. Without the table, no groups are configured.
pub(in crate::config) fn read(table: &Table<'_>, problems: &mut Collector<'_>) -> Control {
    let found = table.optional(&schema::CONTROL, problems, |value| value.table("in `control`"));
    let Some(found) = found.flatten() else { return Control::default() };
    found.reject_unknown(schema::Section::Control, problems);
    Control {
        read_group: found.optional(&schema::READ_GROUP, problems, group).flatten(),
        admin_group: found.optional(&schema::ADMIN_GROUP, problems, group).flatten(),
    }
}

fn group(value: &Value<'_>) -> Result<UserGroup, Rejection> {
    let name = value.string()?;
    match group_id(name) {
        Some(gid) => Ok(UserGroup { name: name.to_owned(), gid }),
        None => Err(value.rejected_because(format!(
            "{} is {name:?}, which is not a group of this system; create the group, or specify an existing one",
            value.key()
        ))),
    }
}

//! `[[group]]`: instances that are masters together or not at all.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::check::Checks;
use super::instance::{Draft, name};
use super::notify;
use super::track;
use crate::config::operate::{Group, Notify};
use crate::config::problem::Collector;
use crate::config::schema;
use crate::config::table::{Located, Rejection, Table, Value};
use crate::config::track::Track;
use crate::vrrp::config::PRIORITY_OWNER;

/// The valid settings of a group. Invalid settings have already been reported.
#[derive(Debug)]
pub(in crate::config) struct GroupDraft {
    name: Option<Located<String>>,
    members: Option<Located<Vec<Located<String>>>>,
    track: Vec<Located<Track>>,
    notify: Option<Arc<Notify>>,
}

impl GroupDraft {
    pub(in crate::config) fn read(table: &Table<'_>, checks: &Checks, problems: &mut Collector<'_>) -> Self {
        table.reject_unknown(schema::Section::Group, problems);
        Self {
            name: table.required(&schema::GROUP_NAME, problems, name),
            members: table.required(&schema::MEMBERS, problems, members),
            track: track::read(table, checks, None, problems),
            notify: notify::read(table, problems),
        }
    }
}

fn members(value: &Value<'_>) -> Result<Vec<Located<String>>, Rejection> {
    let elements = value.elements(&schema::MEMBER)?;
    if elements.len() < 2 {
        return Err(value.rejected(
            format!("an array of length {}", elements.len()),
            "add another instance, or remove the group",
        ));
    }
    let located = |element: &Value<'_>| Ok(Located { at: element.at(), value: element.string()?.to_owned() });
    elements.iter().map(located).collect()
}

/// Checks the groups against each other and against the instances. Returns all groups with a valid
/// name and list of members, even those for which the checks have reported problems.
pub(in crate::config) fn finish(
    drafts: Vec<GroupDraft>,
    instances: &[Draft],
    problems: &mut Collector<'_>,
) -> Vec<Arc<Group>> {
    let (mut names, mut taken) = (BTreeMap::new(), BTreeMap::new());
    let mut groups = Vec::new();
    for GroupDraft { name, members, track, notify } in drafts {
        let (Some(name), Some(members)) = (name, members) else { continue };
        if let Some(first) = names.get(&name.value) {
            let place = problems.place(*first);
            problems.add(
                name.at,
                format!(
                    "group {:?} is already defined at {place}; names must be unique; rename one of them",
                    name.value
                ),
            );
        }
        names.entry(name.value.clone()).or_insert(name.at);
        for member in &members.value {
            check_member(member, instances, &taken, problems);
            taken.entry(member.value.clone()).or_insert(member.at);
        }
        check_owners(&name.value, &members, &track, instances, problems);
        let track = track.into_iter().map(|track| track.value).collect();
        let members = members.value.into_iter().map(|member| member.value).collect();
        groups.push(Arc::new(Group { name: name.value, members, track, notify }));
    }
    groups
}

/// Reports a member that does not exist, or that is already in a group.
fn check_member(
    member: &Located<String>,
    instances: &[Draft],
    taken: &BTreeMap<String, usize>,
    problems: &mut Collector<'_>,
) {
    let Located { at, value } = member;
    if let Some(first) = taken.get(value) {
        let place = problems.place(*first);
        problems.add(
            *at,
            format!(
                "instance {value:?} is already a member at {place}; an instance can be in one group only; \
                 remove one of the entries"
            ),
        );
    } else if find(value, instances).is_none() {
        let names: Vec<_> = instances.iter().filter_map(|draft| Some(&*draft.name.as_ref()?.value)).collect();
        problems.add(
            *at,
            format!("no instance is named {value:?}; instances are {}; correct the name", names.join(", ")),
        );
    }
}

/// Reports a group in which only some members are address owners, because an address owner always
/// advertises priority 255 instead of the group's priority. If all members are owners, warns about
/// weights.
fn check_owners(
    name: &str,
    members: &Located<Vec<Located<String>>>,
    track: &[Located<Track>],
    instances: &[Draft],
    problems: &mut Collector<'_>,
) {
    let owners = members.value.iter().filter_map(|member| find(&member.value, instances));
    let owners: Vec<bool> = owners.map(|draft| draft.election.priority == PRIORITY_OWNER).collect();
    if owners.contains(&true) && owners.contains(&false) {
        problems.add(
            members.at,
            format!(
                "only some members of group {name:?} have priority 255; an owner always advertises 255, not the \
                 priority of the group; set 255 for all members or for none"
            ),
        );
    } else if owners.contains(&true) {
        let weights = track.iter().filter(|track| track.value.weight.is_some_and(|weight| weight != 0));
        for Located { at, .. } in weights {
            problems.warn(
                *at,
                format!(
                    "weight has no effect, because the members of group {name:?} are address owners, whose priority \
                     is always 255"
                ),
            );
        }
    }
}

fn find<'d>(name: &str, instances: &'d [Draft]) -> Option<&'d Draft> {
    instances.iter().find(|draft| draft.name.as_ref().is_some_and(|found| found.value == name))
}

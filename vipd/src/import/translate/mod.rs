//! Translates the statements keyword by keyword.

mod address;
mod check;
mod command;
mod context;
mod garp;
mod global;
mod group;
mod instance;
mod notify;
mod routing;
mod track;
mod values;

use std::collections::{HashMap, HashSet};

use super::Files;
use super::keywords::Block;
use super::report::{Message, Report, Severity};
use super::toml::{self, Table};
use super::tree::Statement;

use check::Checks;
use context::Context;
use global::Global;
use group::Group;
use instance::{Instance, Surroundings};

/// Translates a configuration. `name` is the name of the main file. Returns the text of the result,
/// or `None` if the configuration has no instance.
pub(super) fn run(
    statements: &[Statement],
    name: &str,
    files: &dyn Files,
    report: &mut Report,
) -> Option<String> {
    let mut context =
        Context { report, files, script_user: None, defined: HashSet::new(), has_reported_user: false };
    let mut global = Global::default();
    for statement in statements {
        match statement.keyword() {
            "global_defs" => global.read(statement, &mut context),
            "garp_group" => global.garp_groups.push(garp::group(statement, &mut context)),
            _ => {}
        }
    }
    let mut checks = Checks::default();
    let (mut instances, mut groups): (Vec<Instance>, Vec<Group>) = (Vec::new(), Vec::new());
    let (mut names, mut used) = (HashSet::new(), HashSet::new());
    for statement in statements {
        if matches!(statement.keyword(), "global_defs" | "garp_group")
            || !context.is_translated(Block::Top, statement)
            || checks.read(statement, &mut context)
        {
            continue;
        }
        match statement.keyword() {
            keyword @ ("vrrp_instance" | "vrrp_sync_group")
                if !names.insert((keyword, statement.argument().unwrap_or_default())) =>
            {
                let name = statement.argument().unwrap_or_default();
                context.attention(
                    &statement.at,
                    format!("{name:?} is already defined; keepalived ignores this one, too; rename it"),
                );
            }
            "vrrp_instance" => {
                let mut instance = Instance::read(statement, &mut context);
                if used.contains(&instance.name) {
                    instance.name = unused(&instance.name, &used);
                    let name = &instance.name;
                    context.attention(
                        &statement.at,
                        format!("another instance has the same name in vipd; this one becomes {name:?}; adapt scripts that use it"),
                    );
                }
                used.insert(instance.name.clone());
                instances.push(instance);
            }
            "vrrp_sync_group" => groups.push(Group::read(statement, &mut context)),
            keyword => context.no_translation(keyword, &statement.at),
        }
    }
    if instances.is_empty() {
        return None;
    }
    let tables = tables(&instances, &mut groups, &global, &checks, &mut context);
    let fifo = global.table();
    let all: Vec<&Table> = fifo.iter().chain(checks.tables()).chain(&tables).collect();
    let mut out = header(name, context.report.since(0), &all);
    for table in all {
        table.write(&mut out);
    }
    Some(out)
}

/// Returns the tables of all instances and groups.
fn tables(
    instances: &[Instance],
    groups: &mut [Group],
    global: &Global,
    checks: &Checks,
    context: &mut Context<'_>,
) -> Vec<Table> {
    let known: HashMap<&str, &Instance> =
        instances.iter().map(|instance| (instance.original.as_str(), instance)).collect();
    let mut taken = HashSet::new();
    for group in &mut *groups {
        group.check(&mut taken, |name| known.get(name).map(|instance| instance.priority()), context);
        if !group.is_group() {
            group.report_too_small(context);
        }
    }
    let of_member: HashMap<&str, &Group> = groups
        .iter()
        .flat_map(|group| group.members.iter().map(move |member| (member.as_str(), group)))
        .collect();
    let mut tables = Vec::new();
    let mut unnumbered = 0;
    for instance in instances {
        let group = of_member.get(instance.original.as_str());
        let surroundings = Surroundings {
            global,
            checks,
            is_member: group.is_some_and(|group| !group.has_weights_of_members),
            more_tracks: group
                .filter(|group| !group.is_group())
                .map_or(&[][..], |group| group.tracks.as_slice()),
        };
        tables.extend(instance.tables(&surroundings, &mut unnumbered, context));
    }
    let name = |original: &str| {
        known.get(original).map_or_else(|| original.to_owned(), |instance| instance.name.clone())
    };
    for group in groups.iter().filter(|group| group.is_group()) {
        tables.extend(group.tables(checks, name, context));
    }
    tables
}

/// Adds comments to a table: the messages that require an action.
/// Returns a name of at most 64 characters that is not in `used`: the given name, followed by
/// underscores.
fn unused(name: &str, used: &HashSet<String>) -> String {
    let mut names = (1..=64).map(|count| {
        name.chars().take(64 - count).chain(std::iter::repeat_n('_', count)).collect::<String>()
    });
    names.find(|name| !used.contains(name)).unwrap_or_else(|| name.to_owned())
}

fn annotate(table: &mut Table, messages: &[Message]) {
    for message in attention(messages) {
        table.comment(comment(message));
    }
}

fn attention(messages: &[Message]) -> impl Iterator<Item = &Message> {
    messages.iter().filter(|message| message.severity == Severity::Attention)
}

fn comment(message: &Message) -> String {
    format!("ATTENTION {message}")
}

/// Returns the comments at the top of the file, with the messages that are in no table.
fn header(name: &str, messages: &[Message], tables: &[&Table]) -> String {
    let mut out = String::new();
    toml::write_comment(&format!("Translated from {name} by `vipd import`."), &mut out);
    let in_tables: HashSet<&String> = tables.iter().flat_map(|table| table.comments()).collect();
    if attention(messages).next().is_some() {
        toml::write_comment(
            "Settings marked with ATTENTION have no exact translation. Check them, then remove the comments.",
            &mut out,
        );
    }
    for text in attention(messages).map(comment).filter(|text| !in_tables.contains(text)) {
        toml::write_comment(&text, &mut out);
    }
    out
}

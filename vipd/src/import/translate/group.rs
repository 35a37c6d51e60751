//! `vrrp_sync_group`.

use std::collections::HashSet;

use super::annotate;
use super::check::Checks;
use super::context::Context;
use super::notify::Notify;
use super::track::{self, Role, Track};
use crate::import::keywords::Block;
use crate::import::report::{Message, Position};
use crate::import::toml::{Table, Value};
use crate::import::tree::Statement;

/// A sync group, as configured.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) at: Position,
    name: String,
    /// keepalived's names of the instances.
    pub(super) members: Vec<String>,
    pub(super) tracks: Vec<Track>,
    notify: Notify,
    /// Whether the weights of the members' own tracked objects change the priority
    /// (`global_tracking` or `sync_group_tracking_weight`).
    pub(super) has_weights_of_members: bool,
    /// Messages about the statements of the group.
    messages: Vec<Message>,
}

impl Group {
    /// Translates a `vrrp_sync_group`.
    pub(super) fn read(statement: &Statement, context: &mut Context<'_>) -> Self {
        let start = context.report.len();
        let name = context.name(&statement.at, statement.argument().unwrap_or_default());
        let mut group = Self {
            at: statement.at.clone(),
            name,
            members: Vec::new(),
            tracks: Vec::new(),
            notify: Notify::default(),
            has_weights_of_members: false,
            messages: Vec::new(),
        };
        for setting in statement.children() {
            group.has_weights_of_members |=
                matches!(setting.keyword(), "global_tracking" | "sync_group_tracking_weight");
            if !context.is_translated(Block::Group, setting)
                || track::read(setting, &mut group.tracks, context)
                || group.notify.read(setting, context)
            {
                continue;
            }
            match setting.keyword() {
                "group" => {
                    group.members.extend(setting.children().iter().flat_map(|line| line.words.clone()));
                }
                keyword => context.no_translation(keyword, &setting.at),
            }
        }
        group.messages = context.report.since(start).to_vec();
        group
    }

    /// Reports and removes members that do not exist, are listed twice or are in an earlier group.
    /// Also reports members with different priorities. `priority` returns the priority of an
    /// instance; `None` if the instance does not exist.
    pub(super) fn check(
        &mut self,
        taken: &mut HashSet<String>,
        priority: impl Fn(&str) -> Option<u8>,
        context: &mut Context<'_>,
    ) {
        let start = context.report.len();
        let at = self.at.clone();
        self.members.retain(|member| {
            let problem = if priority(member).is_none() {
                "is not defined"
            } else if !taken.insert(member.clone()) {
                "is already a member of a group"
            } else {
                return true;
            };
            context.attention(
                &at,
                format!("the instance {member:?} {problem}; it is left out; correct the group"),
            );
            false
        });
        let mut priorities: Vec<u8> = self.members.iter().filter_map(|member| priority(member)).collect();
        priorities.dedup();
        if priorities.len() > 1 {
            context.attention(
                &self.at,
                "the members have different priorities, but in vipd all members advertise the lowest one; set the same \
                 priority for all members",
            );
        }
        self.messages.extend_from_slice(context.report.since(start));
    }

    /// Returns whether the group has at least two members, as vipd requires. A smaller group is
    /// left out; its only member, if any, tracks the group's objects.
    pub(super) fn is_group(&self) -> bool {
        self.members.len() > 1
    }

    /// Reports that a group with fewer than two members has no effect.
    pub(super) fn report_too_small(&self, context: &mut Context<'_>) {
        let has_member = !self.members.is_empty();
        let tracked = match (self.tracks.is_empty(), has_member) {
            (true, _) => "",
            (false, true) => "; the instance tracks its objects",
            (false, false) => "; its tracked objects are left out, too",
        };
        context.note(
            &self.at,
            format!("the group {:?} is left out, because it has fewer than two members{tracked}", self.name),
        );
        if let Some(statement) = self.notify.first() {
            context.attention(
                &statement.at,
                format!(
                    "the notifications of the group {:?} are left out with the group; configure them for the instance",
                    self.name
                ),
            );
        }
    }

    /// Returns `[[group]]` and `[group.notify]`. `name` returns vipd's name for an instance.
    pub(super) fn tables(
        &self,
        checks: &Checks,
        name: impl Fn(&str) -> String,
        context: &mut Context<'_>,
    ) -> Vec<Table> {
        let start = context.report.len();
        let mut table = Table::new("[[group]]");
        table.text("name", &self.name);
        table.set("members", Value::texts(self.members.iter().map(|member| name(member))));
        let tracks: Vec<Value> = self
            .tracks
            .iter()
            .filter_map(|track| track.translate(checks, Role::Independent, context))
            .collect();
        if !tracks.is_empty() {
            table.set("track", Value::Array(tracks));
        }
        let notify = self.notify.table("[group.notify]", context);
        annotate(&mut table, &self.messages);
        annotate(&mut table, context.report.since(start));
        [Some(table), notify].into_iter().flatten().collect()
    }
}

//! `global_defs`: settings that become settings of each instance, or of the agent.

use super::context::Context;
use super::garp::{Garp, GarpGroup};
use super::values::SECOND;
use crate::import::keywords::Block;
use crate::import::toml::Table;
use crate::import::tree::Statement;

/// Defaults for all instances, and the settings of the agent.
#[derive(Debug, Default)]
pub(super) struct Global {
    /// `vrrp_version`, 2 if it is not set.
    pub(super) version: Option<u8>,
    pub(super) is_strict: bool,
    pub(super) garp: Garp,
    pub(super) garp_groups: Vec<GarpGroup>,
    pub(super) down_after_adverts: Option<u8>,
    pub(super) startup_delay: Option<u64>,
    /// `v3_checksum_as_v2`.
    pub(super) has_rfc9568_checksum: bool,
    /// `default_interface`.
    pub(super) interface: Option<String>,
    fifo: Option<String>,
}

impl Global {
    /// Translates a `global_defs` block.
    pub(super) fn read(&mut self, statement: &Statement, context: &mut Context<'_>) {
        for setting in statement.children() {
            if !context.is_translated(Block::Global, setting) || self.garp.read(setting, context) {
                continue;
            }
            match setting.keyword() {
                "vrrp_version" => self.version = context.integer(setting, 2..=3),
                "vrrp_strict" => self.is_strict = context.boolean(setting).unwrap_or(true),
                "vrrp_down_timer_adverts" => self.down_after_adverts = context.integer(setting, 1..=100),
                "vrrp_startup_delay" => self.startup_delay = context.time(setting, 0..=1000 * SECOND),
                "v3_checksum_as_v2" => self.has_rfc9568_checksum = context.boolean(setting).unwrap_or(true),
                "default_interface" => self.interface = setting.argument().map(str::to_owned),
                "script_user" => {
                    if let [user, group, ..] = setting.arguments() {
                        context.group_of_user(&setting.at, user, group);
                    }
                    context.script_user = setting.argument().map(str::to_owned);
                }
                "notify_fifo" | "vrrp_notify_fifo" => self.read_fifo(setting, context),
                keyword => context.no_translation(keyword, &setting.at),
            }
        }
    }

    fn read_fifo(&mut self, setting: &Statement, context: &mut Context<'_>) {
        let [path, owner @ ..] = setting.arguments() else {
            return context.invalid(setting, "the path of a FIFO");
        };
        if !path.starts_with('/') {
            context.attention(
                &setting.at,
                format!("the path of the FIFO {path:?} is relative; make it absolute, as vipd requires"),
            );
        }
        if let Some(user) = owner.first() {
            context.attention(
                &setting.at,
                format!("the owner of the FIFO, {user}, is not translated: vipd creates the FIFO for its own user; create it before vipd starts"),
            );
        }
        if let Some(other) = self.fifo.as_ref().filter(|other| *other != path) {
            context.attention(
                &setting.at,
                format!("vipd has one FIFO, {other}; {path} is left out; change its reader to read {other}"),
            );
        } else {
            self.fifo = Some(path.clone());
        }
    }

    /// Returns `[notify]`; `None` without a FIFO.
    pub(super) fn table(&self) -> Option<Table> {
        let mut table = Table::new("[notify]");
        table.text("fifo", self.fifo.as_ref()?);
        Some(table)
    }

    /// Returns the settings for announcements on an interface.
    pub(super) fn garp_on(&self, interface: Option<&str>) -> Garp {
        let group = self.garp_groups.iter().find(|group| {
            interface.is_some_and(|interface| group.interfaces.iter().any(|one| one == interface))
        });
        group.map_or_else(|| self.garp.clone(), |group| group.pauses.or(&self.garp))
    }
}

//! Settings for announcements in `global_defs`, `garp_group` and instances.

use super::context::Context;
use super::values::{self, SECOND};
use crate::import::keywords::Block;
use crate::import::toml::Value;
use crate::import::tree::Statement;

/// Settings for announcements; `None` for the default.
#[derive(Clone, Debug, Default)]
pub(super) struct Garp {
    repeat: Option<u8>,
    delay: Option<u64>,
    refresh: Option<u64>,
    refresh_repeat: Option<u8>,
    /// Pause between two gratuitous ARPs, in nanoseconds.
    arp_interval: Option<u64>,
    /// Pause between two Neighbor Advertisements, in nanoseconds.
    na_interval: Option<u64>,
}

// vipd's ranges for delays, refresh intervals and pauses, in nanoseconds.
const DELAY: std::ops::RangeInclusive<u64> = 0..=1000 * SECOND;
const REFRESH: std::ops::RangeInclusive<u64> = 0..=86_400 * SECOND;
const PAUSE: std::ops::RangeInclusive<u64> = 0..=SECOND;

impl Garp {
    /// Returns whether a statement of an instance, of `global_defs` or of a `garp_group` configures
    /// announcements, and translates it if so.
    pub(super) fn read(&mut self, statement: &Statement, context: &mut Context<'_>) -> bool {
        let keyword = statement.keyword();
        match keyword.strip_prefix("vrrp_").unwrap_or(keyword) {
            "garp_master_repeat" => self.repeat = repeat(statement, context),
            "garp_master_delay" => self.delay = context.whole_seconds(statement, DELAY),
            "garp_master_refresh" => self.refresh = context.whole_seconds(statement, REFRESH),
            "garp_master_refresh_repeat" => self.refresh_repeat = repeat(statement, context),
            "garp_interval" => self.arp_interval = context.time(statement, PAUSE),
            "gna_interval" => self.na_interval = context.time(statement, PAUSE),
            "min_garp" => {
                if context.boolean(statement) == Some(true) {
                    (self.repeat, self.delay) = (self.repeat.or(Some(1)), self.delay.or(Some(0)));
                }
            }
            _ => return false,
        }
        true
    }

    /// Returns these settings, with missing settings taken from `other`.
    pub(super) fn or(&self, other: &Self) -> Self {
        Self {
            repeat: self.repeat.or(other.repeat),
            delay: self.delay.or(other.delay),
            refresh: self.refresh.or(other.refresh),
            refresh_repeat: self.refresh_repeat.or(other.refresh_repeat),
            arp_interval: self.arp_interval.or(other.arp_interval),
            na_interval: self.na_interval.or(other.na_interval),
        }
    }

    /// Returns the value of the key `garp`; `None` if all settings are vipd's defaults.
    pub(super) fn translate(&self, is_ipv6: bool) -> Option<Value> {
        let time = |nanos: u64| Value::Text(values::duration(nanos));
        let count = |count: u8| Value::Integer(count.into());
        let pause = if is_ipv6 { self.na_interval } else { self.arp_interval };
        let mut entries = Vec::new();
        for (key, value) in [
            ("repeat", self.repeat.filter(|repeat| *repeat != 5).map(count)),
            ("delay", self.delay.filter(|delay| *delay != 5 * SECOND).map(time)),
            ("refresh", self.refresh.filter(|refresh| *refresh > 0).map(time)),
            ("refresh_repeat", self.refresh_repeat.filter(|repeat| *repeat != 1).map(count)),
            ("interval", pause.filter(|pause| *pause > 0).map(time)),
        ] {
            entries.extend(value.map(|value| (key, value)));
        }
        (!entries.is_empty()).then_some(Value::Inline(entries))
    }
}

/// Returns the number of packets to send. Like keepalived, changes 0 to 1.
fn repeat(statement: &Statement, context: &mut Context<'_>) -> Option<u8> {
    let repeat = context.integer(statement, 0..=255)?;
    if repeat == 0 {
        let keyword = statement.keyword();
        context.note(&statement.at, format!("`{keyword}` becomes 1: keepalived changes 0 to 1"));
    }
    Some(repeat.max(1))
}

/// The pauses of a `garp_group` and the interfaces that they apply to.
#[derive(Debug, Default)]
pub(super) struct GarpGroup {
    pub(super) pauses: Garp,
    pub(super) interfaces: Vec<String>,
}

/// Translates a `garp_group`.
pub(super) fn group(statement: &Statement, context: &mut Context<'_>) -> GarpGroup {
    let mut group = GarpGroup::default();
    for setting in statement.children() {
        if !context.is_translated(Block::GarpGroup, setting) || group.pauses.read(setting, context) {
            continue;
        }
        match setting.keyword() {
            "interface" => group.interfaces.extend(setting.argument().map(str::to_owned)),
            "interfaces" => {
                group.interfaces.extend(setting.children().iter().flat_map(|line| line.words.clone()));
            }
            keyword => context.no_translation(keyword, &setting.at),
        }
    }
    if group.interfaces.len() > 1 {
        context.attention(
            &statement.at,
            "the pauses apply to each instance, not to all instances on these interfaces together; increase \
             `garp.interval` if the switch drops announcements",
        );
    }
    group
}

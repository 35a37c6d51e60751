//! The context of a translation: reports, values and commands.

use std::collections::HashSet;
use std::fmt::Display;
use std::ops::RangeInclusive;

use super::track::Object;
use super::values;
use crate::import::Files;
use crate::import::keywords::{self, Block, Kind, LOAD_BALANCER};
use crate::import::report::{Position, Report};
use crate::import::tree::Statement;

/// An option within a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// The value of a translated option; empty if it has no arguments.
    Value(String),
    /// The result has the same meaning without the option.
    NotNeeded,
    /// The option is invalid or has no equivalent. A message about this has been recorded.
    LeftOut,
}

/// The report, the machine, and defaults for commands.
pub(super) struct Context<'a> {
    pub(super) report: &'a mut Report,
    pub(super) files: &'a dyn Files,
    /// `script_user`.
    pub(super) script_user: Option<String>,
    /// The checks that are defined so far, with keepalived's names.
    pub(super) defined: HashSet<(Object, String)>,
    /// Whether the absence of `script_user` has been reported.
    pub(super) has_reported_user: bool,
}

impl Context<'_> {
    pub(super) fn attention(&mut self, at: &Position, text: impl Into<String>) {
        self.report.attention(at, text);
    }

    pub(super) fn note(&mut self, at: &Position, text: impl Into<String>) {
        self.report.note(at, text);
    }

    /// Returns whether a statement is translated. If it is not, reports the reason.
    pub(super) fn is_translated(&mut self, block: Block, statement: &Statement) -> bool {
        let name = statement.keyword();
        let at = &statement.at;
        match keywords::find(block, name).map(|keyword| keyword.kind) {
            Some(Kind::Translated(_)) => {
                let problem = match (&statement.block, has_block(name)) {
                    (Some(_), false) => "must not have a block; it is left out; remove the braces",
                    (None, true) => "must have a block; it is left out; add braces",
                    _ => return true,
                };
                self.attention(at, format!("`{name}` {problem}"));
                false
            }
            Some(Kind::NotNeeded(reason)) => {
                self.note(at, format!("`{name}` is not needed: {reason}"));
                false
            }
            Some(Kind::Unsupported(_)) if is_default(statement) => {
                self.note(at, format!("`{name}` is not needed: vipd always behaves as with this value"));
                false
            }
            Some(Kind::Unsupported(remedy)) => {
                self.attention(at, format!("`{name}` is not translated: {remedy}"));
                false
            }
            Some(Kind::LoadBalancer) => {
                self.attention(at, format!("`{name}` is not translated: {LOAD_BALANCER}"));
                false
            }
            None => {
                let remedy = match keywords::nearest(block, name) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if statement.block.is_some() && block != Block::Top => {
                        "keepalived applies the settings in this block to the enclosing block, and ends the enclosing block \
                         at the first `}`; remove the unknown block, or move the settings out of it"
                            .to_owned()
                    }
                    None => "keepalived ignores it, too; remove it".to_owned(),
                };
                self.attention(at, format!("unknown keyword `{}`; {remedy}", name.escape_debug()));
                false
            }
        }
    }

    /// Reads an option within a line. Reports the option if it is not translated. `words` are the
    /// words after the option.
    pub(super) fn option<'w>(
        &mut self,
        block: Block,
        word: &str,
        words: &mut impl Iterator<Item = &'w String>,
        at: &Position,
    ) -> Parsed {
        let Some(keyword) = keywords::find(block, word) else {
            self.attention(
                at,
                format!("unknown option `{}`; it is left out; correct it", word.escape_debug()),
            );
            return Parsed::LeftOut;
        };
        let mut value = String::new();
        if keyword.arguments > 0 {
            let Some(argument) = words.next() else {
                self.attention(at, format!("`{word}` has no value; it is left out; add one"));
                return Parsed::LeftOut;
            };
            value.clone_from(argument);
        }
        match keyword.kind {
            Kind::Translated(_) => Parsed::Value(value),
            Kind::NotNeeded(reason) => {
                self.note(at, format!("`{word}` is not needed: {reason}"));
                Parsed::NotNeeded
            }
            Kind::Unsupported(_) if word == "max_ttl" && value == "255" => Parsed::NotNeeded,
            Kind::Unsupported(remedy) => {
                self.attention(at, format!("`{word}` is not translated: {remedy}"));
                Parsed::LeftOut
            }
            Kind::LoadBalancer => {
                self.attention(at, format!("`{word}` is not translated: {LOAD_BALANCER}"));
                Parsed::LeftOut
            }
        }
    }

    /// Reports a keyword that the table lists as translated, but for which there is no code. Tests
    /// check that no such keyword exists.
    pub(super) fn no_translation(&mut self, keyword: &str, at: &Position) {
        self.attention(at, format!("`{keyword}` has no translation; please report this bug"));
    }

    /// Reports an invalid value.
    pub(super) fn invalid(&mut self, statement: &Statement, expected: impl Display) {
        let found = statement.arguments().join(" ");
        self.attention(
            &statement.at,
            format!(
                "`{}` is {:?}; it must be {expected}; it is left out; correct it",
                statement.keyword(),
                found
            ),
        );
    }

    /// Returns an integer within a range.
    pub(super) fn integer(&mut self, statement: &Statement, range: RangeInclusive<u8>) -> Option<u8> {
        let found =
            statement.argument().and_then(|text| text.parse().ok()).filter(|found| range.contains(found));
        if found.is_none() {
            self.invalid(statement, format_args!("an integer from {} to {}", range.start(), range.end()));
        }
        found
    }

    /// Returns a time in nanoseconds. A time outside of vipd's range is reported and replaced by
    /// the nearest time in the range.
    pub(super) fn time(&mut self, statement: &Statement, range: RangeInclusive<u64>) -> Option<u64> {
        let Some(nanos) = statement.argument().and_then(values::seconds) else {
            self.invalid(statement, "a number of seconds");
            return None;
        };
        let nearest = nanos.clamp(*range.start(), *range.end());
        if nearest != nanos {
            self.attention(
                &statement.at,
                format!(
                    "`{}` is {} s; vipd allows {} to {}; {} is used; check whether this is acceptable",
                    statement.keyword(),
                    statement.argument().unwrap_or_default(),
                    values::duration(*range.start()),
                    values::duration(*range.end()),
                    values::duration(nearest),
                ),
            );
        }
        Some(nearest)
    }

    /// Returns a time in nanoseconds, truncated to whole seconds as in keepalived.
    pub(super) fn whole_seconds(&mut self, statement: &Statement, range: RangeInclusive<u64>) -> Option<u64> {
        let nanos = self.time(statement, range)?;
        let whole = nanos / values::SECOND * values::SECOND;
        if whole != nanos {
            self.note(
                &statement.at,
                format!(
                    "`{}` becomes {}: keepalived cuts off the fraction",
                    statement.keyword(),
                    values::duration(whole)
                ),
            );
        }
        Some(whole)
    }

    /// Returns the boolean argument of a keyword, or true without an argument.
    pub(super) fn boolean(&mut self, statement: &Statement) -> Option<bool> {
        let Some(text) = statement.argument() else { return Some(true) };
        let found = values::boolean(text);
        if found.is_none() {
            self.invalid(statement, "on, off, true, false, yes or no");
        }
        found
    }

    /// Returns a name that vipd accepts: at most 64 characters, without white space or control
    /// characters.
    pub(super) fn name(&mut self, at: &Position, name: &str) -> String {
        let is_valid = |c: char| !c.is_whitespace() && !c.is_control();
        let valid: String = name.chars().map(|c| if is_valid(c) { c } else { '_' }).take(64).collect();
        let valid = if valid.is_empty() { "unnamed".to_owned() } else { valid };
        if valid != name {
            self.attention(
                at,
                format!("the name {name:?} is not allowed in vipd; it becomes {valid:?}; adapt scripts that use it"),
            );
        }
        valid
    }

    /// Returns the user of a command: the given user, or else `script_user`.
    pub(super) fn user(&mut self, at: &Position, given: Option<&str>) -> Option<String> {
        let user = given.map(str::to_owned).or_else(|| self.script_user.clone());
        if user.is_none() && !self.has_reported_user {
            self.has_reported_user = true;
            self.attention(
                at,
                "no `script_user` is configured: keepalived runs commands as the user keepalived_script, or as root \
                 if there is no such user; vipd runs them as its own user, without privileges; add `user`, or set \
                 `script_user` and repeat the import",
            );
        }
        user
    }

    /// Reports the group configured for a command's user, which vipd cannot set.
    pub(super) fn group_of_user(&mut self, at: &Position, user: &str, group: &str) {
        if user != group {
            self.attention(
                at,
                format!(
                    "the group {group} is not translated: vipd runs commands with their user's own groups; \
                     check whether the command of {user} needs the group"
                ),
            );
        }
    }
}

/// Returns whether a translated keyword must have a block.
fn has_block(name: &str) -> bool {
    const BLOCKS: [&str; 19] = [
        "auth_hmac",
        "authentication",
        "garp_group",
        "group",
        "interfaces",
        "track_file",
        "track_interface",
        "track_process",
        "track_script",
        "unicast_peer",
        "virtual_ipaddress",
        "virtual_ipaddress_excluded",
        "virtual_routes",
        "virtual_rules",
        "vrrp_instance",
        "vrrp_script",
        "vrrp_sync_group",
        "vrrp_track_file",
        "vrrp_track_process",
    ];
    BLOCKS.contains(&name)
}

/// Returns whether an unsupported keyword requests vipd's own behavior.
fn is_default(statement: &Statement) -> bool {
    let value = statement.argument();
    match statement.keyword() {
        "vrrp_mcast_group4" => value == Some("224.0.0.18"),
        "vrrp_mcast_group6" => value == Some("ff02::12"),
        "mcast_dst_ip" => matches!(value, Some("224.0.0.18" | "ff02::12")),
        "unicast_ttl" => value == Some("255"),
        "old_unicast_checksum" => value == Some("never"),
        "garp_extra_if" | "vrrp_garp_extra_if" | "vmac_garp_intvl" | "vrrp_vmac_garp_intvl" => {
            value == Some("0")
        }
        "smtp_alert"
        | "smtp_alert_vrrp"
        | "notify_priority_changes"
        | "vrrp_notify_priority_changes"
        | "fifo_write_vrrp_states_on_reload"
        | "owner_ignore_adverts"
        | "vrrp_owner_ignore_adverts" => value.and_then(values::boolean) == Some(false),
        _ => false,
    }
}

//! `virtual_ipaddress` and `virtual_ipaddress_excluded`.

use std::net::IpAddr;

use super::context::{Context, Parsed};
use super::values;
use crate::import::keywords::Block;
use crate::import::report::Position;
use crate::import::toml::Value;
use crate::import::tree::Statement;

/// A VIP of the translated configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Vip {
    pub(super) at: Position,
    pub(super) address: IpAddr,
    length: Option<u8>,
    /// `dev`.
    pub(super) interface: Option<String>,
    /// The other options, in vipd's order.
    label: Option<String>,
    scope: Option<&'static str>,
    broadcast: Option<String>,
    preferred: Option<bool>,
}

/// Translates the VIPs of a block.
pub(super) fn read(statement: &Statement, context: &mut Context<'_>) -> Vec<Vip> {
    statement.children().iter().filter_map(|line| one(line, context)).collect()
}

fn one(line: &Statement, context: &mut Context<'_>) -> Option<Vip> {
    let at = &line.at;
    let Some((address, length)) = values::network(line.keyword()) else {
        context.attention(at, format!("{:?} is not an address; it is left out; correct it", line.keyword()));
        return None;
    };
    let mut found = Vip {
        at: at.clone(),
        address,
        length,
        interface: None,
        label: None,
        scope: None,
        broadcast: None,
        preferred: None,
    };
    let mut words = line.arguments().iter();
    while let Some(word) = words.next() {
        let Parsed::Value(value) = context.option(Block::Address, word, &mut words, at) else { continue };
        match word.as_str() {
            "dev" => found.interface = Some(value),
            "label" => found.label = Some(value),
            "scope" => found.scope = scope(&value, at, context),
            "brd" | "broadcast" => found.broadcast = broadcast(&found, &value, context),
            "preferred_lft" => found.preferred = preferred(&value, at, context),
            _ => context.no_translation(word, at),
        }
    }
    if address.is_ipv6() {
        for (is_set, name) in [
            (found.label.is_some(), "label"),
            (found.scope.is_some(), "scope"),
            (found.broadcast.is_some(), "brd"),
        ] {
            if is_set {
                context.attention(
                    at,
                    format!("`{name}` is left out: vipd has it for IPv4 addresses only; remove it"),
                );
            }
        }
        (found.label, found.scope, found.broadcast) = (None, None, None);
    } else if found.preferred.take().is_some() {
        context.attention(at, "`preferred_lft` is left out: vipd has it for IPv6 addresses only; remove it");
    }
    Some(found)
}

/// Returns vipd's word for a scope; `None` for `global`, and for a scope that vipd does not have,
/// which is reported.
pub(super) fn scope(text: &str, at: &Position, context: &mut Context<'_>) -> Option<&'static str> {
    match text {
        "global" | "0" => None,
        "link" | "253" => Some("link"),
        "host" | "254" => Some("host"),
        _ => {
            context.attention(
                at,
                format!("the scope {text:?} is left out: vipd has global, link and host; choose one of them"),
            );
            None
        }
    }
}

fn broadcast(found: &Vip, text: &str, context: &mut Context<'_>) -> Option<String> {
    match (text, found.address) {
        ("-", _) => None,
        ("+", IpAddr::V4(address)) => {
            values::broadcast(address, found.length.unwrap_or(32)).map(|address| address.to_string())
        }
        (text, _) if text.parse::<std::net::Ipv4Addr>().is_ok() => Some(text.to_owned()),
        _ => {
            context.attention(
                &found.at,
                format!("the broadcast address {text:?} is not an IPv4 address; it is left out; correct it"),
            );
            None
        }
    }
}

fn preferred(text: &str, at: &Position, context: &mut Context<'_>) -> Option<bool> {
    match text {
        "forever" => Some(true),
        "0" => Some(false),
        _ => {
            context.attention(
                at,
                format!("a preferred lifetime of {text} s is not translated: vipd has only 0 and forever, for IPv6 addresses only; choose one of them, or remove it"),
            );
            None
        }
    }
}

impl Vip {
    /// Returns the element of `virtual_addresses`: a string, or an inline table if there are
    /// options. `interface` is the instance's own interface.
    pub(super) fn translate(&self, interface: Option<&str>) -> Value {
        let Self { address, length, label, scope, broadcast, preferred, .. } = self;
        let text = match length {
            Some(length) => format!("{address}/{length}"),
            None => address.to_string(),
        };
        let mut element = vec![("address", Value::Text(text.clone()))];
        let dev = self.interface.as_deref().filter(|dev| Some(*dev) != interface);
        for (key, value) in [
            ("dev", dev),
            ("label", label.as_deref()),
            ("scope", *scope),
            ("broadcast", broadcast.as_deref()),
        ] {
            element.extend(value.map(|value| (key, Value::Text(value.to_owned()))));
        }
        element.extend(preferred.map(|preferred| ("preferred", Value::Boolean(preferred))));
        if element.len() == 1 { Value::Text(text) } else { Value::Inline(element) }
    }
}

//! Generates the reference of all keys.

use std::fmt::Write as _;

use super::{KEYS, Key, Section};

/// Returns the tables of `docs/configuration.md`.
pub(in crate::config) fn markdown() -> String {
    let mut out = String::new();
    for (section, title) in [
        (Section::Top, "Top of the file"),
        (Section::Instance, "`[[instance]]`"),
        (Section::VirtualAddress, "A virtual address as a table"),
        (Section::Peer, "A unicast peer as a table"),
        (Section::Garp, "`garp`"),
        (Section::Hmac, "`[instance.hmac]`"),
        (Section::HmacKey, "An element of `hmac.keys`"),
        (Section::Track, "An element of `track`"),
        (Section::Route, "An element of `routes`"),
        (Section::Rule, "An element of `rules`"),
        (Section::Notify, "`[instance.notify]`"),
        (Section::Script, "`[[script]]`"),
        (Section::Process, "`[[process]]`"),
        (Section::File, "`[[file]]`"),
        (Section::Group, "`[[group]]`"),
        (Section::Notifications, "`[notify]`"),
        (Section::Control, "`[control]`"),
        (Section::Metrics, "`[metrics]`"),
        (Section::Interface, "`[[interface]]`"),
    ] {
        let _ = write!(
            out,
            "## {title}\n\n| key | default | value | meaning | keepalived |\n| --- | --- | --- | --- | --- |\n"
        );
        for Key { name, default, allowed, doc, keepalived, .. } in
            KEYS.iter().filter(|key| key.section == section)
        {
            let _ = writeln!(out, "| `{name}` | {default} | {allowed} | {doc} | {keepalived} |");
        }
        out.push('\n');
    }
    out
}

/// Returns whether a key exists. `path` consists of the names of the table and the key, as in
/// `instance.vrid`, or of the key alone at the top of the file. Does not find keys of `control`,
/// `metrics` and `interface`, which have no equivalent in keepalived.
pub(crate) fn has_key(path: &str) -> bool {
    let (table, name) = path.rsplit_once('.').unwrap_or(("", path));
    let section = match table {
        "" => Section::Top,
        "instance" => Section::Instance,
        "instance.notify" | "group.notify" => Section::Notify,
        "virtual_addresses" => Section::VirtualAddress,
        "unicast_peers" => Section::Peer,
        "garp" => Section::Garp,
        "instance.hmac" => Section::Hmac,
        "hmac.keys" => Section::HmacKey,
        "track" => Section::Track,
        "routes" => Section::Route,
        "rules" => Section::Rule,
        "script" => Section::Script,
        "process" => Section::Process,
        "file" => Section::File,
        "group" => Section::Group,
        "notify" => Section::Notifications,
        _ => return false,
    };
    KEYS.iter().any(|key| key.section == section && key.name == name)
}

/// Returns keepalived's equivalents of all keys, as words and phrases.
pub(crate) fn keepalived_words() -> Vec<&'static str> {
    let quoted = |key: &&Key| key.keepalived.split('`').skip(1).step_by(2);
    KEYS.iter().flat_map(quoted).collect()
}

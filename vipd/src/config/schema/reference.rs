//! The reference of all keys.

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

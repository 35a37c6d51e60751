//! Generates the reference of all keywords.

use std::fmt::Write as _;

use super::{Block, Keyword, Kind, LOAD_BALANCER, all};

/// The blocks with their titles, in the order of the reference.
const TITLES: [(Block, &str); 15] = [
    (Block::Top, "Top of the file"),
    (Block::Global, "`global_defs`"),
    (Block::Instance, "`vrrp_instance`"),
    (Block::Authentication, "`authentication`"),
    (Block::Hmac, "`auth_hmac`"),
    (Block::Address, "Options of virtual addresses"),
    (Block::Peer, "Options of unicast peers"),
    (Block::Track, "Options of tracked objects"),
    (Block::Route, "Options of `virtual_routes`"),
    (Block::Rule, "Options of `virtual_rules`"),
    (Block::Group, "`vrrp_sync_group`"),
    (Block::Script, "`vrrp_script`"),
    (Block::Process, "`vrrp_track_process`"),
    (Block::File, "`track_file`"),
    (Block::GarpGroup, "`garp_group`"),
];

/// Returns the tables of `docs/migration.md`.
pub(in crate::import) fn markdown() -> String {
    let mut out = String::new();
    for (block, title) in TITLES {
        let _ =
            write!(out, "### {title}\n\n| keyword | result | key, reason or remedy |\n| --- | --- | --- |\n");
        for Keyword { name, kind, .. } in all().filter(|keyword| keyword.block == block) {
            let (result, text) = match kind {
                Kind::Translated(keys) => {
                    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
                    ("translated", keys.join(", "))
                }
                Kind::NotNeeded(reason) => ("not needed", (*reason).to_owned()),
                Kind::Unsupported(remedy) => ("attention", (*remedy).to_owned()),
                Kind::LoadBalancer => ("attention", LOAD_BALANCER.to_owned()),
            };
            let _ = writeln!(out, "| `{name}` | {result} | {text} |");
        }
        out.push('\n');
    }
    out
}

//! The table of keywords agrees with the code, with vipd's keys and with the documentation.

use std::collections::BTreeSet;

use super::translated;
use crate::config::{has_key, keepalived_words};
use crate::import::keywords::{self, Block, Keyword, Kind, reference};

#[test]
fn each_keyword_is_listed_once() {
    let mut known = BTreeSet::new();
    for Keyword { block, name, .. } in keywords::all() {
        assert!(known.insert((format!("{block:?}"), name)), "{name} is listed twice in {block:?}");
    }
}

#[test]
fn keys_of_translated_keywords_exist() {
    for Keyword { name, kind, .. } in keywords::all() {
        if let Kind::Translated(keys) = kind {
            assert!(!keys.is_empty(), "{name}");
            for key in *keys {
                assert!(has_key(key), "{name}: vipd has no key {key}");
            }
        }
    }
}

/// The import must translate the keepalived equivalents that are given in the reference for vipd's
/// keys.
#[test]
fn equivalents_of_keys_are_translated() {
    // Values, prefixes and phrases, which are not keywords, and keywords that the import need not
    // translate.
    let other = [
        "false",
        "\"rfc9568\"",
        "\"down\"",
        "auth_type PASS",
        "include",
        "vrrp_rt_priority",
        "file:",
        "hex:",
    ];
    for word in keepalived_words() {
        let is_translated = keywords::all()
            .any(|keyword| keyword.name == word && matches!(keyword.kind, Kind::Translated(_)));
        assert!(is_translated || other.contains(&word), "`{word}` is not translated");
    }
}

/// Returns a configuration with a setting in a block.
fn in_block(block: Block, setting: &str) -> String {
    let instance = "vrrp_instance V {\ninterface eth0\nvirtual_router_id 1\n";
    let plain = format!("{instance}virtual_ipaddress {{ 10.0.0.1 }}\n}}\n");
    match block {
        Block::Top => format!("{plain}{setting}\n"),
        Block::Global => format!("{plain}global_defs {{\n{setting}\n}}\n"),
        Block::Script => format!("{plain}vrrp_script s {{\n{setting}\n}}\n"),
        Block::Process => format!("{plain}vrrp_track_process s {{\n{setting}\n}}\n"),
        Block::File => format!("{plain}track_file s {{\n{setting}\n}}\n"),
        Block::Group => format!("{plain}vrrp_sync_group s {{\n{setting}\n}}\n"),
        Block::GarpGroup => format!("{plain}garp_group {{\n{setting}\n}}\n"),
        Block::Instance => format!("{instance}{setting}\n}}\n"),
        Block::Authentication => format!("{instance}authentication {{\n{setting}\n}}\n}}\n"),
        Block::Hmac => format!("{instance}auth_hmac {{\n{setting}\n}}\n}}\n"),
        Block::Address => format!("{instance}virtual_ipaddress {{ 10.0.0.1 {setting} }}\n}}\n"),
        Block::Peer => format!("{instance}unicast_peer {{ 10.0.0.1 {setting} }}\n}}\n"),
        Block::Route => format!("{instance}virtual_routes {{ {setting} }}\n}}\n"),
        Block::Rule => format!("{instance}virtual_rules {{ {setting} }}\n}}\n"),
        Block::Track => format!("{instance}track_interface {{ eth1 {setting} }}\n}}\n"),
    }
}

/// Every keyword in the table is handled: no keyword is reported as unknown or as lacking a
/// translation, and every keyword that is not translated has a message.
#[test]
fn each_keyword_is_handled() {
    for Keyword { block, name, arguments, kind } in keywords::all() {
        let is_option =
            matches!(block, Block::Address | Block::Peer | Block::Route | Block::Rule | Block::Track);
        let settings = match (is_option, arguments) {
            (true, 0) => vec![(*name).to_owned()],
            (true, _) => vec![format!("{name} 1")],
            (false, _) => vec![(*name).to_owned(), format!("{name} 1"), format!("{name} x {{\n1\n}}")],
        };
        let mut has_message = false;
        for setting in settings {
            for message in translated(&in_block(*block, &setting)).messages {
                let text = &message.text;
                let is_unknown = text.starts_with("unknown") && text.contains(&format!("`{name}`"));
                assert!(!is_unknown && !text.contains("please report this bug"), "{setting}: {message}");
                has_message |= text.contains(&format!("`{name}`"));
            }
        }
        // Some of these keywords cause no message of their own.
        let is_silent = *block == Block::Track || name.starts_with("include") || *name == "global_defs";
        assert!(has_message || is_silent || matches!(kind, Kind::Translated(_)), "{block:?} {name}");
    }
}

#[test]
fn the_table_of_keywords_is_current() {
    crate::generated::check("docs/migration.md", &reference::markdown());
}

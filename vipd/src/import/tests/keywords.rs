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
fn translated_keywords_name_keys_of_vipd() {
    for Keyword { name, kind, .. } in keywords::all() {
        if let Kind::Translated(keys) = kind {
            assert!(!keys.is_empty(), "{name}");
            for key in *keys {
                assert!(has_key(key), "{name}: vipd has no key {key}");
            }
        }
    }
}

/// The reference of vipd's keys names keepalived's equivalents, which the import must translate.
#[test]
fn equivalents_of_keys_are_translated() {
    // Values and phrases, and keywords that the reference mentions without an equivalent.
    let other = ["false", "\"rfc9568\"", "\"down\"", "auth_type PASS", "include", "vrrp_rt_priority"];
    for word in keepalived_words() {
        let is_translated = keywords::all()
            .any(|keyword| keyword.name == word && matches!(keyword.kind, Kind::Translated(_)));
        assert!(is_translated || other.contains(&word), "`{word}` is not translated");
    }
}

/// Each keyword of the table has code: none is reported as unknown or without a translation, and
/// each that is not translated has a message.
#[test]
fn each_keyword_is_handled() {
    for Keyword { block, name, arguments, kind } in keywords::all() {
        if name.starts_with("include") && *block == Block::Top {
            continue;
        }
        let value = if *arguments > 0 { " 1" } else { "" };
        let text = |setting: &str| {
            let instance = "vrrp_instance V {\n interface eth0\n virtual_router_id 1\n ADDRESSES\n SETTING\n}\n";
            let instance = |setting: &str| instance.replace("SETTING", setting);
            let plain = instance("").replace("ADDRESSES", "virtual_ipaddress { 10.0.0.1 }");
            let with = instance(setting).replace("ADDRESSES", "");
            match block {
                Block::Top => format!("{plain}{setting}\n"),
                Block::Global => format!("{plain}global_defs {{\n{setting}\n}}\n"),
                Block::Script => format!("{plain}vrrp_script s {{\n{setting}\n}}\n"),
                Block::Process => format!("{plain}vrrp_track_process s {{\n{setting}\n}}\n"),
                Block::File => format!("{plain}track_file s {{\n{setting}\n}}\n"),
                Block::Group => format!("{plain}vrrp_sync_group s {{\n{setting}\n}}\n"),
                Block::GarpGroup => format!("{plain}garp_group {{\n{setting}\n}}\n"),
                Block::Instance => with,
                Block::Authentication => instance(&format!("authentication {{\n{setting}\n}}")),
                Block::Address => instance(&format!("virtual_ipaddress {{ 10.0.0.1 {setting}{value} }}")),
                Block::Peer => instance(&format!("unicast_peer {{ 10.0.0.1 {setting}{value} }}")),
                Block::Route => instance(&format!("virtual_routes {{ {setting}{value} }}")),
                Block::Rule => instance(&format!("virtual_rules {{ {setting}{value} }}")),
                Block::Track => instance(&format!("track_interface {{ eth1 {setting}{value} }}")),
            }
            .replace("ADDRESSES", "")
        };
        let mut has_message = false;
        for setting in [format!("{name} 1"), format!("{name} x {{\n1\n}}"), (*name).to_owned()] {
            let translation = translated(&text(&setting));
            for message in &translation.messages {
                let problem = ["please report this bug", "unknown"]
                    .iter()
                    .find(|problem| message.text.starts_with(**problem) || message.text.ends_with(**problem));
                assert_eq!(problem, None, "{setting}: {message}");
                has_message |= message.text.contains(&format!("`{name}`"));
            }
        }
        if !matches!(kind, Kind::Translated(_)) {
            assert!(has_message || *block == Block::Track || *name == "global_defs", "{block:?} {name}");
        }
    }
}

#[test]
fn the_table_of_keywords_is_current() {
    crate::generated::check("docs/migration.md", &reference::markdown());
}

//! Included files, conditional lines and limits.

use super::{Memory, assert_valid, import, instance, messages, options, settings, translate, translated};
use crate::import::ImportError;

#[test]
fn conditional_lines_depend_on_the_id() {
    let text = instance("@main priority 5\n@^main priority 6\n@host priority 7\n@main\n@ x\n@^ priority 8");
    let memory = Memory::new([("k.conf", text.as_str())]);
    let with = |id| import(std::path::Path::new("k.conf"), &options(id), &memory).expect("translated");
    let main = with(Some("main"));
    assert!(main.toml.contains("priority = 8\n"), "{}", main.toml);
    let host = with(None);
    assert_eq!(host.attention().count(), 5, "{:#?}", host.messages);
    assert!(host.messages[0].text.contains("which is \"host\" here"), "{}", host.messages[0]);
}

#[test]
fn included_files_are_read_and_problems_are_reported() {
    let main = instance(
        "include conf.d/*.conf\ninclude loop.conf\ninclude missing.conf\ninclude a b\nincludea none*.conf",
    );
    let memory = Memory::new([
        ("k.conf", main.as_str()),
        ("conf.d/a.conf", "priority 7\ninclude deeper/b.conf\n"),
        ("conf.d/deeper/b.conf", "nopreempt\n"),
        ("conf.d/.hidden.conf", "priority 9\n"),
        ("loop.conf", "include loop.conf\ninclude k.conf\n"),
    ]);
    let translation = translate(&memory).expect("translated");
    let expected = ["priority = 7", "preempt = false"];
    assert!(expected.iter().all(|line| translation.toml.contains(line)), "{}", translation.toml);
    let found = messages(&translation);
    for expected in [
        "loop.conf:1: attention: loop.conf is included in itself",
        "loop.conf:2: attention: k.conf is included in itself",
        "7: attention: missing.conf cannot be included: entity not found",
        "8: attention: `include` must have one file or pattern",
        "9: note: no file matches \"none*.conf\"",
    ] {
        assert!(found.iter().any(|message| message.starts_with(expected)), "{expected}\n{found:#?}");
    }
    assert_eq!(found.len(), 5, "{found:#?}");
}

#[test]
fn name_after_a_wildcard_is_looked_up() {
    let main = instance("include conf.d/*/vrrp.conf\ninclude conf.d/*/none.conf");
    let memory = Memory::new([
        ("k.conf", main.as_str()),
        ("conf.d/README", ""),
        ("conf.d/a/vrrp.conf", "priority 7\n"),
        ("conf.d/b/other.conf", "priority 9\n"),
    ]);
    let translation = translate(&memory).expect("translated");
    assert!(translation.toml.contains("priority = 7"), "{}", translation.toml);
    assert_eq!(messages(&translation), ["6: note: no file matches \"conf.d/*/none.conf\""]);
}

#[test]
fn instances_have_different_names() {
    let long = "x".repeat(70);
    let names = ["a b", "a_b", "a\tb", &long, &long[..69], &long[..64]];
    let instances = names.iter().zip(1..).map(|(name, vrid)| {
        format!(
            "vrrp_instance \"{name}\" {{\ninterface eth0\nvirtual_router_id {vrid}\n\
             virtual_ipaddress {{ 192.0.2.{vrid}/24 }}\n}}\n"
        )
    });
    let translation = translated(&instances.collect::<String>());
    assert_valid(&translation);
    let is_name = |line: &&str| line.starts_with("name = ");
    assert_eq!(settings(&translation).into_iter().filter(is_name).count(), names.len());
}

#[test]
fn limits_end_the_translation() {
    let error = |memory: &Memory| translate(memory).expect_err("a limit").to_string();
    let deep: Vec<(String, String)> =
        (0..20).map(|n| (format!("{n}.conf"), format!("include {}.conf\n", n + 1))).collect();
    let mut memory = Memory::new(deep.iter().map(|(path, text)| (path.as_str(), text.as_str())));
    memory.files.insert("k.conf".into(), b"include 0.conf\n".to_vec());
    assert_eq!(
        error(&memory),
        "14.conf:1: included files are nested more than 16 levels deep; simplify or split the configuration"
    );

    memory.files.insert("k.conf".into(), vec![b'\n'; (1 << 20) + 1]);
    assert_eq!(
        error(&memory),
        "k.conf:1: the file is larger than 1 MiB; simplify or split the configuration"
    );

    let endless = "~SEQ(A,1,60000) ~SEQ(B,1,60000) ~SEQ(C,1,60000) $D=1\n";
    assert_eq!(
        error(&Memory::new([("k.conf", endless)])),
        "k.conf:1: more than 2 million lines, including the repetitions by sequences; simplify or split the configuration"
    );
    let nested = "$A= \\\n$A\n\n$A\n";
    assert_eq!(
        error(&Memory::new([("k.conf", nested)])),
        "k.conf:4: sequences or definitions are nested more than 16 levels deep; simplify or split the configuration"
    );
}

#[test]
fn files_without_instances_are_rejected_with_their_messages() {
    let memory = Memory::new([("k.conf", "virtual_server 10.0.0.1 80 {\n}\n")]);
    match translate(&memory) {
        Err(ImportError::NoInstance { messages, .. }) => assert_eq!(messages.len(), 1),
        other => panic!("{other:?}"),
    }
    assert!(matches!(translate(&Memory::default()), Err(ImportError::Read { .. })));
}

#[test]
fn invalid_utf8_is_reported() {
    let mut memory = Memory::default();
    let mut text = instance("").into_bytes();
    text.extend(b"# \xff\n");
    memory.files.insert("k.conf".into(), text);
    let translation = translate(&memory).expect("translated");
    assert_eq!(
        messages(&translation),
        ["7: attention: has a byte that is not valid UTF-8, replaced by U+FFFD; correct it"]
    );
}

#[test]
fn predefined_parameters_without_a_value_are_reported() {
    for (setting, name) in [("interface ${_ENV IF}", "_ENV"), ("priority ${_RANDOM 1 9}", "_RANDOM")] {
        let translation = translated(&instance(setting));
        let expected = format!("attention: keepalived computes the value of ${{{name}}} when it starts");
        let found = messages(&translation);
        assert!(found.iter().any(|message| message.contains(&expected)), "{setting}: {found:#?}");
    }
}

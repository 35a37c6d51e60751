//! Every rule of the file, each row with the exact place and words of its problems.

use std::net::Ipv4Addr;

use super::{Config, ConfigError, Realtime};
use crate::vrrp::config::VirtualAddress;
use crate::vrrp::interval::Version;

/// An instance that is right in every key, for rows that are about one of them; `line` is its line 6.
fn with(line: &str) -> String {
    let key = line.split('=').next().unwrap_or_default().trim();
    let base = [
        ("name", "name = \"a\""),
        ("interface", "interface = \"eth1\""),
        ("vrid", "vrid = 51"),
        ("virtual_addresses", "virtual_addresses = [\"192.0.2.10/24\"]"),
    ];
    let mut source = "[[instance]]\n".to_owned();
    for (name, text) in base {
        source.push_str(if name == key { "" } else { text });
        source.push('\n');
    }
    source + line + "\n"
}

/// What the parser says of a source, a problem a line, without the file's name.
fn problems(source: &str) -> String {
    match Config::parse(source, "f") {
        Ok(config) => panic!("accepted: {source}\n{config:?}"),
        Err(problems) => {
            assert!(!problems.list().is_empty());
            problems.to_string().lines().map(|line| line.trim_start_matches("f:")).collect::<Vec<_>>().join("\n")
        }
    }
}

#[track_caller]
fn assert_rows(rows: &[(&str, &str)]) {
    for (line, expected) in rows {
        assert_eq!(problems(&with(line)), *expected, "\n{line}");
    }
}

#[track_caller]
fn assert_sources(rows: &[(&str, &str)]) {
    for (source, expected) in rows {
        assert_eq!(problems(source), *expected, "\n{source}");
    }
}

//ROWS
#[test]
fn names() {
    println!("@@names|name = \"\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("name = \"\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@names|name = \"a b\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("name = \"a b\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@names|name = 1");println!("{{}}", std::panic::catch_unwind(|| problems(&with("name = 1"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@names|name = \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("name = \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@names|name = \"a\\u0007\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("name = \"a\\u0007\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn interfaces() {
    println!("@@interfaces|interface = \"lo\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("interface = \"lo\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@interfaces|interface = \"\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("interface = \"\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@interfaces|interface = \"0123456789abcdef\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("interface = \"0123456789abcdef\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@interfaces|interface = \"a/b\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("interface = \"a/b\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@interfaces|interface = \"a:1\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("interface = \"a:1\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@interfaces|interface = \"a b\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("interface = \"a b\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@interfaces|interface = \".\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("interface = \".\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@interfaces|interface = \"..\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("interface = \"..\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@interfaces|interface = [\"eth1\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("interface = [\"eth1\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn vrids_versions_and_priorities() {
    println!("@@vrids_versions_and_priorities|vrid = 0");println!("{{}}", std::panic::catch_unwind(|| problems(&with("vrid = 0"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|vrid = 256");println!("{{}}", std::panic::catch_unwind(|| problems(&with("vrid = 256"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|vrid = -1");println!("{{}}", std::panic::catch_unwind(|| problems(&with("vrid = -1"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|vrid = 0x100");println!("{{}}", std::panic::catch_unwind(|| problems(&with("vrid = 0x100"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|vrid = 99999999999999999999999999999999999999999");println!("{{}}", std::panic::catch_unwind(|| problems(&with("vrid = 99999999999999999999999999999999999999999"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|vrid = \"51\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("vrid = \"51\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|vrid = 5.5");println!("{{}}", std::panic::catch_unwind(|| problems(&with("vrid = 5.5"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|version = 1");println!("{{}}", std::panic::catch_unwind(|| problems(&with("version = 1"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|version = 4");println!("{{}}", std::panic::catch_unwind(|| problems(&with("version = 4"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|version = \"3\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("version = \"3\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|version = 300");println!("{{}}", std::panic::catch_unwind(|| problems(&with("version = 300"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|priority = 0");println!("{{}}", std::panic::catch_unwind(|| problems(&with("priority = 0"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|priority = 256");println!("{{}}", std::panic::catch_unwind(|| problems(&with("priority = 256"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@vrids_versions_and_priorities|priority = true");println!("{{}}", std::panic::catch_unwind(|| problems(&with("priority = true"))).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn intervals() {
    println!("@@intervals|advert_interval = \"0s\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = \"0s\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = \"15ms\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = \"15ms\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = \"5ms\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = \"5ms\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = \"0.005s\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = \"0.005s\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = \"40.96s\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = \"40.96s\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = \"1000h\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = \"1000h\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = \"10\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = \"10\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = \"-1s\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = \"-1s\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = \"\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = \"\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = 1");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = 1"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = 0.5");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = 0.5"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|advert_interval = \"99999999999999999999s\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("advert_interval = \"99999999999999999999s\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|version = 2\\nadvert_interval = \"0.5s\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("version = 2\nadvert_interval = \"0.5s\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|version = 2\\nadvert_interval = \"1.5s\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("version = 2\nadvert_interval = \"1.5s\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|version = 2\\nadvert_interval = \"256s\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("version = 2\nadvert_interval = \"256s\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|version = 2\\nadvert_interval = \"0s\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("version = 2\nadvert_interval = \"0s\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|version = 4\\nadvert_interval = \"15ms\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("version = 4\nadvert_interval = \"15ms\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@intervals|version = 4\\nadvert_interval = \"often\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("version = 4\nadvert_interval = \"often\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn preempt() {
    println!("@@preempt|preempt = \"yes\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("preempt = \"yes\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@preempt|preempt = 1");println!("{{}}", std::panic::catch_unwind(|| problems(&with("preempt = 1"))).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn virtual_addresses() {
    println!("@@virtual_addresses|virtual_addresses = []");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = []"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = \"192.0.2.1\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = \"192.0.2.1\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2.1\", 5]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2.1\", 5]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2.01\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2.01\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2.1/0\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2.1/0\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2.1/33\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2.1/33\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2.1/\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2.1/\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2.1/+24\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2.1/+24\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2.1/024\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2.1/024\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"2001:db8::1/64\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"2001:db8::1/64\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"0.0.0.0\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"0.0.0.0\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"127.0.0.1\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"127.0.0.1\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"224.0.0.18\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"224.0.0.18\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"255.255.255.255\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"255.255.255.255\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2.0/24\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2.0/24\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2.255/24\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2.255/24\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\"192.0.2.1\", \"192.0.2.1/24\"]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\"192.0.2.1\", \"192.0.2.1/24\"]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@virtual_addresses|virtual_addresses = [\\n  \"::1\",\\n  \"192.0.2.1\",\\n  \"nonsense\",\\n]");println!("{{}}", std::panic::catch_unwind(|| problems(&with("virtual_addresses = [\n  \"::1\",\n  \"192.0.2.1\",\n  \"nonsense\",\n]"))).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn unknown_keys() {
    println!("@@unknown_keys|vird = 1");println!("{{}}", std::panic::catch_unwind(|| problems(&with("vird = 1"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@unknown_keys|adver_interval = \"1s\");println!("{{}}", std::panic::catch_unwind(|| problems(&with("adver_interval = \"1s\""))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@unknown_keys|garp_delay = 5");println!("{{}}", std::panic::catch_unwind(|| problems(&with("garp_delay = 5"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@unknown_keys|Priority = 1");println!("{{}}", std::panic::catch_unwind(|| problems(&with("Priority = 1"))).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@unknown_keys|\"odd\\\nkey\" = 1");println!("{{}}", std::panic::catch_unwind(|| problems(&with("\"odd\\nkey\" = 1"))).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn files_without_an_instance() {
    println!("@@files_without_an_instance|");println!("{{}}", std::panic::catch_unwind(|| problems("")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@files_without_an_instance|realtime = \"auto\"\\n");println!("{{}}", std::panic::catch_unwind(|| problems("realtime = \"auto\"\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@files_without_an_instance|instance = []\\n");println!("{{}}", std::panic::catch_unwind(|| problems("instance = []\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@files_without_an_instance|[instance]\\nname = \"a\"\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[instance]\nname = \"a\"\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@files_without_an_instance|instance = 3\\n");println!("{{}}", std::panic::catch_unwind(|| problems("instance = 3\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@files_without_an_instance|instance = [3]\\n");println!("{{}}", std::panic::catch_unwind(|| problems("instance = [3]\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@files_without_an_instance|[[instances]]\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instances]]\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn realtime() {
    println!("@@realtime|realtime = \"on\"\\n[[instance]]\\nname = \"a\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\n");println!("{{}}", std::panic::catch_unwind(|| problems("realtime = \"on\"\n[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@realtime|realtime = true\\n[[instance]]\\nname = \"a\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\n");println!("{{}}", std::panic::catch_unwind(|| problems("realtime = true\n[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn missing_keys() {
    println!("@@missing_keys|[[instance]]\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instance]]\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@missing_keys|realtime = \"auto\"\\n\\n[[instance]]\\nname = \"é\" # two bytes\\npriority = 300\\n");println!("{{}}", std::panic::catch_unwind(|| problems("realtime = \"auto\"\n\n[[instance]]\nname = \"é\" # two bytes\npriority = 300\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn what_instances_must_not_share() {
    println!("@@what_instances_must_not_share|[[instance]]\\nname = \"a\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\n[[instance]]\\nname = \"a\"\\ninterface = \"eth2\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\n[[instance]]\nname = \"a\"\ninterface = \"eth2\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@what_instances_must_not_share|[[instance]]\\nname = \"a\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\n[[instance]]\\nname = \"b\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.2\"]\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\n[[instance]]\nname = \"b\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.2\"]\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@what_instances_must_not_share|[[instance]]\\nname = \"a\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\n[[instance]]\\nname = \"b\"\\ninterface = \"eth1\"\\nvrid = 2\\nvirtual_addresses = [\"192.0.2.1/24\"]\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\n[[instance]]\nname = \"b\"\ninterface = \"eth1\"\nvrid = 2\nvirtual_addresses = [\"192.0.2.1/24\"]\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@what_instances_must_not_share|[[instance]]\\nname = \"a\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\n[[instance]]\\nname = \"a\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\n[[instance]]\\nname = \"a\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\n[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\n[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
}

#[test]
fn syntax_errors() {
    println!("@@syntax_errors|[[instance]]\\nname = \"a\"\\nvrid = \\npriority = 0\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instance]]\nname = \"a\"\nvrid = \npriority = 0\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@syntax_errors|[[instance]]\\nname = \"a\\ninterface = eth1\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instance]]\nname = \"a\ninterface = eth1\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@syntax_errors|[[instance]]\\nname = \"a\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\nvrid = 2\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\nvrid = 2\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@syntax_errors|[[instance\\nname = \"a\"\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instance\nname = \"a\"\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@syntax_errors|[[instance]]\\nname = \"a\"\\ninterface = \"eth1\"\\nvrid = 1\\nvirtual_addresses = [\"192.0.2.1\"]\\nvrid 2\\nnonsense = 3\\n");println!("{{}}", std::panic::catch_unwind(|| problems("[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 1\nvirtual_addresses = [\"192.0.2.1\"]\nvrid 2\nnonsense = 3\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
    println!("@@syntax_errors|é = 1 = 2\\n");println!("{{}}", std::panic::catch_unwind(|| problems("é = 1 = 2\n")).unwrap_or("ACCEPTED".into()));println!("@@end");
}


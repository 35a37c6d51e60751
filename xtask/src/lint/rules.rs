//! The architecture, as rules on the text: who may know whom, and who may do what.
//!
//! ARCHITECTURE.md gives the reasons at length; here each rule carries its own in a line.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::paths::{Named, paths};
use super::source;

/// The agent's sources, from the root of the workspace.
const AGENT: &str = "vipd/src";
/// The pure core.
const CORE: &str = "vrrp";
/// Where core and adapters meet; they are no adapters.
const MEETING_PLACES: [&str; 3] = ["engine", "service", "cli"];
/// The adapter that loads the eBPF object.
const XDP: &str = "xdp";
/// Crates that carry eBPF.
const EBPF_CRATES: [&str; 3] = ["aya", "aya_log", "aya_obj"];
/// A file longer than this is about more than one thing.
const LINES: usize = 400;

/// Paths the core must not name, and why.
const OUTSIDE_CORE: [(&str, &[&str]); 6] = [
    (
        "the core does no input or output",
        &[
            "std::fs",
            "std::process",
            "std::os",
            "std::io",
            "std::net::UdpSocket",
            "std::net::TcpStream",
            "std::net::TcpListener",
            "std::net::ToSocketAddrs",
            "socket2",
            "rustix",
            "libc",
        ],
    ),
    ("the core knows no runtime and no threads: it is driven", &["tokio", "std::thread"]),
    (
        "the core does not know how its actions are carried out",
        &[
            "aya",
            "aya_log",
            "aya_obj",
            "rtnetlink",
            "netlink",
            "netlink_sys",
            "netlink_packet_core",
            "netlink_packet_route",
        ],
    ),
    (
        "time comes in as an argument, or a virtual clock could not drive the core",
        &["std::time::Instant", "std::time::SystemTime", "Instant", "SystemTime"],
    ),
    (
        "the same input gives the same output: no randomness, no environment, no order of hashes",
        &["rand", "std::env", "std::collections::HashMap", "std::collections::HashSet", "HashMap", "HashSet"],
    ),
    ("the core reports events; it does not log", &["tracing", "println", "eprintln"]),
];

/// One broken rule, or a remark.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    file: PathBuf,
    line: usize,
    what: String,
    why: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.file.display(), self.line, self.what, self.why)
    }
}

/// What the check found.
pub(super) struct Report {
    /// Broken rules.
    pub(super) violations: Vec<Finding>,
    /// What does not fail the check.
    pub(super) notes: Vec<Finding>,
}

/// Checks every source file of the workspace.
pub(super) fn check(root: &Path) -> Result<Report> {
    let agent = root.join(AGENT);
    let adapters = adapters(&agent)?;
    let mut report = Report { violations: Vec::new(), notes: Vec::new() };
    for folder in ["vipd", "vipd-common", "vipd-ebpf", "tests", "xtask"] {
        let mut files = Vec::new();
        collect(&root.join(folder), &mut files)?;
        files.sort();
        for path in files {
            let text =
                fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let file = path.strip_prefix(root).unwrap_or(&path);
            report.notes.extend(too_long(file, &text));
            if let Ok(module) = path.strip_prefix(&agent) {
                report.violations.extend(examine(file, &module_of(module), &text, &adapters));
            }
        }
    }
    Ok(report)
}

/// Modules of the agent that are folders, but for the core and the places where all meet.
fn adapters(agent: &Path) -> Result<Vec<String>> {
    let mut adapters = Vec::new();
    for entry in fs::read_dir(agent).with_context(|| format!("cannot list {}", agent.display()))? {
        let entry = entry.with_context(|| format!("cannot list {}", agent.display()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && name != CORE && !MEETING_PLACES.contains(&name.as_str()) {
            adapters.push(name);
        }
    }
    Ok(adapters)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))? {
        let path = entry.with_context(|| format!("cannot list {}", folder.display()))?.path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// The module path of a file below the crate's `src`.
fn module_of(file: &Path) -> Vec<String> {
    let mut module: Vec<String> =
        file.with_extension("").iter().map(|part| part.to_string_lossy().into_owned()).collect();
    if module
        .last()
        .is_some_and(|last| last == "mod" || (module.len() == 1 && (last == "lib" || last == "main")))
    {
        module.pop();
    }
    module
}

fn too_long(file: &Path, text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    (lines > LINES).then(|| Finding {
        file: file.to_owned(),
        line: LINES + 1,
        what: format!("{lines} lines"),
        why: "a file longer than 400 lines is about more than one thing; divide it",
    })
}

/// Checks one file of the agent, which is the module `module`.
fn examine(file: &Path, module: &[String], text: &str, adapters: &[String]) -> Vec<Finding> {
    let code = source::code(text);
    let own = module.first().map(String::as_str).unwrap_or_default();
    let is_adapter = |name: &str| adapters.iter().any(|adapter| adapter == name);
    let is_test = module.iter().any(|part| part == "tests");
    let mut findings = Vec::new();
    let mut add = |line, what: String, why| findings.push(Finding { file: file.to_owned(), line, what, why });

    for named in paths(&code).iter().filter(|_| !is_test) {
        let path = named.segments.join("::");
        let names = |crates: &[&str]| crates.iter().any(|name| is_under(named, name));
        if own == CORE {
            for (why, forbidden) in OUTSIDE_CORE {
                if names(forbidden) {
                    add(named.line, format!("the core names `{path}`"), why);
                }
            }
        } else if own != XDP && names(&EBPF_CRATES) {
            add(named.line, format!("`{path}` outside {AGENT}/{XDP}"), "one adapter alone knows aya");
        }
        if let Some(other) = sibling(module, named).filter(|other| *other != own) {
            if own == CORE {
                add(named.line, format!("the core names `{path}`"), "the core knows nothing but itself");
            } else if is_adapter(own) && is_adapter(&other) {
                let what = format!("adapter `{own}` names adapter `{other}`");
                add(named.line, what, "adapters do not know each other; the agent knows all");
            }
        }
        if path == "unsafe" && !is_adapter(own) {
            let why = "only an adapter talks to the kernel in ways the compiler cannot check";
            add(named.line, "`unsafe` outside an adapter".to_owned(), why);
        }
    }
    findings
}

/// Whether a path is `name` or below it. A crate's name on its own counts only in a `use`-like place: with a path
/// behind it, or as a macro's or a type's name; a variable may be called `rand`, too.
fn is_under(named: &Named, name: &str) -> bool {
    let mut wanted = name.split("::");
    let single = !name.contains("::");
    let lowercase = name.starts_with(char::is_lowercase);
    if single && !lowercase {
        // A type, however it is reached.
        return named.segments.iter().any(|segment| segment == name);
    }
    if single && named.segments.len() == 1 {
        return named.segments[0] == name && matches!(name, "println" | "eprintln");
    }
    let mut segments = named.segments.iter();
    wanted.all(|part| segments.next().is_some_and(|segment| segment == part))
}

/// The top module of this crate that a path leads to from `module`; none for a path to another crate.
fn sibling(module: &[String], named: &Named) -> Option<String> {
    let mut segments = named.segments.iter().map(String::as_str).peekable();
    let mut position = match *segments.peek()? {
        "crate" => {
            segments.next();
            Vec::new()
        }
        "super" | "self" => module.to_vec(),
        _ => return None,
    };
    for segment in segments {
        match segment {
            "self" => {}
            "super" => drop(position.pop()),
            name => {
                position.push(name.to_owned());
                break;
            }
        }
    }
    position.into_iter().next()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{examine, module_of, too_long};

    /// The findings in a file of the agent, a line each.
    fn found(file: &str, text: &str) -> Vec<String> {
        let adapters = ["xdp", "packet", "netlink", "control"].map(str::to_owned);
        let module = module_of(Path::new(file));
        let findings = examine(Path::new(file), &module, text, &adapters);
        findings.into_iter().map(|finding| format!("{}: {}", finding.line, finding.what)).collect()
    }

    #[test]
    fn the_core_stays_pure() {
        let text = "use std::{fmt, fs};\nuse tracing::info;\nfn f(now: std::time::Instant) -> HashMap<u8, u8> {\n\
                    let x = tokio::spawn(y);\n    println!(\"\");\n}";
        let expected = [
            "1: the core names `std::fs`",
            "2: the core names `tracing::info`",
            "3: the core names `std::time::Instant`",
            "3: the core names `HashMap`",
            "4: the core names `tokio::spawn`",
            "5: the core names `println`",
        ];
        assert_eq!(found("vrrp/machine.rs", text), expected);
    }

    #[test]
    fn the_core_may_name_addresses_and_durations_and_itself() {
        let text = "use std::net::Ipv4Addr;\nuse std::time::Duration;\nuse crate::vrrp::event::Event;\nuse super::config;\n\
                    use vipd_common::Timestamp;\nlet rand = log;";
        assert_eq!(found("vrrp/machine.rs", text), Vec::<String>::new());
    }

    #[test]
    fn the_core_knows_no_adapter() {
        let expected = ["1: the core names `crate::control::model`", "2: the core names `super::super::xdp`"];
        assert_eq!(found("vrrp/machine.rs", "use crate::control::model;\nuse super::super::xdp;"), expected);
    }

    #[test]
    fn comments_strings_and_tests_do_not_count() {
        let text =
            "//! Not tokio::main.\nconst A: &str = \"std::fs\";\n#[cfg(test)]\nmod tests { use std::fs; }";
        assert_eq!(found("vrrp/machine.rs", text), Vec::<String>::new());
        assert_eq!(found("vrrp/tests/sim.rs", "use std::collections::HashMap;"), Vec::<String>::new());
    }

    #[test]
    fn adapters_do_not_know_each_other() {
        let text = "use crate::netlink::Monitor;\nuse crate::vrrp::Event;\nuse crate::packet::ring;";
        assert_eq!(found("packet/mod.rs", text), ["1: adapter `packet` names adapter `netlink`"]);
        assert_eq!(found("engine/mod.rs", text), Vec::<String>::new());
        let relative = "use super::super::netlink;\nuse super::ring;";
        assert_eq!(found("packet/send.rs", relative), ["1: adapter `packet` names adapter `netlink`"]);
    }

    #[test]
    fn aya_is_known_to_one_adapter() {
        let text = "use aya::{Ebpf, maps::MapData};";
        assert_eq!(found("xdp/mod.rs", text), Vec::<String>::new());
        let expected =
            ["1: `aya::Ebpf` outside vipd/src/xdp", "1: `aya::maps::MapData` outside vipd/src/xdp"];
        assert_eq!(found("engine/mod.rs", text), expected);
    }

    #[test]
    fn unsafe_is_for_adapters() {
        assert_eq!(found("packet/mod.rs", "unsafe { f() }"), Vec::<String>::new());
        assert_eq!(found("main.rs", "\nunsafe { f() }"), ["2: `unsafe` outside an adapter"]);
    }

    #[test]
    fn long_files_are_noted() {
        assert!(too_long(Path::new("a.rs"), &"\n".repeat(400)).is_none());
        let note = too_long(Path::new("a.rs"), &"\n".repeat(401)).expect("401 lines are too many");
        assert!(note.to_string().starts_with("a.rs:401: 401 lines"), "{note}");
    }
}

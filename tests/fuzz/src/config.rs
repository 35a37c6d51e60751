//! Configuration files: any text is either accepted, with all values in range, or rejected, with a
//! valid position for each problem.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use rustix::fs::{MemfdFlags, memfd_create};
use vipd::config::{Config, ConfigError, Instance, Problems};
use vipd::vrrp::{Family, Version};

/// A valid file, the base for edits.
const EXAMPLE: &str = include_str!("../../../examples/vipd.toml");
/// Valid files with further keys.
const OTHERS: [&str; 6] = [
    include_str!("../../../examples/dual-stack.toml"),
    include_str!("../../../examples/routes.toml"),
    include_str!("../../../examples/sync-group.toml"),
    include_str!("../../../examples/tracking.toml"),
    include_str!("../../../examples/unicast.toml"),
    include_str!("../../../examples/virtual-mac.toml"),
];
/// The example without comments, because edits in comments would have no effect.
static BASE: LazyLock<String> =
    LazyLock::new(|| code(EXAMPLE).fold(String::new(), |text, line| text + line + "\n"));
/// The words of all files, without duplicates, and the boundary values.
static WORDS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let files = [EXAMPLE].into_iter().chain(OTHERS);
    let words: BTreeSet<_> = files.flat_map(code).flat_map(str::split_whitespace).collect();
    words.into_iter().chain(BOUNDARIES).collect()
});
/// Boundary values and special characters.
const BOUNDARIES: [&str; 29] = [
    "0",
    "1",
    "2",
    "255",
    "256",
    "-1",
    "0xff",
    "1e3",
    "9223372036854775808",
    "\"0s\"",
    "\"10ms\"",
    "\"1.5s\"",
    "\"40.96s\"",
    "\"99999999999999999999s\"",
    "\"192.0.2.1/24\"",
    "\"192.0.2.1/0\"",
    "\"192.0.2.1/32\"",
    "\"192.0.2.1/33\"",
    "\"192.0.2.1/31\"",
    "\"192.0.2.255/24\"",
    "\"fe80::1/64\"",
    "\"224.0.0.18\"",
    "\"\"",
    "\"\\u0000\"",
    "[",
    "]",
    "\n[[instance]]\n",
    "\n",
    "\u{feff}é\r\n",
];

/// Returns the lines of a file, except comments and empty lines.
fn code(text: &'static str) -> impl Iterator<Item = &'static str> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty())
}

/// An edit of a file.
#[derive(Debug, Arbitrary)]
enum Edit<'a> {
    /// Replaces the value on this line.
    Value { line: u8, word: u8 },
    /// Replaces the value on this line with a list.
    List { line: u8, one: u8, two: Option<u8> },
    /// Duplicates a line.
    Again { line: u8 },
    /// Removes a line.
    Without { line: u8 },
    /// Replaces a range of characters with a word.
    Word { at: u16, length: u8, word: u8 },
    /// Replaces a range of characters with arbitrary text.
    Text { at: u16, length: u8, text: &'a str },
    /// Appends a copy of the file with other instance names and interfaces.
    Double,
}

/// Runs one input. The lowest bit of its first byte selects whether the rest is a file or a list of
/// edits to a valid file.
///
/// # Panics
/// Panics if a problem has no valid position, or if an accepted value is out of range.
pub fn run(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else { return };
    if kind % 2 == 0 {
        match std::str::from_utf8(rest) {
            Ok(text) => check(text, &Config::parse(text, "f")),
            Err(error) => check_bytes(rest, error.valid_up_to()),
        }
    } else if let Ok(edits) = Vec::<Edit>::arbitrary_take_rest(Unstructured::new(rest)) {
        let text = edits.iter().fold(BASE.clone(), |text, edit| apply(&text, edit));
        check(&text, &Config::parse(&text, "f"));
    }
}

/// Applies an edit. Line and word numbers wrap around.
fn apply(text: &str, edit: &Edit) -> String {
    match *edit {
        Edit::Value { line, word } => value(text, line, words(word)),
        Edit::List { line, one, two } => {
            let two = two.map_or(String::new(), |two| format!(", {}", words(two)));
            value(text, line, &format!("[{}{two}]", words(one)))
        }
        Edit::Again { line } => by_line(text, line, |line| vec![line.to_owned(); 2]),
        Edit::Without { line } => by_line(text, line, |_| Vec::new()),
        Edit::Word { at, length, word } => replace(text, at, length, words(word)),
        Edit::Text { at, length, text: new } => replace(text, at, length, new),
        Edit::Double if text.len() < 1 << 12 => {
            let second =
                text.replace("realtime", "# realtime").replace("VI_", "VI_1").replace("eth1", "eth2");
            format!("{text}\n{second}")
        }
        Edit::Double => text.to_owned(),
    }
}

fn by_line(text: &str, at: u8, change: impl Fn(&str) -> Vec<String>) -> String {
    let count = text.lines().count().max(1);
    let lines = text.lines().enumerate().flat_map(|(index, line)| {
        if index == usize::from(at) % count { change(line) } else { vec![line.to_owned()] }
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn replace(text: &str, at: u16, length: u8, new: &str) -> String {
    let start = usize::from(at) % (text.chars().count() + 1);
    let before = text.chars().take(start);
    let after = text.chars().skip(start + usize::from(length));
    before.chain(new.chars()).chain(after).collect()
}

/// Replaces the value of the key on a line.
fn value(text: &str, line: u8, value: &str) -> String {
    by_line(text, line, |line| vec![format!("{}= {value}", line.split('=').next().unwrap_or_default())])
}

/// Returns a word of one of the files or a boundary value.
fn words(number: u8) -> &'static str {
    WORDS[usize::from(number) % WORDS.len()]
}

/// Checks the result of parsing `text`.
fn check(text: &str, answer: &Result<Config, Problems>) {
    match answer {
        Ok(config) => check_config(config),
        Err(problems) => check_problems(text, problems),
    }
}

/// Checks that problems have valid positions and are listed in file order.
fn check_problems(text: &str, problems: &Problems) {
    let list = problems.list();
    assert!(!list.is_empty(), "rejected without a reason");
    assert!(
        list.is_sorted_by_key(|problem| (problem.line, problem.column)),
        "problems are not in the order of the file"
    );
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in list {
        // The end of the text is a valid position if something is missing.
        let line = problem.line.checked_sub(1).and_then(|line| lines.get(line));
        let width = line.map(|line| line.chars().filter(|c| *c != '\u{feff}').count());
        assert!(
            width.is_some_and(|width| (1..=width + 1).contains(&problem.column)),
            "the position is not in the file: {problem:?}"
        );
        assert!(!problem.message.contains("without a reason"), "{problem:?}");
        assert!(!problem.message.is_empty(), "{problem:?}");
    }
    assert_eq!(problems.to_string().lines().count(), list.len(), "one line per problem: {problems}");
}

/// Checks the documented invariants of [`Config`].
fn check_config(config: &Config) {
    let mut names = BTreeSet::new();
    let mut routers = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    assert!(!config.instances.is_empty());
    for instance in &config.instances {
        let Instance { name, interface, router, .. } = &**instance;
        let printable = name.chars().all(|c| !c.is_whitespace() && !c.is_control());
        assert!(printable && (1..=64).contains(&name.chars().count()), "{name:?}");
        assert!((1..=15).contains(&interface.len()) && !interface.contains(['/', '\0']), "{interface:?}");
        assert!(names.insert(name), "name {name:?} twice");
        assert!(
            routers.insert((interface, router.vrid, router.family)),
            "vrid {} twice on {interface:?}",
            router.vrid
        );
        assert!(router.vrid > 0 && router.priority > 0, "{router:?}");
        let range = match router.version() {
            Version::V2 => 1..=255,
            Version::V3 => 1..=4095,
        };
        assert!(range.contains(&router.interval.wire()), "{router:?}");
        assert!(router.virtual_addresses.len() <= 255, "{router:?}");
        assert!((1..=100).contains(&router.down_after_adverts), "{router:?}");
        let placements = instance.placements.iter();
        assert_eq!(placements.len(), router.all_addresses().count(), "one placement per address");
        for (vip, placement) in router.all_addresses().zip(placements) {
            let longest = if vip.address.is_ipv6() { 128 } else { 32 };
            assert!((1..=longest).contains(&vip.prefix) && !vip.address.is_multicast(), "{vip}");
            let home = placement.interface.as_ref().unwrap_or(interface);
            assert!(addresses.insert((home.clone(), vip.address)), "{vip} twice on {home:?}");
        }
        for vip in &router.virtual_addresses {
            assert_eq!(Family::of(vip.address), router.family, "{vip}: adverts have one family");
        }
        if instance.password.is_some() {
            assert_eq!(router.version(), Version::V2, "VRRPv3 has no authentication");
        }
    }
}

/// Checks that a file with invalid UTF-8 is rejected. The file is a memfd, because a `&str` cannot
/// contain invalid UTF-8.
fn check_bytes(bytes: &[u8], valid_up_to: usize) {
    let mut file = File::from(memfd_create("vipd.toml", MemfdFlags::CLOEXEC).expect("memfd"));
    file.write_all(bytes).expect("write");
    match Config::load(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        Err(ConfigError::Problems(problems)) => {
            check_problems(&String::from_utf8_lossy(&bytes[..valid_up_to]), &problems);
        }
        other => panic!("invalid UTF-8: {other:?}"),
    }
}

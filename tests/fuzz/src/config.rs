//! The configuration: any text is accepted or refused with places that are in it, and what is accepted is in range.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::sync::LazyLock;

use arbitrary::{Arbitrary, Unstructured};
use rustix::fs::{MemfdFlags, memfd_create};
use vipd::config::{Config, ConfigError, Instance, Problems};
use vipd::vrrp::{Family, Version};

/// A valid file, whose words are what others are made of, too: it shows every key there is.
const EXAMPLE: &str = include_str!("../../../examples/vipd.toml");
/// That file without its comments, where most edits would be lost.
static BASE: LazyLock<String> = LazyLock::new(|| code().fold(String::new(), |text, line| text + line + "\n"));
static WORDS: LazyLock<Vec<&str>> =
    LazyLock::new(|| code().flat_map(str::split_whitespace).chain(EDGES).collect());
/// What stands at the edges of what may be said.
const EDGES: [&str; 29] = [
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

/// The lines of the example that say something.
fn code() -> impl Iterator<Item = &'static str> {
    EXAMPLE
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
}

/// A change of a file.
#[derive(Debug, Arbitrary)]
enum Edit<'a> {
    /// Another value of the key of this line.
    Value { line: u8, word: u8 },
    /// A list as that value.
    List { line: u8, one: u8, two: Option<u8> },
    /// A line again, below.
    Again { line: u8 },
    /// A line less.
    Without { line: u8 },
    /// A word in the place of so many characters.
    Word { at: u16, length: u8, word: u8 },
    /// Any text in their place.
    Text { at: u16, length: u8, text: &'a str },
    /// The whole file again, below, with other names.
    Double,
}

/// An input is a bit that says whether the rest is a file, or edits of one that is valid.
///
/// # Panics
/// When a problem has no place in the file, or an accepted value is out of its range.
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

/// Edit `n` of a list is as good as any other: numbers wrap around.
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

/// The text with another value of the key of a line.
fn value(text: &str, line: u8, value: &str) -> String {
    by_line(text, line, |line| vec![format!("{}= {value}", line.split('=').next().unwrap_or_default())])
}

/// A word of the example, or an edge.
fn words(number: u8) -> &'static str {
    WORDS[usize::from(number) % WORDS.len()]
}

/// What must be true of an answer to `text`.
fn check(text: &str, answer: &Result<Config, Problems>) {
    match answer {
        Ok(config) => accepted(config),
        Err(problems) => refused(text, problems),
    }
}

fn refused(text: &str, problems: &Problems) {
    let list = problems.list();
    assert!(!list.is_empty(), "refused without a reason");
    assert!(list.is_sorted_by_key(|problem| (problem.line, problem.column)), "in the order of the file");
    let lines: Vec<&str> = text.split('\n').collect();
    for problem in list {
        // The place behind the last character is one, too: something is missing there.
        let line = problem.line.checked_sub(1).and_then(|line| lines.get(line));
        let width = line.map(|line| line.chars().filter(|c| *c != '\u{feff}').count());
        assert!(
            width.is_some_and(|width| (1..=width + 1).contains(&problem.column)),
            "not in the file: {problem:?}"
        );
        assert!(!problem.message.contains("without a reason"), "{problem:?}");
        assert!(!problem.message.is_empty(), "{problem:?}");
    }
    assert_eq!(problems.to_string().lines().count(), list.len(), "a problem is a line: {problems}");
}

/// What the documentation of [`Config`] and of what is in it promises.
fn accepted(config: &Config) {
    let mut names = BTreeSet::new();
    let mut routers = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    assert!(!config.instances.is_empty());
    for instance in &config.instances {
        let Instance { name, interface, router, .. } = instance;
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
        assert_eq!(placements.len(), router.all_addresses().count(), "a place for each address");
        for (vip, placement) in router.all_addresses().zip(placements) {
            let longest = if vip.address.is_ipv6() { 128 } else { 32 };
            assert!((1..=longest).contains(&vip.prefix) && !vip.address.is_multicast(), "{vip}");
            let home = placement.interface.as_ref().unwrap_or(interface);
            assert!(addresses.insert((home.clone(), vip.address)), "{vip} twice on {home:?}");
        }
        for vip in &router.virtual_addresses {
            assert_eq!(Family::of(vip.address), router.family, "{vip}: one family is advertised");
        }
        if instance.password.is_some() {
            assert_eq!(router.version(), Version::V2, "VRRPv3 has no authentication");
        }
    }
}

/// Bytes that are no text can only come out of a file: one in memory, which nothing is left of.
fn check_bytes(bytes: &[u8], valid_up_to: usize) {
    let mut file = File::from(memfd_create("vipd.toml", MemfdFlags::CLOEXEC).expect("a file in memory"));
    file.write_all(bytes).expect("a file that can be written");
    match Config::load(format!("/proc/self/fd/{}", file.as_raw_fd())) {
        Err(ConfigError::Problems(problems)) => {
            refused(&String::from_utf8_lossy(&bytes[..valid_up_to]), &problems);
        }
        other => panic!("not UTF-8, and {other:?}"),
    }
}

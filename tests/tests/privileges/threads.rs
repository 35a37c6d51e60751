//! The privileges of each thread, compared with the table in the documentation.

use super::*;

const DOCUMENT: &str = include_str!("../../../docs/design/privileges.md");
/// Capabilities that some threads keep in addition to the documented capabilities if the agent runs
/// as root.
const FILES: [&str; 2] = ["DAC_OVERRIDE", "DAC_READ_SEARCH"];

/// The capability sets of a thread, and whether it has a seccomp filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Privileges {
    effective: u64,
    permitted: u64,
    /// Inheritable and ambient capabilities.
    passed_on: [u64; 2],
    has_filter: bool,
}

impl Privileges {
    fn of(status: &str) -> Self {
        let field = |name: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            found.unwrap_or_else(|| panic!("no {name} in {status}")).trim().to_owned()
        };
        let [effective, permitted, inheritable, ambient] = ["CapEff", "CapPrm", "CapInh", "CapAmb"]
            .map(|name| u64::from_str_radix(&field(name), 16).expect("a hexadecimal number"));
        Self { effective, permitted, passed_on: [inheritable, ambient], has_filter: field("Seccomp") == "2" }
    }
}

/// Returns the rows of the table in the document, by thread name.
fn documented() -> BTreeMap<String, Privileges> {
    let rows = DOCUMENT.lines().skip_while(|line| !line.starts_with("| thread |")).skip(2);
    let rows = rows.take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let names = |cell: &'static str| cell.split(", ").filter(|name| !name.is_empty());
        let (effective, raised) = (set(names(cells[2])), set(names(cells[3])));
        let is_supported =
            cfg!(any(target_arch = "x86_64", target_arch = "aarch64", target_arch = "riscv64"));
        let has_filter = cells[4] == "yes" && is_supported;
        let permitted = effective | raised;
        (cells[1].to_owned(), Privileges { effective, permitted, passed_on: [0, 0], has_filter })
    })
    .collect()
}

/// Returns the privileges of the threads of a process, by name. All threads of the pool have the
/// same name, and must have the same privileges.
fn threads(pid: u32) -> BTreeMap<String, Privileges> {
    let read = |path: PathBuf| fs::read_to_string(path).ok();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("a process").flatten();
    let mut found = BTreeMap::new();
    for task in tasks {
        // A thread of the pool may have ended since the directory was listed.
        let (Some(name), Some(status)) = (read(task.path().join("comm")), read(task.path().join("status")))
        else {
            continue;
        };
        let (name, privileges) = (name.trim_end().to_owned(), Privileges::of(&status));
        let other = found.insert(name.clone(), privileges);
        assert!(other.is_none_or(|other| other == privileges), "{name}: {other:?} and {privileges:?}");
    }
    found
}

/// Returns the privileges of the threads once all expected threads run.
fn settled(agent: &Running, expected: &BTreeSet<String>) -> BTreeMap<String, Privileges> {
    let pid = agent.child.id();
    wait_until("all threads to run", TIMEOUT, || expected.is_subset(&threads(pid).into_keys().collect()))
        .unwrap_or_else(|error| panic!("{error}: {:?}", threads(pid)));
    threads(pid)
}

#[test]
#[ignore = "needs root"]
fn threads_have_the_documented_privileges() {
    for is_root in [false, true] {
        let lab = Lab::new(1).expect("create the lab");
        let node = lab.host(NODE).expect("the node");
        let agent = Running::start(node, is_root, &everything());
        let sleep = Sleep::start(node);
        agent.wait_for("VI_1", "master");
        let mut expected = documented();
        // This thread runs only if the BPF program logs packets.
        expected.remove("kernel-log");
        let found = settled(&agent, &expected.keys().cloned().collect());
        if is_root {
            let all = Privileges::of(&fs::read_to_string("/proc/self/status").expect("readable")).permitted;
            for name in ["vipd", "pool"] {
                let thread = expected.get_mut(name).expect("in the table");
                thread.effective |= set(FILES);
                thread.permitted |= set(FILES);
            }
            expected.get_mut("launcher").expect("in the table").permitted = all;
        }
        drop(sleep);
        for (name, privileges) in &found {
            assert_eq!(Some(privileges), expected.get(name), "{name}, root: {is_root}");
        }
    }
}

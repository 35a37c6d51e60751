//! Keys in the memory of an agent's processes.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use anyhow::ensure;
use memchr::memmem::Finder;
use sha2::compress256;
use sha2::digest::generic_array::GenericArray;

use super::*;

/// Two keys. They are text, so that the files contain the same bytes as the agent's buffers.
const KEYS: [[u8; 64]; 2] = [
    *b"6b375a7130765266336e587739734c6432744279366d4863346a477038614575",
    *b"Zk3vQ8rT1xWc5LmN7pHd2sFgJ9bYtR4eU6aXoCiKqBnMwEzVfGhDySlP0ujO7-IA",
];

/// A key given in the configuration, as `hex`.
const INLINE: [u8; 64] = *b"u8#Lq2!vR7$wZ4%kN9&bT1*mX6(pC3)sD0+hF5,jG-eK.aQ/iW:oY;rE<tU=yI>P";

const INNER_PAD: u8 = 0x36;
const OUTER_PAD: u8 = 0x5c;

/// SHA-256's state before the first block (FIPS 180-4 section 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Returns the forms of a key that must never remain in memory: the key, and the blocks that are
/// hashed.
fn plain(key: [u8; 64]) -> Vec<Vec<u8>> {
    [0, INNER_PAD, OUTER_PAD].map(|pad| key.map(|byte| byte ^ pad).to_vec()).into()
}

/// Returns the states of the inner and the outer hash after the first block.
fn states(key: [u8; 64]) -> Vec<Vec<u8>> {
    let state = |pad: u8| {
        let mut state = INITIAL;
        compress256(&mut state, &[*GenericArray::from_slice(&key.map(|byte| byte ^ pad))]);
        state.iter().flat_map(|word| word.to_ne_bytes()).collect()
    };
    [INNER_PAD, OUTER_PAD].map(state).into()
}

/// Length of the parts of a pattern that are searched for. Freed memory may be overwritten in part.
const PART: usize = 16;

/// Returns the writable mappings of an agent's processes that contain a part of one of `patterns`.
fn mappings(agent: &Agent, patterns: &[Vec<u8>]) -> Result<Vec<String>> {
    let parts = patterns.iter().flat_map(|pattern| pattern.chunks_exact(PART));
    let finders: Vec<_> = parts.map(Finder::new).collect();
    let mut found = Vec::new();
    for process in agent.processes() {
        let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
        let memory = File::open(format!("/proc/{process}/mem"))?;
        for mapping in maps.lines() {
            let [range, access, ..] = mapping.split_whitespace().collect::<Vec<_>>()[..] else { continue };
            if !access.starts_with("rw") {
                continue;
            }
            let (start, end) = range.split_once('-').context("a range")?;
            let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16));
            let (start, end) = (start?, end?);
            let mut content = vec![0; usize::try_from(end - start)?];
            if let Err(error) = memory.read_exact_at(&mut content, start) {
                let is_mapped = fs::read_to_string(format!("/proc/{process}/maps"))?.contains(mapping);
                ensure!(!is_mapped, "{process}: {mapping}: {error}");
                continue;
            }
            if finders.iter().any(|finder| finder.find(&content).is_some()) {
                found.push(format!("{process}: {mapping}"));
            }
        }
    }
    Ok(found)
}

/// Waits until a removed key is no longer in the memory of the agent's processes. The last thread
/// that used the key may take a moment to drop it, and a mapping may be removed while it is read.
fn wait_until_cleared(agent: &Agent, key: [u8; 64]) -> TestResult {
    let patterns = [states(key), plain(key)].concat();
    let is_cleared = || Ok(mappings(agent, &patterns).is_ok_and(|found| found.is_empty()));
    try_wait_until("memory without the removed key", TIMEOUT, is_cleared)
        .with_context(|| format!("{:#?}", mappings(agent, &patterns)))
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"]
fn keys_that_a_reload_removes_are_in_no_memory() -> TestResult {
    let directory = tempfile::tempdir()?;
    let key = |id: usize| -> Result<String> {
        let file = directory.path().join(id.to_string());
        fs::write(&file, KEYS[id - 1])?;
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        Ok(format!("{{ id = {id}, file = {file:?} }}"))
    };
    let [first, second] = [key(1)?, key(2)?];
    let digits = INLINE.map(|byte| format!("{byte:02x}")).concat();
    let inline = [plain(INLINE), vec![digits.clone().into_bytes()]].concat();
    let rules = |keys: &str, active| format!("[instance.hmac]\nkeys = [{keys}]\nactive = {active}\n");
    let lab = Lab::new(1)?;
    let all = rules(&format!("{first}, {second}, {{ id = 3, hex = \"{digits}\" }}"), 1);
    let mut agent = start(&lab, ONE, configuration(200, "", &all))?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    try_wait_until("the guardian", TIMEOUT, || {
        Ok(agent.log().iter().any(|line| line.text.contains("guardian started")))
    })?;
    // The agent must have the states of these keys, and must share the states of the active key
    // with the guardian. Otherwise, the search below would prove nothing.
    for key in KEYS {
        let found = mappings(&agent, &states(key))?;
        assert!(found.iter().any(|mapping| !mapping.contains("vipd-guardian")), "{found:#?}");
        let shared = found.iter().filter(|mapping| mapping.contains("vipd-guardian")).count();
        assert_eq!(shared, if key == KEYS[0] { 2 } else { 0 }, "{found:#?}");
        assert_eq!(mappings(&agent, &plain(key))?, [""; 0]);
    }
    assert!(!mappings(&agent, &states(INLINE))?.is_empty());
    assert_eq!(mappings(&agent, &inline)?, [""; 0]);

    for (rules, removed) in [(rules(&second, 2), KEYS[0]), (String::new(), KEYS[1])] {
        agent.configure(configuration(200, "", &rules))?;
        reload(&agent)?;
        wait_until_cleared(&agent, removed)?;
        wait_until_cleared(&agent, INLINE)?;
    }
    Ok(())
}

//! Keys in the memory of an agent's processes.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};

use sha2::compress256;
use sha2::digest::generic_array::GenericArray;

use super::*;

/// The key, which is text, so that the file contains the same bytes as a buffer of the agent.
const KEY: [u8; 64] = *b"6b375a7130765266336e587739734c6432744279366d4863346a477038614575";

/// SHA-256's state before the first block (FIPS 180-4 section 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Returns the state of the inner or outer hash after the first block, as it is in memory.
fn state(pad: u8) -> Vec<u8> {
    let mut state = INITIAL;
    compress256(&mut state, &[*GenericArray::from_slice(&KEY.map(|byte| byte ^ pad))]);
    state.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Returns the mappings of a process that contain one of `patterns`.
fn mappings(process: u32, patterns: &[Vec<u8>]) -> Result<Vec<String>> {
    let maps = fs::read_to_string(format!("/proc/{process}/maps"))?;
    let memory = File::open(format!("/proc/{process}/mem"))?;
    let mut found = Vec::new();
    for mapping in maps.lines() {
        let [range, access, ..] = mapping.split_whitespace().collect::<Vec<_>>()[..] else { continue };
        let (start, end) = range.split_once('-').context("a range")?;
        if !access.starts_with("rw") {
            continue;
        }
        let [start, end] = [start, end].map(|address| u64::from_str_radix(address, 16));
        let (start, end) = (start?, end?);
        let mut content = vec![0; usize::try_from(end - start)?];
        // Fails for the memory of devices, and for mappings that have ended since.
        if memory.read_exact_at(&mut content, start).is_err() {
            continue;
        }
        let contains = |pattern: &Vec<u8>| content.windows(pattern.len()).any(|part| part == &pattern[..]);
        if patterns.iter().any(contains) {
            found.push(format!("{process}: {mapping}"));
        }
    }
    Ok(found)
}

/// Returns the mappings of an agent's processes that contain one of `patterns`.
fn found(agent: &Agent, patterns: &[Vec<u8>]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for process in agent.processes() {
        found.extend(mappings(process, patterns)?);
    }
    Ok(found)
}

#[test]
#[ignore = "needs CAP_SYS_ADMIN, CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"]
fn keys_that_a_reload_removes_are_in_no_memory() -> TestResult {
    let directory = tempfile::tempdir()?;
    let files = ["first", "second"].map(|name| directory.path().join(name));
    for (file, key) in files.iter().zip([KEY, [b'z'; 64]]) {
        fs::write(file, key)?;
        fs::set_permissions(file, Permissions::from_mode(0o600))?;
    }
    let rules = |file| format!("[instance.hmac]\nkeys = [{{ id = 1, file = {file:?} }}]\n");
    let lab = Lab::new(1)?;
    let mut agent = start(&lab, ONE, configuration(200, "", &rules(&files[0])))?;
    wait_for_state(&agent, "master", TIMEOUT)?;
    let (key, states) = ([KEY.to_vec()], [state(0x36), state(0x5c)]);
    assert!(!found(&agent, &states)?.is_empty(), "the search does not find the states of a key in use");
    assert_eq!(found(&agent, &key)?, [""; 0], "the buffer of the file is not cleared");

    agent.configure(configuration(200, "", &rules(&files[1])))?;
    reload(&agent)?;
    // The removed instance's last references end with the tasks that used them.
    try_wait_until("memory without the removed key", TIMEOUT, || Ok(found(&agent, &states)?.is_empty()))
        .with_context(|| format!("{:#?}", found(&agent, &states)))?;
    assert_eq!(found(&agent, &key)?, [""; 0]);
    Ok(())
}

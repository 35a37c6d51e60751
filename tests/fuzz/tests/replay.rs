//! Replays the stored inputs of every fuzz target: the inputs of past findings and the corpus.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use vipd_fuzz::TARGETS;

/// Limit on the total size of all inputs. A small corpus is enough to reach most code.
const CORPUS_BYTES: u64 = 100 * 1024;

/// Returns all files in a target's folder, sorted; empty if the folder does not exist.
fn inputs(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// The only target that needs privileges: it loads the BPF program.
const PRIVILEGED: &str = "xdp";

#[test]
fn stored_inputs_pass() {
    replay(|target| target != PRIVILEGED);
}

#[test]
#[ignore = "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"]
fn stored_inputs_pass_with_the_xdp_program() {
    replay(|target| target == PRIVILEGED);
}

#[test]
fn corpus_is_small() {
    let all = TARGETS
        .iter()
        .flat_map(|(name, _)| inputs("regressions", name).into_iter().chain(inputs("corpus", name)));
    let bytes: u64 = all.map(|file| fs::metadata(file).expect("a file").len()).sum();
    assert!(bytes <= CORPUS_BYTES, "{bytes} bytes of inputs; store fewer or smaller ones");
}

#[track_caller]
fn replay(is_replayed: impl Fn(&str) -> bool) {
    let mut failed = Vec::new();
    for (name, target) in TARGETS.into_iter().filter(|(name, _)| is_replayed(name)) {
        let corpus = inputs("corpus", name);
        assert!(!corpus.is_empty(), "target {name} has no corpus in tests/fuzz/corpus/{name}");
        for file in inputs("regressions", name).into_iter().chain(corpus) {
            let input = fs::read(&file).expect("a readable file");
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "these inputs make their target panic: {failed:?}");
}

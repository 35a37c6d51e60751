//! Every input that is kept holds: what once found something, and the corpus.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use vipd_fuzz::TARGETS;

/// Bytes that the corpus may have in all: it is for reaching code soon, not a collection.
const CORPUS_BYTES: usize = 100 * 1024;

/// All files of a target's folder, sorted; none where there is no folder.
fn inputs(folder: &str, target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join(target);
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

#[test]
fn every_kept_input_holds() {
    let (mut failed, mut bytes) = (Vec::new(), 0);
    for (name, target) in TARGETS {
        let corpus = inputs("corpus", name);
        assert!(!corpus.is_empty(), "target {name} has no corpus in tests/fuzz/corpus/{name}");
        for file in inputs("regressions", name).into_iter().chain(corpus) {
            let input = fs::read(&file).expect("a readable file");
            bytes += input.len();
            if catch_unwind(AssertUnwindSafe(|| target(&input))).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(bytes <= CORPUS_BYTES, "{bytes} bytes of inputs; keep fewer, or smaller ones");
    assert!(failed.is_empty(), "these inputs make their target panic: {failed:?}");
}

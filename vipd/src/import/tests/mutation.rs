//! Arbitrary input: no text may cause a panic, and no setting may be dropped without a message.

use std::path::Path;

use proptest::prelude::*;

use super::{Memory, import, options};
use crate::config::Config;

const FIXTURES: [&str; 6] = [
    include_str!("fixtures/attention.conf"),
    include_str!("fixtures/checks.conf"),
    include_str!("fixtures/template.conf"),
    include_str!("fixtures/routes.conf"),
    include_str!("fixtures/dual-stack.conf"),
    include_str!("fixtures/hmac.conf"),
];

/// Texts with a special meaning in some context.
const WORDS: [&str; 32] = [
    "{",
    "}",
    "\"",
    "'",
    "\\",
    "#",
    "!",
    "$",
    "${",
    "~",
    "@",
    "@^",
    "~SEQ(X,1,3) ",
    "~LST(X,a,b) ",
    "$X",
    "${X}",
    "$X=$X",
    "$X= \\\n",
    "\n",
    " ",
    "include *",
    "include k.conf",
    "weight",
    "reverse",
    "via",
    "é",
    "\u{0}",
    "\r\n",
    "-1",
    "99999999999999999999",
    "0.0000001",
    "::1/129",
];

fn run(text: &[u8]) {
    let mut memory = Memory::default();
    memory.files.insert("k.conf".into(), text.to_vec());
    if let Ok(translation) = import(Path::new("k.conf"), &options(Some("main")), &memory) {
        // The result is TOML, even if a value is invalid.
        if let Err(problems) = Config::parse(&translation.toml, "vipd.toml") {
            let text = problems.to_string();
            assert!(!text.contains("TOML syntax"), "{text}\n{}", translation.toml);
        }
    }
}

/// Generates changes to a text. Each change removes bytes at a position and inserts a word there.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, usize, usize)>> {
    prop::collection::vec((any::<prop::sample::Index>(), 0..20_usize, 0..WORDS.len()), 1..8)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn changed_files_cause_no_panic(fixture in 0..FIXTURES.len(), changes in changes()) {
        let mut text = FIXTURES[fixture].as_bytes().to_vec();
        for (at, removed, word) in changes {
            let at = at.index(text.len() + 1);
            let end = (at + removed).min(text.len());
            text.splice(at..end, WORDS[word].bytes());
        }
        run(&text);
    }

    #[test]
    fn arbitrary_bytes_cause_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        run(&bytes);
    }

    #[test]
    fn arbitrary_words_cause_no_panic(words in prop::collection::vec(0..WORDS.len(), 0..40)) {
        let text: String = words.iter().map(|word| WORDS[*word]).collect();
        run(format!("vrrp_instance A {{\n interface eth0\n{text}\n}}\n").as_bytes());
    }
}

/// Misspells the keyword of each line in turn.
#[test]
fn misspelled_keywords_are_reported() {
    for fixture in FIXTURES {
        for (index, line) in fixture.lines().enumerate() {
            let Some(word) = line.split_whitespace().next().filter(|word| word.len() > 4) else { continue };
            let is_keyword = word.bytes().all(|c| c.is_ascii_lowercase() || c == b'_');
            if !is_keyword || line.ends_with('\\') || word == "include" || word == "includea" {
                continue;
            }
            let mut lines: Vec<String> = fixture.lines().map(str::to_owned).collect();
            lines[index] = line.replacen(word, "zzzzzz", 1);
            let mut memory = Memory::default();
            memory.files.insert("k.conf".into(), lines.join("\n").into_bytes());
            let translation = import(Path::new("k.conf"), &options(Some("main")), &memory);
            let messages = match translation {
                Ok(translation) => translation.messages,
                Err(super::ImportError::NoInstance { messages, .. }) => messages,
                Err(error) => panic!("{error}"),
            };
            let is_reported = messages.iter().any(|message| message.text.contains("zzzzzz"));
            assert!(is_reported, "line {}: {line}\n{messages:?}", index + 1);
        }
    }
}

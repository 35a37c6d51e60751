//! The text of a configuration as the agent keeps it and passes it to a successor: without keys.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::vrrp::hmac::MIN_KEY;

/// Replaces each character of a removed key. Not a hexadecimal digit, so that other versions of
/// vipd reject the text instead of signing with another key.
const REMOVED: u8 = b'x';

/// The text of a configuration: the main file, followed by all included files.
///
/// `x` replaces the characters of keys: those in the values of `hex` and, in comments, those in
/// each run of hexadecimal digits that is at least as long as the shortest key. Lines and columns
/// remain the same. The text may contain passwords, so `Debug` does not print it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigText(Arc<str>);

impl ConfigText {
    /// Removes the keys from the text of a valid configuration. `keys` are the positions of the
    /// values of `hex`, with quotation marks.
    pub(super) fn new(source: &str, document: &DeTable<'_>, keys: &[Range<usize>]) -> Self {
        let mut values = Vec::new();
        document.values().for_each(|value| find_values(value, &mut values));
        values.sort_unstable_by_key(|value| value.start);
        let is_in_value = |at: usize| {
            let next = values.partition_point(|value| value.start <= at);
            next.checked_sub(1).is_some_and(|last| values[last].contains(&at))
        };
        let comments = runs_of_digits(source).filter(|digits| !is_in_value(digits.start));
        let mut bytes = source.as_bytes().to_vec();
        for part in comments.chain(keys.iter().cloned()) {
            let kept = [b'\n', b'"', b'\''];
            let key = bytes.get_mut(part).into_iter().flatten();
            key.filter(|byte| !kept.contains(byte)).for_each(|byte| *byte = REMOVED);
        }
        Self(String::from_utf8_lossy(&bytes).into())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ConfigText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConfigText(…)")
    }
}

/// Adds the positions of all values except arrays and tables, in which comments are possible.
fn find_values(value: &Spanned<DeValue<'_>>, found: &mut Vec<Range<usize>>) {
    match value.get_ref() {
        DeValue::Array(elements) => elements.iter().for_each(|element| find_values(element, found)),
        DeValue::Table(entries) => entries.values().for_each(|entry| find_values(entry, found)),
        _ => found.push(value.span()),
    }
}

/// Returns the positions of all runs of hexadecimal digits that are at least as long as the
/// shortest key.
fn runs_of_digits(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut at = 0;
    let runs = text.as_bytes().chunk_by(|one, other| one.is_ascii_hexdigit() == other.is_ascii_hexdigit());
    let runs = runs.map(move |run| {
        let start = at;
        at += run.len();
        (start..at, run)
    });
    runs.filter(|(_, run)| run.len() >= 2 * MIN_KEY && run[0].is_ascii_hexdigit()).map(|(range, _)| range)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::config::machine::Machine;

    const KEY: &str = "00112233445566778899aabbccddeeff0123456789ABCDEFfedcba9876543210";

    /// Returns a configuration with these keys.
    fn with_keys(keys: &str) -> String {
        format!(
            "[[instance]]\nname = \"a\"\ninterface = \"eth1\"\nvrid = 51\nvirtual_addresses = [\"192.0.2.1/24\"]\n\
             hmac = {{ active = 1, keys = [{keys}] }}\n"
        )
    }

    fn kept(source: &str) -> String {
        let config = Config::parse(source, "f").unwrap_or_else(|problems| panic!("{problems}"));
        config.text.as_str().to_owned()
    }

    #[test]
    fn only_keys_are_removed() {
        let (first, second) = KEY.split_at(32);
        let removed = "x".repeat(KEY.len());
        for (keys, expected) in [
            (format!("{{ id = 1, hex = \"{KEY}\" }}"), format!("{{ id = 1, hex = \"{removed}\" }}")),
            (format!("{{ hex = '{KEY}', id = 1 }}"), format!("{{ hex = '{removed}', id = 1 }}")),
            (
                format!("{{ id = 1, hex = \"\"\"\n{first}\\\n  \t{second}\"\"\" }}"),
                format!(
                    "{{ id = 1, hex = \"\"\"\n{}\n{}\"\"\" }}",
                    "x".repeat(first.len() + 1),
                    "x".repeat(second.len() + 3)
                ),
            ),
            (
                format!("{{ id = 1, hex = \"\\u0030{}\" }}", &KEY[1..]),
                format!("{{ id = 1, hex = \"{}\" }}", "x".repeat(KEY.len() + 5)),
            ),
            (
                format!("# {{ hex = \"{KEY}\" }}\n{{ id = 1, hex = \"{KEY}\" }}"),
                format!("# {{ hex = \"{removed}\" }}\n{{ id = 1, hex = \"{removed}\" }}"),
            ),
        ] {
            let command = format!("notify.any = [\"/usr/bin/true\", \"#{KEY}\"]\n");
            let source = with_keys(&keys) + &command;
            let text = kept(&source);
            assert_eq!(text, with_keys(&expected) + &command);
            assert_eq!(text.len(), source.len());
            let machine = Machine { lacks_keys: true, ..Machine::default() };
            let config =
                Config::parse_on(&text, "f", &machine).unwrap_or_else(|problems| panic!("{problems}"));
            assert_eq!(config.text.as_str(), text);
            assert!(Config::parse(&text, "f").is_err(), "accepted in a file: {text}");
        }
    }
}

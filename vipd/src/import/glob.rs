//! Patterns of `include`: alternatives in braces (`GLOB_BRACE` of glob(3)), and the wildcards `*`,
//! `?` and `[…]` of glob(7), without named character classes.

use std::io;
use std::path::{Component, Path, PathBuf};

use super::Files;

/// Maximum number of patterns to which the braces of one pattern may expand.
const MAX_ALTERNATIVES: usize = 1000;

/// Expands the braces of a pattern: `a{b,c}` becomes `ab` and `ac`. Returns `None` if there would
/// be more than [`MAX_ALTERNATIVES`] patterns.
pub(super) fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let mut done = Vec::new();
    // A stack: the next pattern is the last element.
    let mut open = vec![pattern.to_owned()];
    while let Some(pattern) = open.pop() {
        if done.len() + open.len() >= MAX_ALTERNATIVES {
            return None;
        }
        match first_braces(&pattern) {
            Some((before, inside, after)) => {
                open.extend(split(inside).into_iter().rev().map(|choice| format!("{before}{choice}{after}")));
            }
            None => done.push(pattern),
        }
    }
    Some(done)
}

/// Returns the text before, inside and after the first pair of braces. `{}` is not a pair.
fn first_braces(pattern: &str) -> Option<(&str, &str, &str)> {
    let mut start = 0;
    while let Some(open) = pattern[start..].find('{').map(|at| start + at) {
        let mut depth = 0_usize;
        for (offset, c) in pattern[open..].char_indices() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                let close = open + offset;
                let inside = &pattern[open + 1..close];
                if !inside.is_empty() {
                    return Some((&pattern[..open], inside, &pattern[close + 1..]));
                }
                break;
            }
        }
        start = open + 1;
    }
    None
}

/// Splits at commas outside of nested braces.
fn split(inside: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0_usize, 0);
    for (at, c) in inside.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&inside[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&inside[start..]);
    parts
}

/// Returns whether a pattern has wildcards.
pub(super) fn has_wildcards(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

/// Returns the existing paths that a pattern without braces matches, sorted. A pattern without
/// wildcards is returned as it is.
///
/// # Errors
/// Returns an error if a directory exists but cannot be read.
pub(super) fn expand(pattern: &Path, files: &dyn Files) -> io::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    let mut is_expanded = false;
    for component in pattern.components() {
        let text = component.as_os_str();
        // After a wildcard, an ordinary name is looked up, too, because not every match is a
        // directory that contains it.
        let is_name = is_expanded && matches!(component, Component::Normal(_));
        let Some(wild) = text.to_str().filter(|text| is_name || has_wildcards(text)) else {
            for path in &mut found {
                path.push(text);
            }
            continue;
        };
        is_expanded = true;
        let mut next = Vec::new();
        for directory in &found {
            let names = match files.list(directory) {
                Ok(names) => names,
                // A file, or a directory that does not exist, contains no files.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let mut names: Vec<String> =
                names.into_iter().filter(|name| is_visible(wild, name) && matches(wild, name)).collect();
            names.sort();
            next.extend(names.iter().map(|name| directory.join(name)));
        }
        found = next;
    }
    Ok(found)
}

/// Returns whether a pattern may match a name. Hidden files are matched only by a pattern that
/// starts with a dot.
fn is_visible(pattern: &str, name: &str) -> bool {
    !name.starts_with('.') || pattern.starts_with('.')
}

/// Returns whether a name matches a pattern with `*`, `?` and `[…]`.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut pos) = (0, 0);
    // After a mismatch, the last `*` matches one more character.
    let mut retry = None;
    while pos < name.len() {
        let step = match pattern.get(at) {
            Some('*') => {
                retry = Some((at, pos));
                at += 1;
                continue;
            }
            Some('?') => Some(1),
            Some('[') => class(&pattern[at..], name[pos]),
            Some(c) if *c == name[pos] => Some(1),
            _ => None,
        };
        match (step, retry) {
            (Some(length), _) => {
                at += length;
                pos += 1;
            }
            (None, Some((star, from))) => {
                retry = Some((star, from + 1));
                (at, pos) = (star + 1, from + 1);
            }
            (None, None) => return false,
        }
    }
    pattern[at..].iter().all(|c| *c == '*')
}

/// Returns the length of the character class at the start of a pattern if the class matches `c`. A
/// `[` without a `]` stands for itself.
fn class(pattern: &[char], c: char) -> Option<usize> {
    let is_negated = matches!(pattern.get(1), Some('!' | '^'));
    let first = if is_negated { 2 } else { 1 };
    // A `]` in the first position belongs to the class.
    let length = pattern.iter().skip(first + 1).position(|c| *c == ']').map(|at| first + 1 + at);
    let Some(end) = length else { return (c == '[').then_some(1) };
    let members = &pattern[first..end];
    let mut at = 0;
    let mut is_member = false;
    while at < members.len() {
        match members[at..] {
            [from, '-', to, ..] => {
                is_member |= (from..=to).contains(&c);
                at += 3;
            }
            [one, ..] => {
                is_member |= one == c;
                at += 1;
            }
            [] => break,
        }
    }
    (is_member != is_negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_are_expanded_to_alternatives() {
        for (pattern, expected) in [
            ("a", vec!["a"]),
            ("a{b,c}d", vec!["abd", "acd"]),
            ("{foo/{,cat,dog},bar}", vec!["foo/", "foo/cat", "foo/dog", "bar"]),
            ("{a,b}{1,2}", vec!["a1", "a2", "b1", "b2"]),
            ("{}", vec!["{}"]),
            ("{a", vec!["{a"]),
            ("a}", vec!["a}"]),
            ("{a}", vec!["a"]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(alternatives(pattern), Some(expected), "{pattern}");
        }
        for (choices, is_accepted) in [(MAX_ALTERNATIVES, true), (MAX_ALTERNATIVES + 1, false)] {
            let pattern = format!("{{{}}}", vec!["a"; choices].join(","));
            assert_eq!(alternatives(&pattern).is_some(), is_accepted, "{choices}");
        }
        assert_eq!(alternatives(&"{a,b}".repeat(30)), None);
    }

    #[test]
    fn wildcards_match_names() {
        for (pattern, name, expected) in [
            ("*.conf", "a.conf", true),
            ("*.conf", "a.conf~", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("?.conf", "é.conf", true),
            ("?.conf", ".conf", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[^a-c]x", "dx", true),
            ("[]x]", "]", true),
            ("[a-]", "-", true),
            ("[a", "[a", true),
            ("[", "[", true),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(50), &"a".repeat(40)));
    }
}

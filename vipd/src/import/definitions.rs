//! Parameters: `$NAME=value`, and their substitution in later lines.

use std::collections::BTreeMap;

/// Maximum length of a line after substitution, in bytes.
pub(super) const MAX_LINE: usize = 1 << 16;
/// Maximum number of substitutions in a line. Exceeded if the parameters' references form a cycle.
const MAX_SUBSTITUTIONS: usize = 1000;

/// The value of a parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Definition {
    Line(String),
    /// A definition of several lines. The first line is inserted in place of the parameter, and the
    /// remaining lines follow as separate lines.
    Lines(Vec<String>),
}

/// The result of a substitution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Substituted {
    Unchanged,
    Line(String),
    Lines(Vec<String>),
    /// The line would be too long, or its parameters refer to each other endlessly.
    Endless,
}

/// The parameters that are defined so far.
#[derive(Debug, Default)]
pub(super) struct Definitions {
    named: BTreeMap<String, Definition>,
}

/// A reference to a parameter: the length of its text, and the name.
struct Reference<'t> {
    length: usize,
    name: &'t str,
}

impl Definitions {
    pub(super) fn define(&mut self, name: &str, value: Definition) {
        self.named.insert(name.to_owned(), value);
    }

    /// Replaces the parameters in a line. Undefined parameters stay as they are. `predefined`
    /// returns the value of a predefined parameter.
    pub(super) fn substitute(&self, line: &str, predefined: impl Fn(&str) -> Option<String>) -> Substituted {
        let mut text = line.to_owned();
        let mut start = 0;
        let mut count = 0;
        while let Some(at) = text[start..].find('$').map(|offset| start + offset) {
            start = at + 1;
            let Some(Reference { length, name }) = reference(&text[at..]) else { continue };
            let end = at + length;
            let value = match self.named.get(name) {
                Some(Definition::Line(value)) => value.clone(),
                Some(Definition::Lines(lines)) => {
                    // A parameter defined as several lines is replaced only at the end of a line.
                    if end != text.len() {
                        continue;
                    }
                    let mut lines = lines.clone();
                    let first = lines.first().map_or("", String::as_str);
                    let first = format!("{}{first}", &text[..at]);
                    match lines.first_mut() {
                        Some(slot) => *slot = first,
                        None => lines.push(first),
                    }
                    return Substituted::Lines(lines);
                }
                None => match predefined(name) {
                    Some(value) => value,
                    None => continue,
                },
            };
            count += 1;
            if count > MAX_SUBSTITUTIONS || text.len() + value.len() > MAX_LINE {
                return Substituted::Endless;
            }
            let is_sequence = value.trim_start().starts_with('~');
            text.replace_range(at..end, &value);
            // The value may itself contain parameters.
            start = at;
            if is_sequence {
                break;
            }
        }
        if count == 0 { Substituted::Unchanged } else { Substituted::Line(text) }
    }
}

/// Parses the reference at the start of a text that begins with `$`: `${NAME}`, `${NAME 1 2}`,
/// `${_NAME PARAMETER}`, or `$NAME` before white space, a comma, a closing parenthesis or the end.
fn reference(text: &str) -> Option<Reference<'_>> {
    let after = &text[1..];
    if let Some(inside) = after.strip_prefix('{') {
        let name = name(inside)?;
        let close = inside.find('}')?;
        let parameters = &inside[name.len()..close];
        let is_predefined = name.starts_with('_') && (parameters.is_empty() || parameters.starts_with(' '));
        let is_plain = is_predefined || parameters.bytes().all(|c| c == b' ' || c.is_ascii_digit());
        return is_plain.then_some(Reference { length: close + 3, name });
    }
    let name = name(after)?;
    let ends = after[name.len()..].starts_with([' ', '\t', ',', ')']) || name.len() == after.len();
    ends.then_some(Reference { length: name.len() + 1, name })
}

/// Returns the name at the start of a text: letters, digits and `_`, not beginning with a digit.
fn name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let name = &text[..end];
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some(name)
}

/// Parses a line `$NAME=value` and returns the name and the value; `None` if the line is not a
/// definition.
pub(super) fn definition(line: &str) -> Option<(&str, &str)> {
    let after = line.strip_prefix('$')?;
    let name = name(after)?;
    let value = after[name.len()..].strip_prefix('=')?;
    Some((name, value.trim_start()))
}

/// Returns the names of the predefined parameters in a line, which begin with `_`. Skips a
/// parameter directly after `file:`, which is handled when the key is translated.
pub(super) fn predefined_names(line: &str) -> impl Iterator<Item = &str> {
    line.match_indices('$')
        .filter(|(at, _)| !line[..*at].ends_with("file:"))
        .filter_map(|(at, _)| reference(&line[at..]))
        .map(|reference| reference.name)
        .filter(|name| name.starts_with('_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definitions() -> Definitions {
        let mut definitions = Definitions::default();
        for (name, value) in [
            ("A", "1"),
            ("BASE", "10.2.${SUB}"),
            ("SUB", "0"),
            ("EMPTY", ""),
            ("LOOP", "$LOOP"),
            ("GROWS", "${GROWS}${GROWS}"),
            ("SEQ", "~SEQ(X, 1, 2) $A"),
        ] {
            definitions.define(name, Definition::Line(value.to_owned()));
        }
        let lines = ["first $A", "second"].map(str::to_owned).to_vec();
        definitions.define("LINES", Definition::Lines(lines));
        definitions
    }

    #[test]
    fn parameters_are_replaced_recursively() {
        let line = |text: &str| Substituted::Line(text.to_owned());
        let rows = [
            ("priority $A", line("priority 1")),
            ("x ${A}2", line("x 12")),
            ("${BASE}.100/32", line("10.2.0.100/32")),
            ("a ($A,$A)", line("a (1,1)")),
            ("$EMPTY nopreempt", line(" nopreempt")),
            ("x $A.2", Substituted::Unchanged),
            ("x ${UNKNOWN} $ $1 ${} ${A", Substituted::Unchanged),
            ("${_PWD}/x", line("/etc/x")),
            ("${_RANDOM 1 9}", Substituted::Unchanged),
            ("$SEQ", line("~SEQ(X, 1, 2) $A")),
            ("$LOOP", Substituted::Endless),
            ("$GROWS", Substituted::Endless),
            ("x $LINES", Substituted::Lines(vec!["x first $A".to_owned(), "second".to_owned()])),
            ("$LINES x", Substituted::Unchanged),
            ("é $A é", line("é 1 é")),
        ];
        let predefined = |name: &str| (name == "_PWD").then(|| "/etc".to_owned());
        for (text, expected) in rows {
            assert_eq!(definitions().substitute(text, predefined), expected, "{text}");
        }
    }

    #[test]
    fn definitions_have_no_space_before_the_equals_sign() {
        for (line, expected) in [
            ("$A=1", Some(("A", "1"))),
            ("$_a1=", Some(("_a1", ""))),
            ("$A= b c", Some(("A", "b c"))),
            ("$A =1", None),
            ("$1A=1", None),
            ("${A}=1", None),
            ("A=1", None),
        ] {
            assert_eq!(definition(line), expected, "{line}");
        }
    }
}

//! Writes TOML tables in the style of the examples: one key per line, with comments.

use std::fmt::{self, Write as _};

/// Maximum length of a line in characters. Longer arrays have one element per line; longer comments
/// are wrapped.
const WIDTH: usize = 100;

/// A TOML value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Text(String),
    Integer(u32),
    Boolean(bool),
    /// A signed integer.
    Weight(i16),
    Array(Vec<Self>),
    /// An inline table.
    Inline(Vec<(&'static str, Self)>),
}

impl Value {
    /// Returns an array of strings.
    pub(super) fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Array(texts.into_iter().map(|text| Self::Text(text.into())).collect())
    }
}

/// Formats the value on one line.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => quoted(text, f),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Boolean(boolean) => write!(f, "{boolean}"),
            Self::Weight(weight) => write!(f, "{weight}"),
            Self::Array(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if index == 0 { "" } else { ", " })?;
                }
                f.write_str("]")
            }
            Self::Inline(entries) => {
                f.write_str("{")?;
                for (index, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{} {key} = {value}", if index == 0 { "" } else { "," })?;
                }
                f.write_str(" }")
            }
        }
    }
}

/// Writes a basic string: quotes, backslashes and control characters are escaped.
fn quoted(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{:04X}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_str("\"")
}

/// A table with its header, comments below the header, and keys in the order in which they were
/// added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// Header line, such as `[[instance]]`; empty for the keys at the top of the file.
    header: &'static str,
    comments: Vec<String>,
    entries: Vec<(&'static str, Value)>,
}

impl Table {
    pub(super) fn new(header: &'static str) -> Self {
        Self { header, ..Self::default() }
    }

    /// Adds a key.
    pub(super) fn set(&mut self, key: &'static str, value: Value) {
        self.entries.push((key, value));
    }

    /// Adds a key with a string.
    pub(super) fn text(&mut self, key: &'static str, text: impl Into<String>) {
        self.set(key, Value::Text(text.into()));
    }

    /// Adds a comment below the header.
    pub(super) fn comment(&mut self, text: impl Into<String>) {
        self.comments.push(text.into());
    }

    /// Returns the comments below the header.
    pub(super) fn comments(&self) -> &[String] {
        &self.comments
    }

    /// Appends the table to a document.
    pub(super) fn write(&self, out: &mut String) {
        if !out.is_empty() && !self.header.is_empty() {
            out.push('\n');
        }
        if !self.header.is_empty() {
            let _ = writeln!(out, "{}", self.header);
        }
        for comment in &self.comments {
            write_comment(comment, out);
        }
        for (key, value) in &self.entries {
            let line = format!("{key} = {value}");
            match value {
                Value::Array(values) if line.chars().count() > WIDTH => {
                    let _ = writeln!(out, "{key} = [");
                    for value in values {
                        let _ = writeln!(out, "    {value},");
                    }
                    out.push_str("]\n");
                }
                _ => {
                    out.push_str(&line);
                    out.push('\n');
                }
            }
        }
    }
}

/// Appends a comment, wrapped at [`WIDTH`]. TOML allows no control characters in comments.
pub(super) fn write_comment(text: &str, out: &mut String) {
    let mut line = String::from("#");
    for word in text.split_whitespace() {
        let is_full = line.chars().count() + 1 + word.chars().count() > WIDTH;
        if is_full && line.len() > 1 {
            out.push_str(&line);
            out.push('\n');
            "#  ".clone_into(&mut line);
        }
        line.push(' ');
        line.extend(word.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }));
    }
    out.push_str(&line);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        for (text, expected) in [
            ("a b", "\"a b\""),
            ("a\"b\\c", "\"a\\\"b\\\\c\""),
            ("line\nline\ttab\u{1}\u{7f}", "\"line\\nline\\ttab\\u0001\\u007F\""),
            ("é", "\"é\""),
        ] {
            assert_eq!(Value::Text(text.to_owned()).to_string(), expected);
        }
    }

    #[test]
    fn long_arrays_have_one_element_per_line() {
        let mut table = Table::new("[[instance]]");
        table.comment("a comment");
        table.text("name", "VI_1");
        table.set("short", Value::texts(["a", "b"]));
        table.set(
            "weight",
            Value::Array(vec![Value::Inline(vec![
                ("interface", Value::Text("eth2".to_owned())),
                ("weight", Value::Weight(-5)),
            ])]),
        );
        table.set("long", Value::texts(vec!["x".repeat(60); 2]));
        let mut out = "first = 1\n".to_owned();
        table.write(&mut out);
        let x = "x".repeat(60);
        assert_eq!(
            out,
            format!(
                "first = 1\n\n[[instance]]\n# a comment\nname = \"VI_1\"\nshort = [\"a\", \"b\"]\n\
                 weight = [{{ interface = \"eth2\", weight = -5 }}]\nlong = [\n    \"{x}\",\n    \"{x}\",\n]\n"
            )
        );
    }

    #[test]
    fn comments_are_wrapped_and_have_no_control_characters() {
        let mut out = String::new();
        write_comment(&format!("{} {}\u{0}b", "a".repeat(90), "c".repeat(20)), &mut out);
        assert_eq!(out, format!("# {}\n#   {}\u{fffd}b\n", "a".repeat(90), "c".repeat(20)));
    }
}
